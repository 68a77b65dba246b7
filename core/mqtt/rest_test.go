package mqtt_test

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/pires/go-proxyproto"
	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/mqtt"
	"github.com/lmqgate/lmqgate/core/mqtt/mqtttest"
	"github.com/lmqgate/lmqgate/core/packet"
)

// resting waits until exactly count connections of the node are resting.
func resting(t *testing.T, n *mqtttest.Node, count int) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("connections rest on Linux only")
	}
	mqtttest.Eventually(t, strconv.Itoa(count)+" connections rest", func() bool { return n.Server.Resting() == count })
}

// everyWay starts a node with a listener of each type on which connections can rest. It returns a dial function for each listener.
func everyWay(t *testing.T) (n *mqtttest.Node, dials map[string]func() net.Conn) {
	t.Helper()
	ca := newAuthority(t)
	server := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{ca.issue("server")}}
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	n = mqtttest.Start(t, func(c *mqtttest.Config) {
		c.MQTT.LeastRest = time.Second
	}, listening(mqtt.Listener{Type: "tls", Address: "127.0.0.1:0", TLS: server},
		mqtt.Listener{Type: "tcp", Address: "127.0.0.1:0", ProxyFrom: loopback},
		mqtt.Listener{Type: "tls", Address: "127.0.0.1:0", TLS: server, ProxyFrom: loopback},
		mqtt.Listener{Type: "ws", Address: "127.0.0.1:0", Path: "/mqtt"},
		mqtt.Listener{Type: "wss", Address: "127.0.0.1:0", Path: "/mqtt", TLS: server}))
	secure := func(nc net.Conn) net.Conn {
		return tls.Client(nc, &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: ca.pool(), ServerName: "127.0.0.1"})
	}
	proxied := func(addr net.Addr) net.Conn {
		nc := dial(t, addr)
		_, err := proxyproto.HeaderProxyFromAddrs(2, nc.LocalAddr(), nc.RemoteAddr()).WriteTo(nc)
		require.NoError(t, err)
		return nc
	}
	web := func(url string) net.Conn {
		page, _, err := dialWS(t, url, &websocket.DialOptions{HTTPClient: &http.Client{Transport: &http.Transport{ //nolint:bodyclose // websocket does
			TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: ca.pool()}}}})
		require.NoError(t, err)
		return websocket.NetConn(context.Background(), page, websocket.MessageBinary)
	}
	return n, map[string]func() net.Conn{
		"ws":               func() net.Conn { return web("ws://" + n.Addr(3).String() + "/mqtt") },
		"wss":              func() net.Conn { return web("wss://" + n.Addr(4).String() + "/mqtt") },
		"tcp":              func() net.Conn { return dial(t, n.TCP()) },
		"tls":              func() net.Conn { return secure(dial(t, n.Addr(0))) },
		"tcp behind PROXY": func() net.Conn { return proxied(n.Addr(1)) },
		"tls behind PROXY": func() net.Conn { return secure(proxied(n.Addr(2))) },
	}
}

func TestAConnectionRestsWhileItHasNothingToDo(t *testing.T) {
	t.Parallel()
	n, dials := everyWay(t)
	for way, dialed := range dials {
		c := n.Client(dialed(), packet.V5).Connect("c")
		for i := range 5 {
			c.Subscribe(1, "T/a")
			resting(t, n, 1)
			n.Connect(packet.V5, "other").Publish(1, "T/a", strconv.Itoa(i))
			c.ExpectPublish("T/a", strconv.Itoa(i))
			c.Ping()
			resting(t, n, 1)
			// Many packets in one write: no layer may keep any of them back.
			var b []byte
			for range 500 {
				b = c.Encode(b, &packet.Pingreq{})
			}
			c.SendRaw(b...)
			for range 500 {
				mqtttest.Expect[*packet.Pingresp](c)
			}
			resting(t, n, 1)
		}
		c.Close()
		mqtttest.Eventually(t, way+": the connection is gone", func() bool { return n.Server.Connections() <= 1 })
	}
}

func TestAPacketThatComesInPiecesWakesARestingConnection(t *testing.T) {
	t.Parallel()
	n, dials := everyWay(t)
	for _, dialed := range dials {
		c := n.Client(dialed(), packet.V311).Connect("c")
		c.Ping()
		resting(t, n, 1)
		b := c.Encode(nil, &packet.Subscribe{PacketID: 7, Filters: []packet.Subscription{{Filter: "T/a", QoS: 1}}})
		for i := range b {
			c.SendRaw(b[i])
		}
		mqtttest.Expect[*packet.Suback](c)
		resting(t, n, 1)
		c.Close()
		mqtttest.Eventually(t, "the connection is gone", func() bool { return n.Server.Connections() == 0 })
	}
}

func TestARestingConnectionIsToldWhyItEnds(t *testing.T) {
	t.Parallel()
	n, dials := everyWay(t)
	for _, dialed := range dials {
		c := n.Client(dialed(), packet.V5).Connect("c")
		c.Ping()
		resting(t, n, 1)
		taker := n.Connect(packet.V5, "c")
		c.ExpectDisconnect(packet.SessionTakenOver)
		c.ExpectClosed()
		taker.Disconnect()
		mqtttest.Eventually(t, "both connections are gone", func() bool { return n.Server.Connections() == 0 })
		resting(t, n, 0)
	}
}

func TestTheKeepAliveOfARestingConnectionEnds(t *testing.T) {
	t.Parallel()
	n, dials := everyWay(t)
	var all []*mqtttest.Client
	begun := time.Now()
	for way, dialed := range dials {
		c := n.Client(dialed(), packet.V5).Connect("c "+way, mqtttest.KeepAlive(10))
		c.Ping()
		all = append(all, c)
	}
	resting(t, n, len(dials))
	for _, c := range all {
		c.ExpectDisconnect(packet.KeepAliveTimeout)
		c.ExpectClosed()
	}
	require.GreaterOrEqual(t, time.Since(begun), 15*time.Second, "one and a half times the keep alive")
	mqtttest.Eventually(t, "the connections are gone", func() bool { return n.Server.Connections() == 0 })
}

func TestAServerThatClosesEndsRestingConnections(t *testing.T) {
	t.Parallel()
	n, dials := everyWay(t)
	for way, dialed := range dials {
		n.Client(dialed(), packet.V5).Connect(way).Ping()
	}
	resting(t, n, len(dials))
	n.Stop()
	require.Zero(t, n.Server.Connections())
}
