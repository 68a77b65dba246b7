package systemd

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// manager listens as a service manager does, and returns a function that receives the next state.
func manager(t *testing.T) func() string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	nc, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	require.NoError(t, err)
	t.Cleanup(func() { _ = nc.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return func() string {
		b := make([]byte, 4096)
		require.NoError(t, nc.SetReadDeadline(time.Now().Add(time.Minute)))
		n, err := nc.Read(b)
		require.NoError(t, err)
		return string(b[:n])
	}
}

func TestTheServiceManagerIsTold(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	require.NoError(t, Notify(Ready), "where nobody listens")
	told := manager(t)
	require.NoError(t, Notify(Ready+"\n"+Status("two\nlines")))
	require.Equal(t, "READY=1\nSTATUS=two lines", told())
	require.NoError(t, Notify(Reloading()))
	require.Regexp(t, `^RELOADING=1\nMONOTONIC_USEC=\d+$`, told())
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "gone"))
	require.Error(t, Notify(Ready))
}

func TestAProcessThatHangsIsNotSaidToBeAlive(t *testing.T) {
	told := manager(t)
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()+1))
	t.Setenv("WATCHDOG_USEC", "20000")
	require.Zero(t, Watched(), "another process is meant")
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	require.Equal(t, 20*time.Millisecond, Watched())
	ctx, cancel := context.WithCancel(t.Context())
	var asked atomic.Int32
	hangs, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		Watch(ctx, func() {
			if asked.Add(1) == 3 {
				<-hangs
			}
		})
	}()
	require.Equal(t, alive, told())
	require.Equal(t, alive, told())
	require.Eventually(t, func() bool { return asked.Load() == 3 }, time.Minute, time.Millisecond)
	require.NoError(t, Notify("marker"))
	require.Equal(t, "marker", told(), "nothing was told while it hangs")
	close(hangs)
	require.Equal(t, alive, told())
	cancel()
	<-done
}
