package rocketmq

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/remoting"
)

// settings are the relevant parts of a broker's configuration. The zero value belongs to a broker that did not report it.
type settings struct {
	told bool
	// lmq and dispatch are enableLmq and enableMultiDispatch: a broker has light message queues only if both are set.
	lmq, dispatch bool
	// file is the path of the broker's configuration file, if the broker reports it.
	file string
	// maxMessage is the largest message that the broker accepts, in bytes.
	maxMessage int64
}

// settingsOf asks a broker for its settings. If the cluster has ACL, only administrators may read configurations; the settings are unknown
// then.
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
	s.maxMessage, _ = strconv.ParseInt(told["maxMessageSize"], 10, 64) // 0: the default applies
	return s
}

// enabled reports whether a setting is on or unknown: versions of RocketMQ without the setting decide for themselves.
func enabled(told map[string]string, name string) bool {
	v, there := told[name]
	return !there || strings.EqualFold(v, "true")
}

// missing returns what must be set at the broker; empty if nothing.
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

// refusesQueues explains the error of a broker that does not know a light message queue or its consumer group.
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
	// The error is not wrapped: its code says that a topic does not exist, but none of the client's topics is meant.
	return fmt.Errorf("%w: broker %q: %s (%s)", store.ErrUnavailable, broker, hint, err.Error())
}

// maxMessage returns the greatest size of a message from a broker, in bytes.
func (r *routes) maxMessage(broker string) int64 {
	most := int64(defaultMaxMessage)
	if st := r.cluster.Load(); st != nil {
		most = max(most, st.brokers[broker].settings.maxMessage)
	}
	return min(most, mostMessage)
}

// withoutQueues returns, for each broker whose light message queues are off, what to do about it.
func (st *clusterState) withoutQueues() []string {
	var out []string
	for _, name := range st.names {
		if what := st.brokers[name].settings.missing(name); what != "" {
			out = append(out, what)
		}
	}
	return out
}
