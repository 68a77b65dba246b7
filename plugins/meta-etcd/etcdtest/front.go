package etcdtest

import (
	"io"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// front is a proxy before a member's client port: stopping the member cuts its connections as a crash would.
type front struct {
	listener net.Listener
	backend  string
	serving  sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool
}

func newFront(t testing.TB, address, backend string) *front {
	t.Helper()
	l, err := net.Listen("tcp", address)
	require.NoError(t, err)
	f := &front{listener: l, backend: backend, conns: map[net.Conn]bool{}}
	f.serving.Go(f.accept)
	return f
}

func (f *front) accept() {
	for {
		in, err := f.listener.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", f.backend)
		if err != nil {
			_ = in.Close()
			continue
		}
		f.mu.Lock()
		if f.conns == nil { // closed meanwhile
			f.mu.Unlock()
			_, _ = in.Close(), out.Close()
			return
		}
		f.conns[in], f.conns[out] = true, true
		f.mu.Unlock()
		f.serving.Go(func() { f.copy(in, out) })
		f.serving.Go(func() { f.copy(out, in) })
	}
}

func (f *front) copy(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	_, _ = to.Close(), from.Close()
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.conns, to)
	delete(f.conns, from)
}

// close cuts all connections and accepts no more.
func (f *front) close() {
	_ = f.listener.Close()
	f.mu.Lock()
	for c := range f.conns {
		_ = c.Close()
	}
	f.conns = nil
	f.mu.Unlock()
	f.serving.Wait()
}
