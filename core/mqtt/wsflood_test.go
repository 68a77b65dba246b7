package mqtt_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/mqtt/mqtttest"
	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/internal/testlog"
)

// floodFrames opens a WebSocket, sends some bytes of MQTT in a frame, then frames of a kind. It returns the code with which the server
// closes the WebSocket.
func floodFrames(t *testing.T, n *mqtttest.Node, mqtt []byte, f ws.Frame, count int) ws.StatusCode {
	t.Helper()
	nc, _, _, err := (ws.Dialer{Protocols: []string{"mqtt"}}).Dial(t.Context(), n.URL())
	require.NoError(t, err)
	defer nc.Close()
	require.NoError(t, nc.SetDeadline(time.Now().Add(mqtttest.Patience)))
	one := new(bytes.Buffer)
	require.NoError(t, ws.WriteFrame(one, ws.MaskFrame(f)))
	if len(mqtt) > 0 {
		require.NoError(t, ws.WriteFrame(nc, ws.MaskFrame(ws.NewBinaryFrame(mqtt))))
		first, err := ws.ReadFrame(nc)
		require.NoError(t, err)
		require.Equal(t, byte(packet.CONNACK), first.Payload[0]>>4)
	}
	go func() { _, _ = nc.Write(bytes.Repeat(one.Bytes(), count)) }()
	for {
		f, err := ws.ReadFrame(nc)
		require.NoError(t, err)
		if f.Header.OpCode == ws.OpClose {
			code, _ := ws.ParseCloseFrameData(f.Payload)
			return code
		}
	}
}

func TestAFloodOfFramesWithoutDataEndsItsConnectionOnly(t *testing.T) {
	t.Parallel()
	var log testlog.Buffer
	n := mqtttest.Start(t, func(c *mqtttest.Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	bystander := n.DialWS(packet.V5, "mqtt").Connect("bystander")
	for _, f := range []ws.Frame{ws.NewPingFrame(make([]byte, 125)), ws.NewPongFrame(nil), ws.NewBinaryFrame(nil)} {
		require.Equal(t, ws.StatusPolicyViolation, floodFrames(t, n, nil, f, 20_000))
	}
	connect, err := packet.Append(nil, &packet.Connect{Version: packet.V5, CleanStart: true, ClientID: "flood"}, packet.V5)
	require.NoError(t, err)
	require.Equal(t, ws.StatusPolicyViolation, floodFrames(t, n, connect, ws.NewPongFrame(nil), 100_000))
	require.Equal(t, 1, strings.Count(log.String(), "msg=\"connections are closed: they sent"), "a line every ten seconds")
	require.Eventually(t, func() bool {
		for _, e := range n.Server.Recent() {
			if e.ClientID == "flood" && e.Reason == packet.MessageRateTooHigh.String() {
				return true
			}
		}
		return false
	}, mqtttest.Patience, time.Millisecond)
	require.Empty(t, bystander.Ping())
}

func TestAConnectMayComeInFramesOfOneByte(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t)
	b, err := packet.Append(nil, &packet.Connect{Version: packet.V5, CleanStart: true, ClientID: "slow", HasPassword: true,
		Password: make([]byte, 3000)}, packet.V5)
	require.NoError(t, err)
	for name, send := range map[string]func(*websocket.Conn) error{
		"messages": func(c *websocket.Conn) error {
			for i := range b {
				if err := c.Write(t.Context(), websocket.MessageBinary, b[i:i+1]); err != nil {
					return err
				}
			}
			return nil
		},
		"messages with an empty end": func(c *websocket.Conn) error {
			for i := range b {
				w, err := c.Writer(t.Context(), websocket.MessageBinary)
				if err != nil {
					return err
				}
				if _, err := w.Write(b[i : i+1]); err != nil {
					return err
				}
				if err := w.Close(); err != nil {
					return err
				}
			}
			return nil
		},
		"fragments": func(c *websocket.Conn) error {
			w, err := c.Writer(t.Context(), websocket.MessageBinary)
			if err != nil {
				return err
			}
			for i := range b {
				if _, err := w.Write(b[i : i+1]); err != nil {
					return err
				}
			}
			return w.Close()
		},
	} {
		socket, _, err := dialWS(t, n.URL(), &websocket.DialOptions{}) //nolint:bodyclose // websocket does
		require.NoError(t, err, name)
		require.NoError(t, send(socket), name)
		c := n.Client(websocket.NetConn(context.Background(), socket, websocket.MessageBinary), packet.V5)
		require.Equal(t, packet.Success, mqtttest.Expect[*packet.Connack](c).Code, name)
		require.Empty(t, c.Ping(), name)
	}
}
