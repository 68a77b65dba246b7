package mqtt_test

import (
	"io"
	"net"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/mqtt/mqtttest"
	"github.com/lmqgate/lmqgate/core/packet"
)

// memoryInUse returns the size of the process's heap and stacks in bytes.
func memoryInUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

func TestAnIdleSubscriberCostsUnder8KiB(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector takes memory of its own")
	}
	n := mqtttest.Start(t)
	const count = 500
	subscriber := func(i int) net.Conn {
		nc, err := net.Dial("tcp", n.TCP().String())
		require.NoError(t, err)
		t.Cleanup(func() { _ = nc.Close() })
		require.NoError(t, nc.SetDeadline(time.Now().Add(mqtttest.Patience)))
		id := "idle-" + strconv.Itoa(i)
		b := appendPacket(t, nil, &packet.Connect{Version: packet.V311, CleanStart: true, ClientID: id})
		b = appendPacket(t, b, &packet.Subscribe{PacketID: 1, Filters: []packet.Subscription{{Filter: "T/" + id, QoS: 1}}})
		_, err = nc.Write(b)
		require.NoError(t, err)
		_, err = io.ReadFull(nc, make([]byte, 4+5)) // CONNACK, SUBACK
		require.NoError(t, err)
		return nc
	}
	subscriber(count) // one connection first, so that one-time allocations are not counted
	before := memoryInUse()
	held := make([]net.Conn, count)
	for i := range held {
		held[i] = subscriber(i)
	}
	resting(t, n, count+1)
	// The client ends are in the same process. Each costs a file descriptor and a net.TCPConn, but no goroutine.
	each := float64(memoryInUse()-before) / count
	t.Logf("%.0f bytes each, both ends", each)
	require.Less(t, each, 8.0*1024)
	runtime.KeepAlive(held)
}

// appendPacket appends a packet in the encoding of MQTT 3.1.1.
func appendPacket(t *testing.T, b []byte, p packet.Packet) []byte {
	t.Helper()
	b, err := packet.Append(b, p, packet.V311)
	require.NoError(t, err)
	return b
}

func TestAConnectionThatHasRestedGoesOnAsBefore(t *testing.T) {
	t.Parallel()
	eachVersionHere(t, func(t *testing.T, n *mqtttest.Node, v packet.Version) {
		c := n.Connect(v, "c")
		for i := range 3 {
			c.Subscribe(1, "T/a")
			c.Ping()
			c.Publish(1, "T/a", strconv.Itoa(i))
			c.ExpectPublish("T/a", strconv.Itoa(i))
			c.Ping()
			c.Unsubscribe("T/a")
		}
		require.Equal(t, 1, n.Server.Connections())
		c.Close()
		mqtttest.Eventually(t, "the connection is gone", func() bool { return n.Server.Connections() == 0 })
	})
}
