package mqtt_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/auth"
	"github.com/lmqgate/lmqgate/core/mqtt/mqtttest"
	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/core/tracing"
	"github.com/lmqgate/lmqgate/core/tracing/tracingtest"
)

const (
	deviceTrace  = "0af7651916cd43dd8448eb211c80319c"
	deviceSpan   = "b7ad6b7169203331"
	deviceParent = "00-" + deviceTrace + "-" + deviceSpan + "-01"
)

// traced starts a node that sends spans to a collector.
func traced(t *testing.T, ratio float64, change ...func(*mqtttest.Config)) (*mqtttest.Node, *tracingtest.Collector) {
	t.Helper()
	c := tracingtest.Start(t, "")
	spans, err := tracing.New(tracing.Options{Endpoint: c.Endpoint(), Ratio: ratio, SpanRate: 1_000_000})
	require.NoError(t, err)
	t.Cleanup(func() { spans.Close(t.Context()) })
	n := mqtttest.Start(t, append(change, func(c *mqtttest.Config) { c.MQTT.Spans = spans })...)
	return n, c
}

// users returns properties with user properties, given as keys and values in turn.
func users(kv ...string) *packet.Properties {
	p := &packet.Properties{}
	for i := 0; i < len(kv); i += 2 {
		p.User = append(p.User, packet.UserProperty{Key: kv[i], Value: kv[i+1]})
	}
	return p
}

func parents(p *packet.Publish) (out []string) {
	if p.Properties == nil {
		return nil
	}
	for _, u := range p.Properties.User {
		if u.Key == tracing.Parent {
			out = append(out, u.Value)
		}
	}
	return out
}

func of(client string) func(tracingtest.Span) bool {
	return func(s tracingtest.Span) bool { return s.Attributes()[tracing.ClientID] == client }
}

func TestATraceOfADeviceGoesOnFromPublishToDelivery(t *testing.T) {
	t.Parallel()
	n, collected := traced(t, 0)
	sub, old, pub := n.Connect(packet.V5, "sub"), n.Connect(packet.V311, "old"), n.Connect(packet.V5, "pub")
	sub.Subscribe(1, "T/#")
	old.Subscribe(0, "T/a")
	pub.PublishPacket(&packet.Publish{QoS: 1, Topic: "T/a", Payload: []byte("payload"),
		Properties: users("x", "1", tracing.Parent, deviceParent, tracing.State, "vendor=1")})
	got := sub.ExpectPublish("T/a", "payload")
	old.ExpectPublish("T/a", "payload")

	receive := collected.Await(t, "receive PUBLISH", nil)
	require.Equal(t, deviceTrace, receive.Trace())
	require.Equal(t, deviceSpan, receive.ParentID())
	a := receive.Attributes()
	require.Equal(t, []string{"pub", "T/a", "1", "7"},
		[]string{a[tracing.ClientID], a[tracing.Destination], a[tracing.QoS], a[tracing.BodySize]})
	stored := collected.Await(t, "append", nil)
	require.Equal(t, "local", stored.Attributes()[tracing.Broker])
	delivered := collected.Await(t, "deliver PUBLISH", of("sub"))
	require.NotEmpty(t, delivered.Attributes()[tracing.QueueTime])
	toOld := collected.Await(t, "deliver PUBLISH", of("old"))
	for _, s := range []tracingtest.Span{stored, collected.Await(t, "send PUBACK", nil), delivered, toOld} {
		require.Equal(t, deviceTrace, s.Trace(), s.Name)
		require.Equal(t, receive.ID(), s.ParentID(), s.Name)
		require.Empty(t, s.Failure(), s.Name)
	}
	require.Equal(t, users("x", "1", tracing.Parent, "00-"+deviceTrace+"-"+delivered.ID()+"-01", tracing.State, "vendor=1").User,
		got.Properties.User)
	require.NotContains(t, receive.String(), "payload\"", "payloads are not in spans")
}

