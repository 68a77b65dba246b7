package rocketmq

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/remoting"
)

// settings are what matters of a broker's configuration. The zero value is that of a broker that did not tell.
type settings struct {
	told bool
	// lmq and dispatch are enableLmq and enableMultiDispatch: without both a broker has no light message queues.
	lmq, dispatch bool
	// file is where the broker read its configuration, as far as it tells.
	file string
	// maxMessage is the largest message that the broker takes.
	maxMessage int64
}

// settingsOf asks a broker. Where the cluster has ACL, configurations may be for administrators only, and nothing is known then.
func (r *routes) settingsOf(ctx context.Context, name, addr string) settings {
	told, err := r.client.BrokerSettings(ctx, addr)
	if err != nil {
		if ctx.Err() == nil {
			r.log.Debug("a broker does not tell its configuration; light message queues are taken for enabled", "broker", name, "error", err)
		}
		return settings{}
	}
	s := settings{told: true, file: told["brokerConfigPath"]}
	s.lmq, s.dispatch = enabled(told, "enableLmq"), enabled(told, "enableMultiDispatch")
	s.maxMessage, _ = strconv.ParseInt(told["maxMessageSize"], 10, 64) // 0: the default
	return s
}

// enabled reports whether a setting is not known to be off: versions of RocketMQ without it decide for themselves.
func enabled(told map[string]string, name string) bool {
	v, there := told[name]
	return !there || strings.EqualFold(v, "true")
}

// missing says what must be set at the broker, or nothing.
func (s settings) missing(broker string) string {
	var names []string
	if !s.lmq {
		names = append(names, "enableLmq=true")
	}
	if !s.dispatch {
		names = append(names, "enableMultiDispatch=true")
	}
	if !s.told || len(names) == 0 {
		return ""
	}
	file := "the configuration file of broker " + strconv.Quote(broker) + " (the one after -c)"
	if s.file != "" {
		file = s.file + " of broker " + strconv.Quote(broker)
	}
	return fmt.Sprintf("light message queues are off: set %s (enableLmq and enableMultiDispatch are both needed) in %s, and restart the broker",
		strings.Join(names, " and "), file)
}

// refusesQueues makes sense of a broker that does not know a light message queue, or the consumer group of one.
func (s *Store) refusesQueues(broker string, err error) error {
	if !remoting.IsCode(err, remoting.TopicNotExist, remoting.GroupNotExist) {
		return err
	}
	hint := "it does not know a light message queue: are enableLmq and enableMultiDispatch set in its configuration file?"
	if st := s.routes.cluster.Load(); st != nil {
		if what := st.brokers[broker].settings.missing(broker); what != "" {
			hint = what
		}
	}
	s.repeat.Error("queues off "+broker, "a broker refuses light message queues", "broker", broker, "reason", hint, "error", err)
	// Not wrapped: the code says that a topic does not exist, which is true of none of the client's.
	return fmt.Errorf("%w: broker %q: %s (%s)", store.ErrUnavailable, broker, hint, err.Error())
}

// maxMessage is the most bytes that a message from a broker may have.
func (r *routes) maxMessage(broker string) int64 {
	most := int64(defaultMaxMessage)
	if st := r.cluster.Load(); st != nil {
		most = max(most, st.brokers[broker].settings.maxMessage)
	}
	return min(most, mostMessage)
}

// withoutQueues says which brokers have their light message queues off, and what to do about it.
func (st *clusterState) withoutQueues() []string {
	var out []string
	for _, name := range st.names {
		if what := st.brokers[name].settings.missing(name); what != "" {
			out = append(out, what)
		}
	}
	return out
}
