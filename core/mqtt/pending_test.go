package mqtt_test

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/auth"
	"github.com/lmqgate/lmqgate/core/mqtt/mqtttest"
	"github.com/lmqgate/lmqgate/core/packet"
)

// silent opens connections that send nothing.
func silent(t *testing.T, addr net.Addr, n int) []net.Conn {
	t.Helper()
	out := make([]net.Conn, n)
	for i := range out {
		out[i] = dial(t, addr)
	}
	t.Cleanup(func() {
		for _, nc := range out {
			_ = nc.Close()
		}
	})
	return out
}

// closed returns how many of the connections the server has closed.
func closed(list []net.Conn) (n int) {
	for _, nc := range list {
		_ = nc.SetReadDeadline(time.Now().Add(time.Millisecond))
		if _, err := nc.Read(make([]byte, 1)); err != nil && !os.IsTimeout(err) {
			n++
		}
		_ = nc.SetReadDeadline(time.Time{})
	}
	return n
}

func registered(r *prometheus.Registry) func(*mqtttest.Config) {
	return func(c *mqtttest.Config) { c.MQTT.Registerer = r }
}

func TestSilentConnectionsAreBoundedAndKeepNobodyOut(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	n := mqtttest.Start(t, registered(registry), func(c *mqtttest.Config) { c.MQTT.MaxConnections = 10 })
	ws, err := net.ResolveTCPAddr("tcp", n.URL()[len("ws://"):len(n.URL())-len("/mqtt")])
	require.NoError(t, err)
	for name, addr := range map[string]net.Addr{"tcp": n.TCP(), "ws": ws} {
		held := silent(t, addr, 300)
		n.Connect(packet.V5, "a-"+name)
		n.DialWS(packet.V311, "mqtt").Connect("b-" + name)
		mqtttest.Eventually(t, name+": most are closed", func() bool { return closed(held) >= 300-64 })
		require.LessOrEqual(t, gauge(t, registry, "lmqgate_mqtt_unadmitted_connections"), 64.0)
		require.Positive(t, gauge(t, registry, "lmqgate_mqtt_turned_away_connections_total"))
		for _, nc := range held {
			_ = nc.Close()
		}
		mqtttest.Eventually(t, "their places are free", func() bool { return gauge(t, registry, "lmqgate_mqtt_unadmitted_connections") == 0 })
	}
}

func TestTheConnectionsOfAnAddressAreBounded(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t, behindLoopback, func(c *mqtttest.Config) { c.MQTT.MaxPendingOfAddress, c.MQTT.ConnectTimeout = 4, mqtttest.Patience })
	from := func(ip string) net.Conn {
		nc := dial(t, n.Addr(0))
		_, err := proxyproto.HeaderProxyFromAddrs(2, &net.TCPAddr{IP: net.ParseIP(ip), Port: 4711}, &net.TCPAddr{IP: net.ParseIP(ip), Port: 1}).WriteTo(nc)
		require.NoError(t, err)
		return nc
	}
	other := from("2001:db8:0:1::1")
	var held []net.Conn
	for i := range 12 {
		held = append(held, from(fmt.Sprintf("2001:db8::%d", i+1))) // all in one network
	}
	mqtttest.Eventually(t, "the eldest are closed", func() bool { return closed(held) == 8 })
	require.Zero(t, closed(append([]net.Conn{other}, silent(t, n.TCP(), 20)...)), "neither other networks nor loopback")
	n.Client(from("2001:db8::99"), packet.V5).Connect("a")
}

