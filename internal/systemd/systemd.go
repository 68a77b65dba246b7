// Package systemd tells a service manager how the process is: that it is ready, that it reloads, that it stops, and that it still responds.
// It speaks the protocol of sd_notify(3), and does nothing where nobody listens.
package systemd

import (
	"context"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// What can be told. Several are separated by line feeds.
const (
	Ready    = "READY=1"
	Stopping = "STOPPING=1"
	alive    = "WATCHDOG=1"
)

// Reloading says that the process reads its configuration again; Ready follows when it has.
func Reloading() string {
	return "RELOADING=1\nMONOTONIC_USEC=" + strconv.FormatInt(monotonic().Microseconds(), 10)
}

// Status says in words what the process does.
func Status(text string) string { return "STATUS=" + strings.ReplaceAll(text, "\n", " ") }

// Within says how long at most what is under way, the start or the stop, takes from now on.
func Within(d time.Duration) string {
	return "EXTEND_TIMEOUT_USEC=" + strconv.FormatInt(d.Microseconds(), 10)
}

// Notify tells the service manager; it returns nil where there is none.
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

// Watched is how often at least the service manager wants to hear from this process; 0 where it does not.
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

// Watch tells the service manager twice as often as it wants to know that the process responds, until ctx ends. respond returns where the
// process does; while it hangs nothing is told, and the service manager starts the process again.
func Watch(ctx context.Context, respond func()) {
	every := Watched() / 2
	if every == 0 {
		return
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		respond()
		_ = Notify(alive) // a manager that is away misses it, and asks for no more
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
