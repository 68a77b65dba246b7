package socket

import (
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestWaitingForTheFirstByteReadsNothing(t *testing.T) {
	a, b := pair(t)
	require.NoError(t, a.SetReadDeadline(time.Now().Add(20*time.Millisecond)))
	require.ErrorIs(t, WaitReadable(a), os.ErrDeadlineExceeded)
	require.NoError(t, a.SetReadDeadline(time.Time{}))
	waited := make(chan error, 1)
	go func() { waited <- WaitReadable(a) }()
	_, err := b.Write([]byte("x"))
	require.NoError(t, err)
	require.NoError(t, <-waited)
	got := make([]byte, 1)
	_, err = a.Read(got)
	require.NoError(t, err)
	require.Equal(t, "x", string(got))
	go func() { waited <- WaitReadable(a) }()
	require.NoError(t, b.Close())
	require.NoError(t, <-waited, "the end is something to read")
}

func TestWhatIsNoSocketIsNotWaitedFor(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	require.NoError(t, WaitReadable(a))
}
