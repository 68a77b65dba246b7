package mqtt_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/mqtt/mqtttest"
	"github.com/lmqgate/lmqgate/core/packet"
)

func TestNamesAndFiltersOfTooManyLevelsAreRefused(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t, func(c *mqtttest.Config) { c.MQTT.MaxTopicLevels = 4 })
	most, more := "T/b/c/d", "T/b/c/d/"
	c := n.Connect(packet.V5, "five")
	c.Send(&packet.Subscribe{PacketID: 1, Filters: []packet.Subscription{{Filter: most, QoS: 1}, {Filter: more, QoS: 1}, {Filter: "T/+/+/+/#"},
		{Filter: "$share/g/" + most, QoS: 1}, {Filter: "$share/g/" + more, QoS: 1}}})
	require.Equal(t, []packet.Code{packet.GrantedQoS1, packet.TopicFilterInvalid, packet.TopicFilterInvalid, packet.GrantedQoS1, packet.TopicFilterInvalid},
		mqtttest.Expect[*packet.Suback](c).Codes)
	for id, name := range []string{more, strings.Repeat("/", 5000)} {
		c.Send(&packet.Publish{Topic: name, QoS: 1, PacketID: uint16(id + 1), Payload: []byte("x")})
		require.Equal(t, packet.TopicNameInvalid, mqtttest.Expect[*packet.Ack](c).Code)
	}
	require.Empty(t, c.Ping(), "the connection stays")
	require.Equal(t, packet.TopicNameInvalid, n.Dial(packet.V5).TryConnect("will", mqtttest.Will(packet.Will{Topic: more})).Code)

	three := n.Connect(packet.V311, "three")
	three.Send(&packet.Subscribe{PacketID: 1, Filters: []packet.Subscription{{Filter: more}}})
	require.Equal(t, []packet.Code{0x80}, mqtttest.Expect[*packet.Suback](three).Codes)
	three.Send(&packet.Publish{Topic: more, QoS: 1, PacketID: 1})
	three.ExpectClosed()
}

func TestNamesOf128LevelsAreTakenWhereNothingElseIsSaid(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t)
	c := n.Connect(packet.V5, "c")
	name := "T" + strings.Repeat("/l", 127)
	c.Subscribe(1, name)
	c.Publish(1, name, "x")
	c.ExpectPublish(name, "x")
	c.Send(&packet.Publish{Topic: name + "/l", QoS: 1, PacketID: 9, Payload: []byte("x")})
	require.Equal(t, packet.TopicNameInvalid, mqtttest.Expect[*packet.Ack](c).Code)
}
