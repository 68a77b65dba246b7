package main

import (
	"net"
	"path/filepath"
	"strings"
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
	// They are read as they come: a socket holds few of them, and then holds up the gateway.
	notifications := make(chan string, 1000)
	go func() {
		defer close(notifications)
		for b := make([]byte, 4096); ; {
			n, err := nc.Read(b)
			if err != nil {
				return
			}
			notifications <- string(b[:n])
		}
	}()
	// await takes notifications until one has the given prefix.
	await := func(beginning string) string {
		deadline := time.After(time.Minute)
		for {
			select {
			case told := <-notifications:
				if strings.HasPrefix(told, beginning) {
					return told
				}
			case <-deadline:
				require.Fail(t, "nothing begins with "+beginning)
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
