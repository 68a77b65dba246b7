package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/docs/performance"
	"github.com/lmqgate/lmqgate/internal/freeport"
	"github.com/lmqgate/lmqgate/internal/mqttload"
)

// broker is one running broker of any make.
type broker struct {
	name, version string
	target        *mqttload.Target
	// warmUp is how long it plays a case before that counts.
	warmUp time.Duration
	own    bool // lmqgate
	pid    int
	stop   func()
}

// targetAt returns the target of a broker at HOST:PORT.
func targetAt(name, addr string) *mqttload.Target {
	return &mqttload.Target{Name: name, Version: packet.V311, Dial: func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", addr)
	}}
}

// maker starts brokers of one make. A broker that is not there is an errMissing, which names the remedy.
type maker struct {
	name  string
	start func(ctx context.Context) (*broker, error)
}

// errMissing means that a broker is not installed.
type errMissing string

func (e errMissing) Error() string { return string(e) }

// makers lists the brokers, mosquitto first: the others are compared with it. bin and peers are directories with built programs.
func makers(bin, peers string) []maker {
	lmqgate := func(name, sync string) maker {
		return maker{name, func(ctx context.Context) (*broker, error) { return startLmqgate(ctx, bin, name, sync) }}
	}
	return []maker{
		{performance.Mosquitto, startMosquitto},
		{performance.Mochi, func(ctx context.Context) (*broker, error) { return startMochi(ctx, peers) }},
		{performance.NATS, func(ctx context.Context) (*broker, error) { return startNATS(ctx, peers) }},
		{performance.HiveMQ, func(ctx context.Context) (*broker, error) { return startHiveMQ(ctx, peers) }},
		lmqgate(performance.Lmqgate, "1s"),
		lmqgate(performance.LmqSynced, "always"),
	}
}

// startLmqgate starts a gateway on the local store, with auth-hmac: its clients are authenticated, those of the other brokers anonymous.
func startLmqgate(ctx context.Context, bin, name, sync string) (*broker, error) {
	g, err := start(ctx, bin, func() map[string]any {
		c := localConfig()
		c["store"] = map[string]any{"type": "local", "local": map[string]any{"sync": sync}}
		return c
	})
	if err != nil {
		return nil, err
	}
	t := targetAt(name, g.mqtt)
	t.Login = func(id string) (string, string, error) { return "bench", password(id), nil }
	return &broker{name: name, target: t, warmUp: time.Second, own: true, pid: g.cmd.Process.Pid, stop: g.stop}, nil
}

// program describes a broker of another make, as a process.
type program struct {
	name string
	// path is the executable, remedy what to do if it is not there.
	path, remedy string
	// arguments returns the arguments, after it has written the configuration into dir; addr is where to listen.
	arguments func(dir, addr string) ([]string, error)
	// warmUp is over a second if the program needs so long before it is as fast as it gets.
	warmUp time.Duration
	// version returns the version.
	version func(ctx context.Context) string
}

// launch starts a program in a directory of its own, and waits until it listens.
func launch(ctx context.Context, p program) (*broker, error) {
	path, err := exec.LookPath(p.path)
	if err != nil {
		return nil, errMissing(p.remedy)
	}
	if path, err = filepath.Abs(path); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "lmqgate-bench-")
	if err != nil {
		return nil, err
	}
	b, err := launchIn(ctx, dir, path, p)
	if err != nil {
		_ = os.RemoveAll(dir)
		return nil, fmt.Errorf("%s: %w", p.name, err)
	}
	return b, nil
}

func launchIn(ctx context.Context, dir, path string, p program) (*broker, error) {
	addr, err := freeport.Address()
	if err != nil {
		return nil, err
	}
	args, err := p.arguments(dir, addr)
	if err != nil {
		return nil, err
	}
	out, err := os.Create(filepath.Join(dir, "out.log"))
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd := exec.Command(path, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, out, out
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	stop := func() { end(cmd.Process, ended) }
	if err := awaitListener(ctx, addr, ended); err != nil {
		stop()
		said, _ := os.ReadFile(out.Name())
		return nil, fmt.Errorf("%w\n%s", err, said[max(0, len(said)-2000):])
	}
	b := &broker{name: p.name, target: targetAt(p.name, addr), warmUp: max(time.Second, p.warmUp), pid: cmd.Process.Pid}
	b.stop = func() { stop(); _ = os.RemoveAll(dir) }
	if p.version != nil {
		b.version = p.version(ctx)
	}
	return b, nil
}

// end stops a process, after ten seconds by force, and waits for its end.
func end(p *os.Process, ended <-chan struct{}) {
	_ = p.Signal(syscall.SIGTERM)
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		_ = p.Kill()
		<-ended
	}
}

// awaitListener waits up to a minute until something listens at addr.
func awaitListener(ctx context.Context, addr string, ended <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		if nc, err := new(net.Dialer).DialContext(ctx, "tcp", addr); err == nil {
			return nc.Close()
		}
		select {
		case <-ended:
			return errors.New("it ended before it listened")
		case <-ctx.Done():
			return fmt.Errorf("it does not listen on %s: %w", addr, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// memory returns the resident memory of a process and its children, in MiB (Linux only; otherwise 0).
func memory(pid int) float64 {
	all := resident(pid)
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, task := range tasks {
		b, err := os.ReadFile(task)
		if err != nil {
			continue
		}
		for child := range strings.FieldsSeq(string(b)) {
			if n, err := strconv.Atoi(child); err == nil {
				all += resident(n)
			}
		}
	}
	return all
}