func TestAMessageWithoutAContextIsTracedByChance(t *testing.T) {
	t.Parallel()
	n, collected := traced(t, 1)
	sub, pub := n.Connect(packet.V5, "sub"), n.Connect(packet.V311, "pub")
	sub.Subscribe(2, "T/#")
	for qos := range byte(3) {
		pub.Publish(qos, "T/a", "x")
		got := sub.ExpectPublish("T/a", "x")
		sub.Ack(got)
		delivered := collected.Await(t, "deliver PUBLISH", func(s tracingtest.Span) bool { return "00-"+s.Trace()+"-"+s.ID()+"-01" == parents(got)[0] })
		receive := collected.Await(t, "receive PUBLISH", func(s tracingtest.Span) bool { return s.Trace() == delivered.Trace() })
		require.Empty(t, receive.ParentID())
		require.Equal(t, receive.ID(), delivered.ParentID())
		collected.Await(t, "append", func(s tracingtest.Span) bool { return s.ParentID() == receive.ID() })
	}
	collected.Await(t, "send PUBREC", nil)
	connect := collected.Await(t, "CONNECT", of("pub"))
	require.Equal(t, "4", connect.Attributes()[tracing.Version])
	judged := collected.Await(t, "authenticate", func(s tracingtest.Span) bool { return s.ParentID() == connect.ID() })
	require.Empty(t, judged.Failure())
}

func TestAContextThatIsNotFollowedIsPassedOnAsItIs(t *testing.T) {
	t.Parallel()
	n, collected := traced(t, 1)
	sub, pub := n.Connect(packet.V5, "sub"), n.Connect(packet.V5, "pub")
	sub.Subscribe(1, "T/#")
	long := strings.Repeat("x", 60_000)
	for name, p := range map[string]*packet.Properties{
		"not sampled": users(tracing.Parent, deviceParent[:53]+"00", tracing.State, "a=b"),
		"wrong":       users("a", "b", tracing.Parent, "00-00-00"),
		"empty":       users(tracing.Parent, "", tracing.State, ""),
		"long":        users(tracing.Parent, long, tracing.State, long),
		"twice":       users(tracing.Parent, deviceParent, tracing.Parent, deviceParent),
		"version":     users(tracing.Parent, "ff"+deviceParent[2:]),
	} {
		pub.PublishPacket(&packet.Publish{QoS: 1, Topic: "T/" + name, Payload: []byte("x"), Properties: p})
		got := sub.ExpectPublish("T/"+name, "x")
		sub.Ack(got)
		require.Equal(t, p.User, got.Properties.User, name)
	}
	pub.Publish(1, "T/last", "x")
	sub.ExpectPublish("T/last", "x")
	collected.Await(t, "deliver PUBLISH", nil)
	collected.Await(t, "receive PUBLISH", nil) // it ends later
	require.Len(t, collected.Named("receive PUBLISH"), 1, "only the last")
}

func TestARefusedMessageIsAFailedSpan(t *testing.T) {
	t.Parallel()
	n, collected := traced(t, 1, func(c *mqtttest.Config) {
		c.Authority = &mqtttest.Rules{Allow: func(_ string, a auth.Action) bool { return a.Topic != "T/secret" }}
	})
	c := n.Connect(packet.V5, "c")
	c.Send(&packet.Publish{Topic: "T/secret", QoS: 1, PacketID: 7, Payload: []byte("x")})
	c.ExpectAck(packet.PUBACK, 7, packet.NotAuthorized)
	old := n.Connect(packet.V311, "old")
	old.Send(&packet.Publish{Topic: "T/secret", Payload: []byte("x")})
	old.ExpectClosed()
	for _, id := range []string{"c", "old"} {
		require.Equal(t, "not authorized", collected.Await(t, "receive PUBLISH", of(id)).Failure())
	}
	require.Empty(t, collected.Named("append"))
}

