package rocketmq

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/remoting"
)

// roundTrip encodes an append and decodes the records that a reader gets, with offsets like those that a broker adds.
func roundTrip(t testing.TB, a *store.Append) []*store.Record {
	records, err := encode("ID", a)
	require.NoError(t, err)
	out := make([]*store.Record, len(records))
	for i, rec := range records {
		props := encoded(rec)
		if n := len(dispatched(rec)); n > 0 {
			props = remoting.AppendProperty(props, propOffsets, strings.TrimSuffix(strings.Repeat("7,", n), ","))
		}
		require.LessOrEqual(t, len(props), remoting.MaxProperties)
		r, d := decode("b", &remoting.Message{Topic: a.Topic, Properties: string(props)})
		d.setPayload(r, rec.body)
		require.Equal(t, i > 0, d.followUp)
		out[i] = r
	}
	return out
}

func encoded(rec record) []byte {
	var props []byte
	for _, p := range rec.props {
		props = remoting.AppendProperty(props, p.Name, p.Value)
	}
	return props
}

func dispatched(rec record) []string {
	for _, p := range rec.props {
		if p.Name == propDispatch {
			return strings.Split(p.Value, ",")
		}
	}
	return nil
}

func property1(rec record, name string) string {
	for _, p := range rec.props {
		if p.Name == name {
			return p.Value
		}
	}
	return ""
}

func TestRecordsHaveThePropertiesThatUpstreamWrites(t *testing.T) {
	records, err := encode("0A", &store.Append{
		Message: &store.Message{Topic: "T/a", QoS: 1, Payload: []byte("x")}, Topic: "T", Queues: []string{"T%a%", "T%+%"},
	})
	require.NoError(t, err)
	require.Len(t, records, 1)
	require.Equal(t, []property{
		{Name: "UNIQ_KEY", Value: "0A"}, {Name: "IS_EMPTY_MSG", Value: "false"}, {Name: "qosLevel", Value: "1"}, {Name: "retryTimes", Value: "0"}, {Name: "extData", Value: `{"qosLevel":"1"}`},
		{Name: "originMqttTopic", Value: "T/a"}, {Name: "INNER_MULTI_DISPATCH", Value: "%LMQ%T%a%,%LMQ%T%+%"}, {Name: "TAGS", Value: "MQTT_COMMON"},
	}, records[0].props)

	records, err = encode("0A", &store.Append{Message: &store.Message{Topic: "T"}, Topic: "T"})
	require.NoError(t, err)
	require.Equal(t, "true", property1(records[0], "IS_EMPTY_MSG"))
	require.Equal(t, "\u2605\r\n\t\u2600", string(records[0].body))
}

func TestAMessageIsTheSameAfterItsRecord(t *testing.T) {
	for _, m := range []*store.Message{
		{Topic: "T", Created: time.UnixMilli(1)},
		{Topic: "T/\x01\x02/ü,%", Payload: []byte(emptyBody), QoS: 2, Retain: true, Publisher: "\x02id", Created: time.UnixMilli(5), Expires: time.UnixMilli(9)},
		{Topic: "T/a", Payload: []byte{0, 1, 2}, QoS: 1, Created: time.UnixMilli(5), Properties: &store.Properties{HasFormat: true}},
		{Topic: "T/a", Created: time.UnixMilli(5), Properties: &store.Properties{
			HasFormat: true, PayloadFormat: 1, ContentType: "\x01", ResponseTopic: "\x02", CorrelationData: []byte{1, 2},
			User: []store.UserProperty{{Key: "a", Value: "\x01"}, {Key: "a", Value: "2"}, {}},
		}},
		{Topic: "T/a", Created: time.UnixMilli(5), Properties: &store.Properties{EmptyType: true}},
		{Topic: "T/a", Created: time.UnixMilli(5), Properties: &store.Properties{CorrelationData: []byte{}}},
		{Topic: "T/a", Created: time.UnixMilli(5), Properties: &store.Properties{EmptyType: true, CorrelationData: []byte{}}},
	} {
		got := roundTrip(t, &store.Append{Message: m, Topic: "T", Queues: []string{"q"}})
		require.Len(t, got, 1)
		require.Equal(t, *m, got[0].Message)
		require.Equal(t, "ID", got[0].ID)
		require.Equal(t, []store.Entry{{Queue: "q", Offset: 7}}, got[0].Entries)
	}
}

