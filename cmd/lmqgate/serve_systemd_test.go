package main

import (
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestServeTellsTheServiceManagerHowItIs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	nc, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	require.NoError(t, err)
	defer nc.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "50000")
	t.Setenv("WATCHDOG_PID", "")
	// await reads notifications until one has the given prefix.
	await := func(beginning string) string {
		b := make([]byte, 4096)
		require.NoError(t, nc.SetReadDeadline(time.Now().Add(time.Minute)))
		for {
			n, err := nc.Read(b)
			require.NoError(t, err, "waiting for %s", beginning)
			if told := string(b[:n]); len(told) >= len(beginning) && told[:len(beginning)] == beginning {
				return told
			}
		}
	}
	g := startServe(t)
	require.Contains(t, await("READY=1"), "STATUS=lmqgate ready node=n1")
	await("WATCHDOG=1")
	await("WATCHDOG=1")
	status, _, _ := g.stop()
	require.Zero(t, status)
	require.Contains(t, await("STOPPING=1"), "EXTEND_TIMEOUT_USEC=60000000")
}
