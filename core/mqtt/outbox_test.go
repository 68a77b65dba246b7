package mqtt

import (
	"io"
	"net"
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
