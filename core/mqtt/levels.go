package mqtt

import (
	"errors"
	"fmt"
	"strings"

	"github.com/lmqgate/lmqgate/core/topic"
)

// maxTopicLevels is the default of Options.MaxTopicLevels.
const maxTopicLevels = 128

// errSys says that only the gateway publishes to topics below $SYS/broker.
var errSys = errors.New("topics below $SYS/broker are the gateway's own")

// errEvents says that only the gateway publishes events.
var errEvents = errors.New("topics below " + topic.Events + " are the gateway's own")

// validateName refuses invalid topic names and names with too many levels: the cost of a name, in tries and in matching, grows with its
// levels.
func (s *Server) validateName(name string) error {
	if err := topic.ValidateName(name); err != nil {
		return err
	}
	if topic.IsOwn(name) {
		return errSys
	}
	if s.o.Events.On() && topic.First(name) == topic.Events {
		return errEvents
	}
	return s.levels(name)
}

// levels refuses names and filters with more levels than the server accepts.
func (s *Server) levels(name string) error {
	if n := strings.Count(name, "/") + 1; n > s.o.MaxTopicLevels {
		return fmt.Errorf("it has %d levels, more than mqtt.max_topic_levels (%d)", n, s.o.MaxTopicLevels)
	}
	return nil
}
