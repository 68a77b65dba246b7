package mqtt_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/auth"
	"github.com/lmqgate/lmqgate/core/mqtt"
	"github.com/lmqgate/lmqgate/core/mqtt/mqtttest"
	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/core/packet/packettest"
)

// bugs is a log handler that remembers the first report of a bug in the server itself, such as a panic.
type bugs struct {
	slog.Handler
	found atomic.Pointer[string]
}

func (b *bugs) Enabled(context.Context, slog.Level) bool { return true }

func (b *bugs) Handle(_ context.Context, r slog.Record) error {
	if r.Level >= slog.LevelError {
		text := r.Message
		r.Attrs(func(a slog.Attr) bool { text += " " + a.String(); return true })
		b.found.Store(&text)
	}
	return nil
}

func (b *bugs) WithAttrs([]slog.Attr) slog.Handler { return b }
func (b *bugs) WithGroup(string) slog.Handler      { return b }

// target is a node that listens on a Unix socket, because TCP ports would run out. It accepts few topics, so that it stays small.
type target struct {
	address string
	log     bugs
}

func newTarget(f *testing.F) *target {
	f.Helper()
	t := &target{address: filepath.Join(f.TempDir(), "s")}
	mqtttest.Start(f, func(c *mqtttest.Config) {
		c.Authority = &mqtttest.Rules{Allow: func(_ string, a auth.Action) bool { return strings.HasPrefix(a.Topic, "T/") && len(a.Topic) < 6 }}
		c.MQTT.Listeners = []mqtt.Listener{{Type: "unix", Address: t.address}}
		c.MQTT.MaxPacketSize, c.MQTT.SessionExpiryMax = 64<<10, time.Second
		c.Log = slog.New(&t.log)
	})
	return t
}

// exchange sends a stream in pieces of the given size, ends it, and returns everything that the server sends until it closes the
// connection.
func (g *target) exchange(t *testing.T, stream []byte, piece int) []byte {
	t.Helper()
	nc, err := net.Dial("unix", g.address)
	require.NoError(t, err)
	defer nc.Close()
	require.NoError(t, nc.SetDeadline(time.Now().Add(mqtttest.Patience)))
	answers := make(chan []byte, 1)
	go func() {
		b, err := io.ReadAll(nc)
		if errors.Is(err, context.DeadlineExceeded) || isTimeout(err) {
			b = nil
		} else if b == nil {
			b = []byte{}
		}
		answers <- b
	}()
	for len(stream) > 0 {
		n := min(piece, len(stream))
		if _, err := nc.Write(stream[:n]); err != nil {
			break // the server has closed the connection
		}
		stream = stream[n:]
	}
	_ = nc.(*net.UnixConn).CloseWrite() //nolint:forcetypeassert // dialled as such
	b := <-answers
	require.NotNil(t, b, "the server did not close the connection")
	if bug := g.log.found.Load(); bug != nil {
		t.Fatal(*bug)
	}
	return b
}

func isTimeout(err error) bool {
	n, ok := errors.AsType[net.Error](err)
	return ok && n.Timeout()
}

// dialogue is how the decoder reads a stream: the packets up to the first one that it refuses, or up to the end.
type dialogue struct {
	version packet.Version // of the answers; 0: the server must not answer
	packets []packet.Packet
	refused *packet.Error
}

func readDialogue(stream []byte) (d dialogue) {
	r := packet.NewReader(bytes.NewReader(stream), 64<<10)
	defer r.Release()
	for {
		p, err := r.ReadPacket()
		if err != nil {
			if bad, ok := errors.AsType[*packet.Error](err); ok {
				d.refused = bad
				if len(d.packets) == 0 {
					d.version = bad.Version
				}
			}
			return d
		}
		if c, ok := p.(*packet.Connect); ok && len(d.packets) == 0 {
			d.version = c.Version
		}
		d.packets = append(d.packets, p)
	}
}

// check verifies the rules that hold for the answers to any stream, and returns the answers.
func (d dialogue) check(t *testing.T, answers []byte) []packet.Packet {
	t.Helper()
	if d.version == 0 {
		require.Empty(t, answers, "nothing is answered before CONNECT")
		return nil
	}
	var out []packet.Packet
	r := packet.NewReader(bytes.NewReader(answers), 0)
	defer r.Release()
	r.Client = true
	r.SetVersion(d.version)
	for {
		p, err := r.ReadPacket()
		if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		require.NoError(t, err, "after %d answers", len(out))
		out = append(out, p)
	}
	admitted := false
	for i, p := range out {
		switch p := p.(type) {
		case *packet.Connack:
			require.Zero(t, i, "CONNACK is the first answer, and the only one of its kind")
			admitted = p.Code == packet.Success
			require.True(t, admitted || len(out) == 1, "nothing follows a refusal")
		case *packet.Disconnect:
			require.True(t, d.version == packet.V5 && admitted, "DISCONNECT only in MQTT 5, after CONNACK")
			require.Equal(t, len(out)-1, i, "nothing follows DISCONNECT")
		default:
			require.True(t, admitted, "%s before CONNACK", p.Type())
		}
	}
	if len(d.packets) == 0 && d.refused != nil {
		require.False(t, admitted)
	}
	return out
}

// FuzzBytesOfAConnection sends arbitrary bytes in pieces of any size. Nothing panics, nothing is answered before CONNECT, the answers have
// the client's protocol version, and the connection ends. In MQTT 5 it ends with a DISCONNECT if the decoder refuses the stream.
func FuzzBytesOfAConnection(f *testing.F) {
	hello := map[byte][]byte{packettest.V31: connectBytes("MQIsdp", 3, 2, 0, 1, 'f'), packettest.V311: connectBytes("MQTT", 4, 2, 0, 1, 'f'), packettest.V5: connectBytes("MQTT", 5, 2, 0, 1, 'f')}
	for i, r := range packettest.Refusals {
		b := r.Bytes
		if r.From != packettest.First {
			b = append(append([]byte{}, hello[r.Version]...), b...)
		}
		f.Add(b, byte(i))
	}
	f.Add([]byte{}, byte(1))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), byte(7))
	g := newTarget(f)
	f.Fuzz(func(t *testing.T, stream []byte, piece byte) {
		d := readDialogue(stream)
		answers := d.check(t, g.exchange(t, stream, int(piece)+1))
		if len(answers) == 0 || d.version != packet.V5 || d.refused == nil || len(d.packets) == 0 || answers[0].Type() != packet.CONNACK ||
			answers[0].(*packet.Connack).Code != packet.Success || tooSmall(d.packets[0]) {
			return
		}
		for _, p := range d.packets {
			if p.Type() == packet.DISCONNECT {
				return // everything after DISCONNECT is ignored
			}
		}
		require.Equal(t, packet.DISCONNECT, answers[len(answers)-1].Type(), "after %v", d.refused)
	})
}

// tooSmall reports whether the client's maximum packet size may be too small for some answers.
func tooSmall(p packet.Packet) bool {
	c, ok := p.(*packet.Connect)
	return ok && c.Properties != nil && c.Properties.MaximumPacketSize != nil && *c.Properties.MaximumPacketSize < 1024
}
