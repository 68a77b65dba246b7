package socket

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func pair(t *testing.T) (a, b net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	a, err = net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	b, err = l.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { _ = a.Close(); _ = b.Close() })
	return a, b
}

func TestWhatThePeerHasRoomForIsWrittenAtOnce(t *testing.T) {
	a, b := pair(t)
	w := NewWriter(a)
	require.NotNil(t, w)
	n, err := w.Write([]byte("hello"))
	require.NoError(t, err)
	require.Equal(t, 5, n)
	got := make([]byte, 5)
	_, err = io.ReadFull(b, got)
	require.NoError(t, err)
	require.Equal(t, "hello", string(got))
}

func TestAPeerThatDoesNotReadHoldsNobodyUp(t *testing.T) {
	a, _ := pair(t)
	w := NewWriter(a)
	chunk := make([]byte, 1<<20)
	done := make(chan int)
	go func() {
		n := len(chunk)
		var err error
		for range 1000 {
			if n, err = w.Write(chunk); err != nil || n < len(chunk) {
				break
			}
		}
		done <- n
	}()
	select {
	case n := <-done:
		require.Less(t, n, len(chunk), "the kernel's buffers are full")
	case <-time.After(time.Minute):
		t.Fatal("the writer waits")
	}
}

func TestAClosedConnectionIsAnError(t *testing.T) {
	a, _ := pair(t)
	w := NewWriter(a)
	require.NoError(t, a.Close())
	_, err := w.Write([]byte("x"))
	require.Error(t, err)
}

func TestOtherConnectionsTakeNothing(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	w := NewWriter(a)
	require.Nil(t, w)
	n, err := w.Write([]byte("x"))
	require.NoError(t, err)
	require.Zero(t, n)
}

func TestAWriteAllocatesNothing(t *testing.T) {
	a, b := pair(t)
	go func() { _, _ = io.Copy(io.Discard, b) }()
	w := NewWriter(a)
	chunk := []byte("a few bytes")
	require.Zero(t, testing.AllocsPerRun(100, func() { _, _ = w.Write(chunk) }))
}
