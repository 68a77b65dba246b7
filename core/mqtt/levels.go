package mqtt

import (
	"errors"
	"fmt"
	"strings"

	"github.com/lmqgate/lmqgate/core/topic"
)

// maxTopicLevels is Options.MaxTopicLevels where it is not set.
const maxTopicLevels = 128

// errSys: what the gateway says of itself is nobody else's to say.
var errSys = errors.New("topics below $SYS/broker are the gateway's own")

// validateName refuses what is no topic name, and names of more levels than the server takes. What names cost, in tries and on the way
// through them, grows with their levels.
func (s *Server) validateName(name string) error {
	if err := topic.ValidateName(name); err != nil {
		return err
	}
	if topic.IsOwn(name) {
		return errSys
	}
	return s.levels(name)
}

// levels refuses names and filters of more levels than the server takes.
func (s *Server) levels(name string) error {
	if n := strings.Count(name, "/") + 1; n > s.o.MaxTopicLevels {
		return fmt.Errorf("it has %d levels, more than mqtt.max_topic_levels (%d)", n, s.o.MaxTopicLevels)
	}
	return nil
}
