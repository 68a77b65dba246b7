package mqtt_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"
	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/mqtt"
	"github.com/lmqgate/lmqgate/core/mqtt/mqtttest"
	"github.com/lmqgate/lmqgate/core/packet"
)

func behindLoopback(c *mqtttest.Config) {
	c.MQTT.Listeners = []mqtt.Listener{{Type: "tcp", Address: "127.0.0.1:0", ProxyFrom: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}}
}

func TestAProxyHeaderInSeveralSegmentsIsWaitedFor(t *testing.T) {
	t.Parallel()
	rules := &mqtttest.Rules{}
	n := mqtttest.Start(t, func(c *mqtttest.Config) { c.Authority = rules }, behindLoopback)
	client := &net.TCPAddr{IP: net.ParseIP("2001:db8::1"), Port: 4711}
	for version := byte(1); version <= 2; version++ {
		var header bytes.Buffer
		_, err := proxyproto.HeaderProxyFromAddrs(version, client, &net.TCPAddr{IP: net.ParseIP("2001:db8::2"), Port: 1883}).WriteTo(&header)
		require.NoError(t, err)
		connect, err := packet.Append(nil, &packet.Connect{Version: packet.V5, CleanStart: true, ClientID: "split"}, packet.V5)
		require.NoError(t, err)
		whole := append(bytes.Clone(header.Bytes()), connect...)
		for at := 1; at <= header.Len()+1; at++ {
			nc := dial(t, n.Addr(0))
			_, err := nc.Write(whole[:at])
			require.NoError(t, err)
			time.Sleep(time.Millisecond) // so that most arrive in two segments; the test does not depend on it
			_, err = nc.Write(whole[at:])
			require.NoError(t, err)
			c := n.Client(nc, packet.V5)
			require.Equal(t, packet.Success, mqtttest.Expect[*packet.Connack](c).Code, "version %d, cut after byte %d", version, at)
			all := rules.Requests()
			require.Equal(t, client.String(), all[len(all)-1].RemoteAddr)
			c.Close()
		}
	}
}

func TestAProxyHeaderThatNeverEndsIsWaitedForWithinABoundInTimeAndBytes(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t, behindLoopback, func(c *mqtttest.Config) { c.MQTT.ConnectTimeout = 300 * time.Millisecond })
	slow := mqtttest.Start(t, behindLoopback, func(c *mqtttest.Config) { c.MQTT.ConnectTimeout = time.Hour })
	huge := append([]byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11"), 0, 0)
	binary.BigEndian.PutUint16(huge[14:], 65000)
	for name, c := range map[string]struct {
		node *mqtttest.Node
		send []byte
	}{
		"half a line":                {n, []byte("PROXY TCP4 192.0.2.7 ")},
		"half a binary header":       {n, []byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\x01")},
		"a line without an end":      {slow, append([]byte("PROXY "), bytes.Repeat([]byte("a"), 200)...)},
		"a header of 65,000 bytes":   {slow, huge},
		"something else at all":      {slow, []byte("\x10\x0c")},
		"almost a header":            {n, []byte("PROXIE")},
		"the first byte of a header": {n, []byte("P")},
	} {
		nc := dial(t, c.node.Addr(0))
		_, err := nc.Write(c.send)
		require.NoError(t, err)
		require.NoError(t, nc.SetReadDeadline(time.Now().Add(mqtttest.Patience)))
		_, err = io.Copy(io.Discard, nc)
		require.NotErrorIs(t, err, os.ErrDeadlineExceeded, name)
		_ = nc.Close()
	}
}
