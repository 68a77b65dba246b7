package websocket

import (
	"bytes"
	"io"
	"net"
	runtimemetrics "runtime/metrics"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"
)

// closeCode reads frames up to the close frame and returns its code.
func closeCode(t *testing.T, client io.Reader) ws.StatusCode {
	t.Helper()
	for {
		f, err := ws.ReadFrame(client)
		require.NoError(t, err)
		if f.Header.OpCode == ws.OpClose {
			code, _ := ws.ParseCloseFrameData(f.Payload)
			return code
		}
	}
}

// wsPipe returns the server's WebSocket on a pipe, which buffers nothing, and the client's end of the pipe.
func wsPipe(t *testing.T) (*Conn, net.Conn) {
	t.Helper()
	server, client := net.Pipe()
	t.Cleanup(func() { _, _ = server.Close(), client.Close() })
	return New(server, nil), client
}

func TestBeforeItsAdmissionAClientMaySendFewFramesWithoutData(t *testing.T) {
	begin := func(payload string) []ws.Frame { return []ws.Frame{ws.NewFrame(ws.OpBinary, false, []byte(payload))} }
	goOn := []ws.Frame{ws.NewFrame(ws.OpContinuation, false, nil)}
	for name, c := range map[string]struct {
		first, repeated []ws.Frame
		times           int // that are taken, of what is repeated
	}{
		"pings":                      {nil, []ws.Frame{ws.NewPingFrame(make([]byte, 125))}, 64},
		"pongs":                      {nil, []ws.Frame{ws.NewPongFrame(nil)}, 64},
		"empty messages":             {nil, []ws.Frame{ws.NewBinaryFrame(nil)}, 64},
		"a message of nothing":       {begin(""), goOn, 63},
		"a message without an end":   {begin("d"), goOn, 65},
		"pings with data in between": {nil, []ws.Frame{ws.NewPingFrame(nil), ws.NewBinaryFrame([]byte("d"))}, 64},
	} {
		w, client := wsPair(t)
		b, each, want := encoded(t, c.first...), encoded(t, c.repeated...), 0
		for range c.times {
			b = append(b, each...)
		}
		for _, f := range c.first {
			want += len(f.Payload)
		}
		for _, f := range c.repeated {
			if f.Header.OpCode == ws.OpBinary {
				want += len(f.Payload) * c.times
			}
		}
		_, err := client.Write(b)
		require.NoError(t, err)
		_, err = client.Write(encoded(t, ws.NewPongFrame(nil)))
		require.NoError(t, err)
		got, err := io.ReadAll(w)
		require.ErrorIs(t, err, ErrFlooded, name)
		require.Len(t, got, want, name)
		require.Equal(t, ws.StatusPolicyViolation, closeCode(t, client), name)
		require.Equal(t, maxFramesBefore+1, w.bound.used, name)
	}
}

func TestTinyFramesAndEmptyEndsOfMessagesAreTakenWithoutABound(t *testing.T) {
	const count = 20_000
	for _, admitted := range []bool{false, true} {
		w, client := wsPair(t)
		w.bound.admitted = admitted
		each := encoded(t, ws.NewFrame(ws.OpBinary, false, []byte("d")), ws.NewFrame(ws.OpContinuation, true, nil))
		go func() { _, _ = client.Write(bytes.Repeat(each, count)) }()
		got := make([]byte, count)
		_, err := io.ReadFull(w, got)
		require.NoError(t, err)
		require.Equal(t, bytes.Repeat([]byte("d"), count), got)
		require.Zero(t, w.bound.used)
		require.Nil(t, w.bound.rate)
	}
}

func TestAnAdmittedClientMayPingAllTheTimeAndNotWithoutEnd(t *testing.T) {
	for _, frame := range []ws.Frame{ws.NewPingFrame(nil), ws.NewPongFrame(nil), ws.NewBinaryFrame(nil)} {
		synctest.Test(t, func(t *testing.T) {
			w, client := wsPipe(t)
			w.bound.admit()
			ended := make(chan error, 1)
			go func() {
				_, err := io.Copy(io.Discard, w)
				ended <- err
			}()
			codes := make(chan ws.StatusCode, 1)
			go func() { codes <- closeCode(t, client) }()
			one := encoded(t, frame)
			for range 10_000 { // a day of pings
				_, err := client.Write(one)
				require.NoError(t, err)
				time.Sleep(10 * time.Second)
			}
			_, err := client.Write(bytes.Repeat(one, 2*int(framesPerSecond))) // they have waited in a network that stood still
			require.NoError(t, err)
			synctest.Wait()
			require.Empty(t, ended)
			_, err = client.Write(one)
			require.NoError(t, err)
			require.ErrorIs(t, <-ended, ErrFlooded)
			require.Equal(t, ws.StatusPolicyViolation, <-codes)
		})
	}
}

func TestAClientThatSendsPingsAndReadsNothingGetsTheNewestPongOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const pings = 60
		w, client := wsPipe(t)
		read := make(chan string)
		go func() {
			b := make([]byte, 10)
			n, _ := w.Read(b)
			read <- string(b[:n])
		}()
		_, err := client.Write(encoded(t, ws.NewPingFrame([]byte("0"))))
		require.NoError(t, err)
		synctest.Wait() // its pong is being written
		begun := goroutinesStarted()
		for i := 1; i < pings; i++ {
			_, err := client.Write(encoded(t, ws.NewPingFrame([]byte(strconv.Itoa(i)))))
			require.NoError(t, err)
		}
		_, err = client.Write(encoded(t, ws.NewBinaryFrame([]byte("x"))))
		require.NoError(t, err)
		require.Equal(t, "x", <-read, "the reader is not held up")
		require.Less(t, goroutinesStarted()-begun, uint64(pings/2), "pings start no goroutines")
		for _, want := range []string{"0", strconv.Itoa(pings - 1)} {
			f, err := ws.ReadFrame(client)
			require.NoError(t, err)
			require.Equal(t, ws.OpPong, f.Header.OpCode)
			require.Equal(t, want, string(f.Payload))
		}
		synctest.Wait()
		require.False(t, w.ponging, "nothing is left to write")

		go func() { _ = w.send(ws.NewPongFrame([]byte("later"))) }()
		f, err := ws.ReadFrame(client)
		require.NoError(t, err)
		require.Equal(t, "later", string(f.Payload))
		synctest.Wait()
	})
}

// goroutinesStarted returns how many goroutines the process has started.
func goroutinesStarted() uint64 {
	s := []runtimemetrics.Sample{{Name: "/sched/goroutines-created:goroutines"}}
	runtimemetrics.Read(s)
	return s[0].Value.Uint64()
}

func TestACloseFrameFollowsAPongThatIsBeingWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, client := wsPipe(t)
		require.NoError(t, w.send(ws.NewPongFrame([]byte("p"))))
		synctest.Wait() // it is being written
		require.NoError(t, w.CloseWrite())
		f, err := ws.ReadFrame(client)
		require.NoError(t, err)
		require.Equal(t, "p", string(f.Payload))
		require.Equal(t, ws.StatusNormalClosure, closeCode(t, client))
		synctest.Wait()
	})
}
