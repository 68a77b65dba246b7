package mqtt

import (
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/limits"
)

func TestAReaderThatWaitsForMemoryGoesOnOnceTheBufferIsWritten(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	theirs, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	defer theirs.Close()
	ours, err := l.Accept()
	require.NoError(t, err)
	go func() { _, _ = io.Copy(io.Discard, theirs) }()
	budget := limits.NewBudget(1, nil)
	budget.Add(1 << 20) // others use up the node's memory
	var o outbox
	o.init(ours, budget, time.Minute)
	defer o.close()
	for range 20 {
		o.mu.Lock()
		o.gather(func(b []byte) []byte { return append(b, make([]byte, smallMessage)...) })
		o.mu.Unlock()
		waited := make(chan struct{})
		go func() {
			o.waitRoom()
			close(waited)
		}()
		time.Sleep(time.Millisecond) // so that it usually waits before the buffer is written
		o.flush()
		select {
		case <-waited:
		case <-time.After(time.Minute):
			t.Fatal("the reader waits although nothing is left to write")
		}
	}
}

// writes is a connection that counts calls of Write.
type writes struct {
	net.Conn
	n atomic.Int32
}

func (w *writes) Write(b []byte) (int, error) {
	w.n.Add(1)
	return w.Conn.Write(b)
}

func TestWhatIsAddedToACorkedOutboxIsWrittenTogether(t *testing.T) {
	t.Parallel()
	theirs, ours := net.Pipe()
	defer theirs.Close()
	w := &writes{Conn: ours}
	var o outbox
	o.init(w, limits.NewBudget(1<<20, nil), time.Minute)
	defer o.abort()
	o.cork()
	o.cork()
	for _, part := range []string{"a", "b", "c"} {
		size, ok := o.add(func(b []byte) []byte { return append(b, part...) })
		require.True(t, ok)
		require.Positive(t, size)
	}
	o.uncork()
	require.False(t, o.flushing, "it is still corked")
	o.uncork()
	got := make([]byte, 3)
	_, err := io.ReadFull(theirs, got)
	require.NoError(t, err)
	require.Equal(t, "abc", string(got))
	require.EqualValues(t, 1, w.n.Load())
}
