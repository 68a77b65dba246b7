package e2e

import (
	"testing"

	"github.com/eclipse/paho.golang/paho"
	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/tracing"
	"github.com/lmqgate/lmqgate/core/tracing/tracingtest"
)

// A device, the gateway, and RocketMQ applications on both sides share one trace.
func TestATraceGoesThroughRocketMQBothWays(t *testing.T) {
	t.Parallel()
	const trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	const parent = "00-" + trace + "-" + span + "-01"
	collected := tracingtest.Start(t, "")
	g := start(t, rocketmqProfile, settings{"tracing": settings{"endpoint": collected.Endpoint(), "ratio": 0}})
	app := newApplication(t)
	topic := g.Topic("traced")
	sub := g.connect5(t, g.Name("sub"))
	sub.subscribe(paho.SubscribeOptions{Topic: topic + "/#", QoS: 1})
	pub := g.connect5(t, g.Name("pub"))
	app.consume(topic, "MQTT_COMMON")
	from := func(parentID string) func(tracingtest.Span) bool {
		return func(s tracingtest.Span) bool { return s.ParentID() == parentID }
	}

	pub.publish(&paho.Publish{Topic: topic + "/a", QoS: 1, Payload: []byte("from MQTT"), Properties: &paho.PublishProperties{
		User: paho.UserProperties{{Key: tracing.Parent, Value: parent}, {Key: tracing.State, Value: "vendor=1"}}}})
	receive := collected.Await(t, "receive PUBLISH", from(span))
	require.Equal(t, trace, receive.Trace())
	require.Equal(t, g.ID, receive.Resource["service.instance.id"])
	seen := app.await(1)[0]
	require.Equal(t, "00-"+trace+"-"+receive.ID()+"-01", seen.GetProperty(tracing.Parent))
	require.Equal(t, "vendor=1", seen.GetProperty(tracing.State))
	require.NotEmpty(t, collected.Await(t, "append", from(receive.ID())).Attributes()[tracing.Broker])
	delivered := collected.Await(t, "deliver PUBLISH", from(receive.ID()))
	got := sub.await(1)[0]
	require.Equal(t, "00-"+trace+"-"+delivered.ID()+"-01", got.Properties.User.Get(tracing.Parent))
	require.Equal(t, "vendor=1", got.Properties.User.Get(tracing.State))
	require.Len(t, got.Properties.User, 2)

	app.send(topic, "from RocketMQ", "originMqttTopic", topic+"/b", tracing.Parent, parent)
	got = sub.await(1)[0]
	require.Equal(t, "from RocketMQ", string(got.Payload))
	delivered = collected.Await(t, "deliver PUBLISH", from(span))
	require.Equal(t, trace, delivered.Trace())
	require.Equal(t, "00-"+trace+"-"+delivered.ID()+"-01", got.Properties.User.Get(tracing.Parent))
	g.Stop() // sends what is left
	require.Len(t, collected.Named("receive PUBLISH"), 1, "nothing is traced by chance")
}