func TestADispatchSetThatDoesNotFitGoesOnInFollowUps(t *testing.T) {
	queues := make([]string, 2000)
	for i := range queues {
		queues[i] = fmt.Sprintf("topic%%%0200d%%", i)
	}
	m := &store.Message{Topic: "T/" + strings.Repeat("x", 4000), Payload: []byte("p"), Created: time.UnixMilli(1)}
	got := roundTrip(t, &store.Append{Message: m, Topic: "T", Queues: queues})
	require.Greater(t, len(got), 10)
	var all []string
	for i, r := range got {
		require.Equal(t, i == 0, r.Partial)
		require.Equal(t, *m, r.Message)
		for _, e := range r.Entries {
			all = append(all, e.Queue)
		}
	}
	require.Equal(t, queues, all)
	one := roundTrip(t, &store.Append{Message: m, Topic: "T", Queues: queues[:20]})
	require.Len(t, one, 1)
	require.False(t, one[0].Partial)
}

func TestPropertiesThatFitNoRecordAreRefused(t *testing.T) {
	big := strings.Repeat("x", 33_000)
	_, err := encode("ID", &store.Append{Message: &store.Message{Topic: "T", Properties: &store.Properties{
		User: []store.UserProperty{{Key: "k", Value: big}},
	}}})
	require.ErrorIs(t, err, store.ErrTooLarge)
	_, err = encode("ID", &store.Append{Message: &store.Message{Topic: "T"}, Queues: []string{big}})
	require.ErrorIs(t, err, store.ErrTooLarge)
}

func TestMessagesOfRocketMQProducersGetATopicAndAQoS(t *testing.T) {
	props := func(kv ...string) string {
		var b []byte
		for i := 0; i < len(kv); i += 2 {
			b = remoting.AppendProperty(b, kv[i], kv[i+1])
		}
		return string(b)
	}
	for name, c := range map[string]struct {
		props string
		topic string
		qos   byte
	}{
		"plain":                              {"", "T", 1},
		"QoS":                                {props("qosLevel", "0"), "T", 0},
		"QoS in extData":                     {props("extData", `{"qosLevel":"2","x":1}`), "T", 2},
		"QoS that is none":                   {props("qosLevel", "7"), "T", 1},
		"real topic wins":                    {props("extData", `{"mqttRealTopic":"T/real"}`, "originMqttTopic", "T/o"), "T/real", 1},
		"origin topic":                       {props("originMqttTopic", "T/o/", "INNER_MULTI_DISPATCH", "%LMQ%T%d%"), "T/o/", 1},
		"last queue that is no wildcard":     {props("INNER_MULTI_DISPATCH", "%LMQ%T%a%,%LMQ%T%b%c%,%LMQ%T%+%,%LMQ%T%#%"), "T/b/c", 1},
		"only wildcards":                     {props("INNER_MULTI_DISPATCH", "%LMQ%T%+%"), "T", 1},
		"queue of the first level":           {props("INNER_MULTI_DISPATCH", "%LMQ%T"), "T", 1},
		"point to point":                     {props("INNER_MULTI_DISPATCH", "%LMQ%%p2p%dev1%"), "T/p2p/dev1", 1},
		"not a queue":                        {props("INNER_MULTI_DISPATCH", "T%a%"), "T", 1},
		"topic that no PUBLISH may carry":    {props("originMqttTopic", "T/#"), "T", 1},
		"topic that is no UTF-8":             {props("originMqttTopic", "T/\xff"), "T", 1},
		"extData that is no JSON":            {props("extData", "{"), "T", 1},
		"extData with a topic of other type": {props("extData", `{"mqttRealTopic":5}`), "T", 1},
	} {
		t.Run(name, func(t *testing.T) {
			r, d := decode("b", &remoting.Message{Topic: "T", LogOffset: 42, BornTime: 77, Properties: c.props})
			require.False(t, d.followUp)
			require.Equal(t, c.topic, r.Topic)
			require.Equal(t, c.qos, r.QoS)
			require.Equal(t, "b@42", r.ID)
			require.Equal(t, int64(77), r.Created.UnixMilli())
			require.Empty(t, r.Entries)
		})
	}
}

