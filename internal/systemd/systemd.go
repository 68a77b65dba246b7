// Package systemd reports the state of the process to a service manager: ready, reloading, stopping, and still responding. It speaks the
// protocol of sd_notify(3), and does nothing if nobody listens.
package systemd

import (
	"context"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// States for Notify. Several states are separated by line feeds.
const (
	Ready    = "READY=1"
	Stopping = "STOPPING=1"
	alive    = "WATCHDOG=1"
)

// Reloading is the state while the process reads its configuration again; Ready must follow.
func Reloading() string {
	return "RELOADING=1\nMONOTONIC_USEC=" + strconv.FormatInt(monotonic().Microseconds(), 10)
}

// Status describes in words what the process does.
func Status(text string) string { return "STATUS=" + strings.ReplaceAll(text, "\n", " ") }

// Within extends the timeout of the current start or stop: it takes at most d from now.
func Within(d time.Duration) string {
	return "EXTEND_TIMEOUT_USEC=" + strconv.FormatInt(d.Microseconds(), 10)
}

// Notify sends a state to the service manager; without one it returns nil.
func Notify(state string) error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	nc, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"}) // @ begins an abstract name
	if err != nil {
		return err
	}
	defer func() { _ = nc.Close() }()
	_, err = nc.Write([]byte(state))
	return err
}

// Watched returns the watchdog interval of the service manager; 0 if the watchdog is off.
func Watched() time.Duration {
	micros, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64)
	if err != nil || micros <= 0 {
		return 0
	}
	if pid := os.Getenv("WATCHDOG_PID"); pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return 0
	}
	return time.Duration(micros) * time.Microsecond
}

// Watch reports to the service manager, twice per watchdog interval, that the process responds, until ctx ends. Before each report it calls
// respond, which must return quickly in a healthy process. While respond hangs nothing is reported, and the service manager restarts the
// process.
func Watch(ctx context.Context, respond func()) {
	every := Watched() / 2
	if every == 0 {
		return
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		respond()
		_ = Notify(alive) // a manager that is away misses it; nothing else to do
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
