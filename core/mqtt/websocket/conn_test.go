package websocket

import (
	"bytes"
	"crypto/rand"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"
)

// wsPair returns the server's WebSocket and the client's end of its socket.
func wsPair(t *testing.T) (*Conn, net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	server, err := l.Accept()
	require.NoError(t, err)
	for _, nc := range []net.Conn{client, server} {
		t.Cleanup(func() { _ = nc.Close() })
		require.NoError(t, nc.SetDeadline(time.Now().Add(2*time.Minute)))
	}
	return New(server, nil), client
}

// encoded encodes frames as a client sends them.
func encoded(t *testing.T, frames ...ws.Frame) []byte {
	t.Helper()
	var b bytes.Buffer
	for _, f := range frames {
		require.NoError(t, ws.WriteFrame(&b, ws.MaskFrame(f)))
	}
	return b.Bytes()
}

func TestAWebSocketIsAStreamOfItsPayloads(t *testing.T) {
	large := make([]byte, 200<<10)
	_, _ = rand.Read(large)
	b := encoded(t, ws.NewBinaryFrame([]byte("ab")), ws.NewFrame(ws.OpBinary, false, []byte("c")), ws.NewPingFrame([]byte("now")),
		ws.NewFrame(ws.OpContinuation, false, nil), ws.NewFrame(ws.OpContinuation, true, []byte("d")), ws.NewPongFrame(nil),
		ws.NewBinaryFrame(make([]byte, 300)), ws.NewBinaryFrame(large))
	want := append([]byte("abcd"), append(make([]byte, 300), large...)...)
	for _, pieces := range []int{1, 7, 4096, len(b)} {
		w, client := wsPair(t)
		var sending sync.WaitGroup
		sending.Go(func() {
			for rest := b; len(rest) > 0; {
				n := min(pieces, len(rest))
				if len(b)-len(rest) > 1000 {
					n = len(rest) // only the small frames are sent byte by byte
				}
				_, _ = client.Write(rest[:n])
				rest = rest[n:]
			}
		})
		got := make([]byte, len(want))
		_, err := io.ReadFull(w, got)
		require.NoError(t, err)
		require.True(t, bytes.Equal(want, got), "in pieces of %d", pieces)
		sending.Wait()
		pong, err := ws.ReadFrame(client)
		require.NoError(t, err)
		require.Equal(t, ws.OpPong, pong.Header.OpCode)
		require.Equal(t, "now", string(pong.Payload))
		require.False(t, w.Holds())
	}
}

func TestWhatAWebSocketMayNotCarryEndsItWithItsCode(t *testing.T) {
	unmasked, err := ws.CompileFrame(ws.NewBinaryFrame([]byte("x")))
	require.NoError(t, err)
	reserved := encoded(t, ws.NewBinaryFrame([]byte("x")))
	reserved[0] |= 0x40
	for name, c := range map[string]struct {
		bytes []byte
		code  ws.StatusCode
	}{
		"text":                            {encoded(t, ws.NewTextFrame([]byte("x"))), ws.StatusUnsupportedData},
		"no mask":                         {unmasked, ws.StatusProtocolError},
		"a reserved bit":                  {reserved, ws.StatusProtocolError},
		"a continuation of nothing":       {encoded(t, ws.NewFrame(ws.OpContinuation, true, nil)), ws.StatusProtocolError},
		"a message within another":        {encoded(t, ws.NewFrame(ws.OpBinary, false, nil), ws.NewBinaryFrame(nil)), ws.StatusProtocolError},
		"a long ping":                     {encoded(t, ws.NewPingFrame(make([]byte, 126))), ws.StatusProtocolError},
		"a ping in fragments":             {encoded(t, ws.NewFrame(ws.OpPing, false, nil)), ws.StatusProtocolError},
		"an unknown code":                 {encoded(t, ws.NewFrame(5, true, nil)), ws.StatusProtocolError},
		"a close frame with a wrong code": {encoded(t, ws.NewCloseFrame([]byte{0, 1})), ws.StatusProtocolError},
	} {
		w, client := wsPair(t)
		_, err := client.Write(c.bytes)
		require.NoError(t, err)
		_, err = w.Read(make([]byte, 10))
		require.Error(t, err, name)
		_, again := w.Read(make([]byte, 10))
		require.Equal(t, err, again, name)
		f, err := ws.ReadFrame(client)
		require.NoError(t, err, name)
		code, _ := ws.ParseCloseFrameData(f.Payload)
		require.Equal(t, c.code, code, name)
		_, err = w.Write([]byte("more"))
		require.ErrorIs(t, err, ErrClosed, "nothing follows a close frame")
	}
}

func TestAWebSocketEndsWithItsHandshake(t *testing.T) {
	w, client := wsPair(t)
	_, err := client.Write(encoded(t, ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusGoingAway, "bye"))))
	require.NoError(t, err)
	_, err = w.Read(make([]byte, 10))
	require.ErrorIs(t, err, io.EOF)
	f, err := ws.ReadFrame(client)
	require.NoError(t, err)
	code, _ := ws.ParseCloseFrameData(f.Payload)
	require.Equal(t, ws.StatusGoingAway, code, "the client's own code")
	require.NoError(t, w.CloseWrite(), "it was said")

	w, client = wsPair(t)
	require.NoError(t, w.CloseWrite())
	f, err = ws.ReadFrame(client)
	require.NoError(t, err)
	code, _ = ws.ParseCloseFrameData(f.Payload)
	require.Equal(t, ws.StatusNormalClosure, code)
	require.NoError(t, client.Close())
	_, err = w.Read(make([]byte, 10))
	require.ErrorIs(t, err, io.EOF)
}

func TestADeadlineInAFrameLosesNothing(t *testing.T) {
	w, client := wsPair(t)
	want := bytes.Repeat([]byte("y"), 200)
	b := encoded(t, ws.NewPingFrame([]byte("x")), ws.NewBinaryFrame(want))
	var got []byte
	part := make([]byte, 10)
	for i := range 20 { // ends inside the payload
		_, err := client.Write(b[i : i+1])
		require.NoError(t, err)
		require.NoError(t, w.SetReadDeadline(time.Now().Add(time.Millisecond)))
		n, err := w.Read(part)
		if err != nil {
			require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		}
		got = append(got, part[:n]...)
	}
	_, err := client.Write(b[20:])
	require.NoError(t, err)
	require.NoError(t, w.SetReadDeadline(time.Now().Add(30*time.Second)))
	rest := make([]byte, len(want)-len(got))
	_, err = io.ReadFull(w, rest)
	require.NoError(t, err)
	require.Equal(t, want, append(got, rest...))
}

func TestFramesOfSeveralWritersAreWhole(t *testing.T) {
	w, client := wsPair(t)
	const count = 300
	var all sync.WaitGroup
	all.Go(func() {
		for range count {
			_, _ = w.Write(bytes.Repeat([]byte("d"), 1000))
		}
	})
	all.Go(func() {
		for range count {
			_ = w.send(ws.NewPongFrame([]byte("p")))
		}
	})
	for data := 0; data < count; {
		f, err := ws.ReadFrame(client)
		require.NoError(t, err)
		switch f.Header.OpCode {
		case ws.OpBinary:
			require.Len(t, f.Payload, 1000)
			data++
		default:
			require.Equal(t, ws.OpPong, f.Header.OpCode)
		}
	}
	all.Wait()
}