func TestPropertiesOfRocketMQProducersThatNoPublishMayCarryAreLeftOut(t *testing.T) {
	var b []byte
	for name, v := range map[string]string{
		"mqttContentType": "\xff", "mqttResponseTopic": "T/#", "mqttCorrelationData": "no base64", "mqttPayloadFormat": "2", "mqttExpires": "soon",
		"mqttUserProperties": `[["ok","1"],["bad\u0000","2"],["x","y"]]`, "mqttEmptyProperties": "nonsense",
	} {
		b = remoting.AppendProperty(b, name, v)
	}
	r, _ := decode("b", &remoting.Message{Topic: "T", Properties: string(b)})
	require.Equal(t, &store.Properties{User: []store.UserProperty{{Key: "ok", Value: "1"}, {Key: "x", Value: "y"}}}, r.Properties)
	require.True(t, r.Expires.IsZero())
	b = remoting.AppendProperty(nil, "mqttResponseTopic64", "VC8j") // T/#
	r, _ = decode("b", &remoting.Message{Topic: "T", Properties: string(b)})
	require.Nil(t, r.Properties)
}

func TestARecordLiesWhereThePullHasItNotWhereItSays(t *testing.T) {
	s := closedStore(t, nil)
	pull := pulled(7, 5, remoting.Message{Body: []byte("x")}) // they say 7 to 11
	pull.Next, pull.Max = 10, 10
	_, offsets, next := s.records("b", "T%q%", 5, pull, true)
	require.Equal(t, []int64{5, 6, 7, 8, 9}, offsets)
	require.EqualValues(t, 10, next)
	pull.Next, pull.Max = 14, 14 // the pull leaves some out, so only the records can tell
	_, offsets, _ = s.records("b", "T%q%", 5, pull, true)
	require.Equal(t, []int64{7, 8, 9, 10, 11}, offsets)
}

func TestIdentitiesAreUnique(t *testing.T) {
	a, b := newIDs(), newIDs()
	seen := map[string]bool{}
	for range 50_000 {
		for _, id := range []string{a.next(), b.next()} {
			require.Len(t, id, 32)
			require.False(t, seen[id])
			seen[id] = true
		}
	}
}

func TestNamesThatRocketMQRefusesAreInvalid(t *testing.T) {
	s, err := New(Options{Namesrv: []string{"127.0.0.1:1"}})
	require.NoError(t, err)
	defer s.Close()
	for _, name := range []string{"T", "a-b_c|d%e", strings.Repeat("x", 127), "8"} {
		require.NoError(t, s.ValidTopic(name), name)
	}
	for _, name := range []string{
		"", "sensor.1", "$x", "ü", "a b", "a/b", strings.Repeat("x", 128), "TBW102", "SCHEDULE_TOPIC_XXXX", "rmq_sys_x", "%RETRY%g",
		"%DLQ%g", "%LMQ%x", "lmqgate_followup", "c_REPLY_TOPIC",
	} {
		require.ErrorIs(t, s.ValidTopic(name), store.ErrInvalidTopic, name)
	}
}

func TestAClosedStoreRefusesEverything(t *testing.T) {
	s, err := New(Options{Namesrv: []string{"127.0.0.1:1"}})
	require.NoError(t, err)
	_, err = appendWait(t.Context(), s, store.Append{Message: message("T", "x"), Topic: "T"})
	require.ErrorIs(t, err, store.ErrUnavailable, "not started")
	require.NoError(t, s.Close())
	require.NoError(t, s.Close())
	_, err = appendWait(t.Context(), s, store.Append{Message: message("T", "x"), Topic: "T"})
	require.ErrorIs(t, err, store.ErrClosed)
	_, err = s.Tail(t.Context(), "T", nil)
	require.ErrorIs(t, err, store.ErrClosed)
	require.ErrorIs(t, s.Start(t.Context()), store.ErrClosed)
	require.ErrorIs(t, s.Ready(t.Context()), store.ErrClosed)
}

func TestOptionsThatCannotWorkAreRefused(t *testing.T) {
	_, err := New(Options{})
	require.ErrorContains(t, err, "namesrv")
	_, err = New(Options{Namesrv: []string{"a:1"}, AccessKey: "x"})
	require.ErrorContains(t, err, "secret_key")
}