func TestAWillIsTracedWhenItIsPublished(t *testing.T) {
	t.Parallel()
	n, collected := traced(t, 0)
	watch := n.Connect(packet.V5, "watch")
	watch.Subscribe(1, "W/#")
	n.Connect(packet.V5, "c", mqtttest.Will(packet.Will{Topic: "W/a", Payload: []byte("gone"), QoS: 1,
		Properties: users(tracing.Parent, deviceParent)})).Close()
	watch.ExpectPublish("W/a", "gone")
	published := collected.Await(t, "publish", nil)
	require.Equal(t, deviceSpan, published.ParentID())
	require.Equal(t, published.ID(), collected.Await(t, "append", nil).ParentID())
	require.Equal(t, published.ID(), collected.Await(t, "deliver PUBLISH", nil).ParentID())
}

func TestARetainedMessageIsTracedToThoseWhoAreThereAndNotToLaterOnes(t *testing.T) {
	t.Parallel()
	n, collected := traced(t, 0)
	early, late, pub := n.Connect(packet.V5, "early"), n.Connect(packet.V5, "late"), n.Connect(packet.V5, "pub")
	early.Subscribe(1, "T/#")
	pub.PublishPacket(&packet.Publish{QoS: 1, Retain: true, Topic: "T/a", Payload: []byte("x"), Properties: users(tracing.Parent, deviceParent)})
	early.Ack(early.ExpectPublish("T/a", "x"))
	late.Subscribe(1, "T/#")
	got := late.ExpectPublish("T/a", "x")
	late.Ack(got)
	receive := collected.Await(t, "receive PUBLISH", nil)
	require.Equal(t, []string{"00-" + deviceTrace + "-" + receive.ID() + "-01"}, parents(got), "the context that is stored")
	pub.PublishPacket(&packet.Publish{QoS: 1, Topic: "T/b", Payload: []byte("y"), Properties: users(tracing.Parent, deviceParent)})
	late.ExpectPublish("T/b", "y")
	onB := func(s tracingtest.Span) bool { return of("late")(s) && s.Attributes()[tracing.Destination] == "T/b" }
	collected.Await(t, "deliver PUBLISH", onB)
	require.Len(t, slices.DeleteFunc(collected.Named("deliver PUBLISH"), func(s tracingtest.Span) bool { return !of("late")(s) }), 1)
}

// A context must not make a message too large for a client.
func TestAContextIsLeftOutWhereAClientTakesNoLargerPacket(t *testing.T) {
	t.Parallel()
	n, _ := traced(t, 1)
	const most = 80
	sub, pub := n.Connect(packet.V5, "sub", mqtttest.Props(func(p *packet.Properties) { p.MaximumPacketSize = new(uint32(most)) })),
		n.Connect(packet.V311, "pub")
	sub.Subscribe(1, "T/#")
	payload := strings.Repeat("x", 50)
	pub.Publish(1, "T/a", payload)
	require.Empty(t, parents(sub.ExpectPublish("T/a", payload)))
}

func TestWithoutTracingNothingIsTouched(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t)
	sub, pub := n.Connect(packet.V5, "sub"), n.Connect(packet.V5, "pub")
	sub.Subscribe(1, "T/#")
	p := users("x", "1", tracing.Parent, deviceParent, tracing.State, "vendor=1")
	pub.PublishPacket(&packet.Publish{QoS: 1, Topic: "T/a", Payload: []byte("x"), Properties: p})
	require.Equal(t, p.User, sub.ExpectPublish("T/a", "x").Properties.User)
	pub.Publish(1, "T/b", "x")
	require.Nil(t, sub.ExpectPublish("T/b", "x").Properties)
}

// Messages flow as before while the collector neither answers nor takes anything.
func TestACollectorThatHangsDelaysNoMessage(t *testing.T) {
	t.Parallel()
	n, collected := traced(t, 1)
	collected.Hold.Lock()
	defer collected.Hold.Unlock()
	sub, pub := n.Connect(packet.V5, "sub"), n.Connect(packet.V5, "pub")
	sub.Subscribe(0, "T/#")
	began := time.Now()
	for range 2000 { // more spans than wait for the collector
		pub.Publish(0, "T/a", "x")
	}
	for range 2000 {
		sub.ExpectPublish("T/a", "x")
	}
	require.Empty(t, collected.Spans())
	require.Less(t, time.Since(began), mqtttest.Patience)
}