// A network of 48 bits holds 65,536 addresses. Each has a share of its own, and one customer may have the whole network.
func TestTheConnectionsOfANetworkOfIPv6AreBounded(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t, behindLoopback, func(c *mqtttest.Config) {
		c.MQTT.MaxPending, c.MQTT.MaxPendingOfListener, c.MQTT.MaxPendingOfAddress = 64, 32, 2
		c.MQTT.ConnectTimeout = mqtttest.Patience
	})
	from := func(ip string) net.Conn {
		nc := dial(t, n.Addr(0))
		at := &net.TCPAddr{IP: net.ParseIP(ip), Port: 4711}
		_, err := proxyproto.HeaderProxyFromAddrs(2, at, at).WriteTo(nc)
		require.NoError(t, err)
		// Until the header is read, the connection belongs to no network.
		mqtttest.Eventually(t, "its network is known", func() bool { return n.Server.Attributed(nc.LocalAddr()) || closed([]net.Conn{nc}) > 0 })
		return nc
	}
	others := []net.Conn{from("2001:db8:2::1"), from("192.0.2.1")} // silent for longest
	var held, beside []net.Conn
	for i := range 12 {
		beside = append(beside, from(fmt.Sprintf("2001:db8:3:1%02x::1", i))) // in one network of 56 bits
	}
	mqtttest.Eventually(t, "four times those of an address", func() bool { return closed(beside) == 12-8 })
	for _, nc := range beside {
		require.NoError(t, nc.Close())
	}
	mqtttest.Eventually(t, "they are gone", func() bool { return n.Server.Unadmitted() == len(others) })
	for i := range 40 {
		held = append(held, from(fmt.Sprintf("2001:db8:1:%x00::1", i))) // each in a network of 56 bits of its own
	}
	mqtttest.Eventually(t, "three quarters of a listener's", func() bool { return closed(held) == 40-24 })
	require.Zero(t, closed(others))
	n.Client(from("2001:db8:1:ffff::1"), packet.V5).Connect("a")
	require.Zero(t, closed(others))
}

// A client whose CONNECT is being judged keeps its place. Other connections wait for a place.
func TestClientsThatAreBeingJudgedAreNotClosedForOthers(t *testing.T) {
	t.Parallel()
	open := make(chan struct{})
	rules := &mqtttest.Rules{Admit: func(auth.Request) error { <-open; return nil }}
	n := mqtttest.Start(t, func(c *mqtttest.Config) { c.MQTT.MaxPending, c.Authority = 2, rules }, func(c *mqtttest.Config) { c.MQTT.MaxPendingOfListener = 2 })
	var judged []*mqtttest.Client
	for i := range 2 {
		c := n.Dial(packet.V5)
		c.Send(&packet.Connect{Version: packet.V5, CleanStart: true, ClientID: fmt.Sprint("c", i)})
		judged = append(judged, c)
		mqtttest.Eventually(t, "it is being judged", func() bool { return len(rules.Requests()) == i+1 })
	}
	n.Dial(packet.V5).ExpectClosed() // after it waited for a place in vain
	next := n.Dial(packet.V5)
	close(open)
	next.Connect("next")
	for _, c := range judged {
		require.Equal(t, packet.Success, mqtttest.Expect[*packet.Connack](c).Code)
	}
}

func TestLargeConnectsAreReadOnlyAsFarAsTheNodesBudgetAllows(t *testing.T) {
	t.Parallel()
	const timeout = 3 * time.Second
	n := mqtttest.Start(t, func(c *mqtttest.Config) { c.MQTT.ConnectMemory, c.MQTT.ConnectTimeout = 200<<10, timeout })
	large := mqtttest.Will(packet.Will{Topic: "T/w", Payload: make([]byte, 60_000)})
	begun := time.Now()
	// Two connections announce a CONNECT of 190 KB and send a part of it.
	for range 2 {
		c := n.Dial(packet.V5)
		c.SendRaw(append([]byte{0x10, 0xB0, 0xCC, 0x0B}, make([]byte, 30_000)...)...)
	}
	n.Connect(packet.V5, "small") // a small CONNECT is not delayed
	honest := n.Dial(packet.V5)
	require.Equal(t, packet.Success, honest.TryConnect("large", large).Code)
	require.GreaterOrEqual(t, time.Since(begun), timeout, "it waited until another had gone")
	for i := range 10 { // connections that are admitted or gone use nothing of the budget
		n.Connect(packet.V5, fmt.Sprint("large", i), large)
	}
}

func TestASilentConnectionCostsUnder4KiB(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector takes memory of its own")
	}
	n := mqtttest.Start(t, func(c *mqtttest.Config) {
		c.MQTT.ConnectTimeout, c.MQTT.MaxPending, c.MQTT.MaxPendingOfListener = time.Minute, 3000, 3000
	})
	const count = 1000
	measure := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse
	}
	before := measure()
	held := silent(t, n.TCP(), count)
	mqtttest.Eventually(t, "all are accepted", func() bool { return n.Server.Unadmitted() >= count })
	// The client ends are in the same process. Each costs a file descriptor and a net.TCPConn, but no goroutine.
	each := float64(measure()-before) / count
	t.Logf("%.0f bytes each, both ends", each)
	require.Less(t, each, 4096.0)
	runtime.KeepAlive(held)
}