func TestClientIDsThatAreNoGroupNamesAreHashed(t *testing.T) {
	require.Equal(t, "%LMQ%dev@1", consumerGroup("dev@1"))
	require.NotEqual(t, consumerGroup("\x01"), consumerGroup("\x02"))
	require.Less(t, len(consumerGroup(strings.Repeat("x", 65535))), 100)
	require.Equal(t, "%LMQ%lmqgate_1", consumerGroup("lmqgate_1"))
	hashed := consumerGroup("\x01")
	require.NotEqual(t, hashed, consumerGroup(strings.TrimPrefix(hashed, "%LMQ%")), "nobody has the offsets of another by choosing its group as id")
}

func TestABrokerThatFailedIsAvoidedLongerEachTimeAndUsedAgainAfterASuccess(t *testing.T) {
	var s suspects
	rt := &topicRoute{writable: []store.Partition{{Broker: "a"}, {Broker: "b"}}}
	st := &Store{}
	key := ""
	for i := 0; ; i++ {
		key = fmt.Sprint(i)
		if tg, _ := st.choose(rt, "T", key); tg.Broker == "a" {
			break
		}
	}
	st.suspect.add("a")
	tg, ok := st.choose(rt, "T", key)
	require.True(t, ok)
	require.Equal(t, "b", tg.Broker)
	st.suspect.add("b")
	tg, _ = st.choose(rt, "T", key)
	require.Equal(t, "a", tg.Broker, "when all failed, the key's own is tried")
	st.suspect.clear("a")
	require.False(t, st.suspect.has("a"))
	s.add("x")
	first := s.of["x"]
	s.add("x")
	require.Equal(t, first, s.of["x"], "failures of attempts that began before do not count")
}

func FuzzDecode(f *testing.F) {
	f.Add("originMqttTopic\x01T/a\x02INNER_MULTI_DISPATCH\x01%LMQ%T%a%\x02INNER_MULTI_QUEUE_OFFSET\x015\x02", []byte("x"))
	f.Add("extData\x01{\"mqttRealTopic\":\"x\"}\x02mqttUserProperties\x01[[\"a\",\"b\"]]\x02mqttCorrelationData\x01AA==\x02", []byte(emptyBody))
	f.Fuzz(func(t *testing.T, props string, body []byte) {
		r, d := decode("b", &remoting.Message{Topic: "T", Properties: props})
		d.setPayload(r, body)
		require.NotEmpty(t, r.ID)
		require.True(t, validTopicName(r.Topic))
		require.LessOrEqual(t, r.QoS, byte(2))
		for _, e := range r.Entries {
			require.GreaterOrEqual(t, e.Offset, int64(0))
		}
	})
}

func FuzzRoundTrip(f *testing.F) {
	f.Add("T/a", "client", "text", []byte("x"), byte(1))
	f.Add("T/\x01", "\x02", "\x01", []byte(emptyBody), byte(2))
	f.Fuzz(func(t *testing.T, topic, client, text string, payload []byte, qos byte) {
		if !validTopicName(topic) || len(topic)+len(client)+5*len(text) > 20_000 {
			t.Skip()
		}
		m := &store.Message{Topic: topic, Payload: payload, QoS: qos % 3, Publisher: client, Created: time.UnixMilli(3)}
		if text != "" {
			m.Properties = &store.Properties{CorrelationData: []byte(text)}
			// Leave out what no PUBLISH can carry.
			if validText(text) {
				m.Properties.ContentType = text
			}
			if validTopicName(text) {
				m.Properties.ResponseTopic = text
			}
		}
		if len(payload) == 0 {
			m.Payload = nil
		}
		got := roundTrip(t, &store.Append{Message: m, Topic: "T", Queues: []string{"q"}})
		require.Equal(t, *m, got[0].Message)
	})
}

func BenchmarkDecode(b *testing.B) {
	records, err := encode(newIDs().next(), &store.Append{
		Message: &store.Message{Topic: "T/a", Payload: make([]byte, 256), QoS: 1, Publisher: "client", Created: time.Now()},
		Queues:  []string{"T%a%", "T%+%"},
	})
	require.NoError(b, err)
	props := string(remoting.AppendProperty(encoded(records[0]), propOffsets, "1,2"))
	m := &remoting.Message{Topic: "T", Properties: props}
	b.ReportAllocs()
	for b.Loop() {
		decode("b", m)
	}
}
