package rocketmq

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/remoting"
)

func TestARecordCountsOnlyInTheTopicThatHoldsItsFirstLevel(t *testing.T) {
	s := closedStore(t, nil)
	props := func(kv ...string) string {
		var b []byte
		for i := 0; i < len(kv); i += 2 {
			b = remoting.AppendProperty(b, kv[i], kv[i+1])
		}
		return string(b)
	}
	app := []string{propTopic, "app/x", propDispatch, "%LMQ%app%x%", propOffsets, "3"}
	followUp := append([]string{propFollowUp, "1"}, app...)
	for name, c := range map[string]struct {
		topic  string
		props  []string
		counts bool
	}{
		"its own topic":                           {"app", app, true},
		"a leading slash":                         {"app", []string{propTopic, "/app/x"}, true},
		"plain, of a RocketMQ producer":           {"app", nil, true},
		"queues only":                             {"app", []string{propDispatch, "%LMQ%app%x%"}, true},
		"point to point":                          {"app", []string{propTopic, "app/p2p/c", propDispatch, "%LMQ%%p2p%c%"}, true},
		"point to point, queue only":              {"app", []string{propDispatch, "%LMQ%%p2p%c%"}, true},
		"a follow-up in its topic":                {"app", followUp, true},
		"a follow-up in the topic of follow-ups":  {"lmqgate_followup", followUp, true},
		"no follow-up in the topic of follow-ups": {"lmqgate_followup", app, false},
		"point to point in its own topic":         {"lmqgate_p2p", []string{propTopic, "app/p2p/c"}, true},
		"others in the topic of point to point":   {"lmqgate_p2p", app, false},
		"a session's state":                       {"lmqgate_sessions", []string{propTopic, "lmqgate_sessions"}, true},
		"a session's state elsewhere":             {"app", []string{propTopic, "lmqgate_sessions"}, false},
		"others in the topic of sessions":         {"lmqgate_sessions", app, false},
		"an event":                                {"happenings", []string{propTopic, "$events/connected"}, true},
		"an event elsewhere":                      {"app", []string{propTopic, "$events/connected"}, false},
		"an event in the fallback":                {"fallback", []string{propTopic, "$events/connected"}, false},
		"another topic":                           {"other", app, false},
		"another topic, queues only":              {"other", []string{propDispatch, "%LMQ%app%x%"}, false},
		"another topic in extData":                {"app", []string{propExt, `{"mqttRealTopic":"other/x"}`, propTopic, "app/x"}, false},
		"an undecided transaction":                {"RMQ_SYS_TRANS_HALF_TOPIC", app, false},
		"the mark of a transaction's end":         {"RMQ_SYS_TRANS_OP_HALF_TOPIC", app, false},
		"an undecided transaction, plain":         {"RMQ_SYS_TRANS_HALF_TOPIC", nil, false},
		"a transaction that was given up":         {"TRANS_CHECK_MAX_TIME_TOPIC", app, false},
		"a delayed message that is not due":       {"SCHEDULE_TOPIC_XXXX", app, false},
		"a timer message that is not due":         {"rmq_sys_wheel_timer", app, false},
		"a retry":                                 {"%RETRY%group", app, false},
		"a dead letter":                           {"%DLQ%group", app, false},
		"a first level that RocketMQ refuses":     {"fallback", []string{propTopic, "sensor.1/x"}, true},
		"one of the gateway's own names":          {"fallback", []string{propTopic, "lmqgate_x/y"}, true},
		"it, elsewhere":                           {"app", []string{propTopic, "sensor.1/x"}, false},
		"the fallback's own first level":          {"fallback", []string{propTopic, "fallback/x"}, true},
		"another's first level in the fallback":   {"fallback", app, false},
	} {
		t.Run(name, func(t *testing.T) {
			_, d := s.decode("b", &remoting.Message{Topic: c.topic, Properties: props(c.props...)})
			require.Equal(t, c.counts, !d.foreign)
		})
	}
}
