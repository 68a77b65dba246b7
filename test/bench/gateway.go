package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/lmqgate/lmqgate/plugins/auth-hmac/credential"
)

const benchSecret = "bench-secret"

func password(clientID string) string { return credential.Password(benchSecret, clientID) }

// gateway is one running lmqgate process.
type gateway struct {
	cmd  *exec.Cmd
	dir  string
	mqtt string
}

func commonConfig() map[string]any {
	return map[string]any{
		"listeners": []any{map[string]any{"type": "tcp", "address": "127.0.0.1:0"}},
		"admin":     map[string]any{"address": "127.0.0.1:0"},
		"auth": map[string]any{"plugin": "auth-hmac", "config": map[string]any{
			"users": []any{map[string]any{"username": "bench", "secret_key": benchSecret}}}},
		"log": map[string]any{"level": "warn"},
	}
}

func localConfig() map[string]any {
	c := commonConfig()
	c["meta"] = map[string]any{"plugin": "meta-local"}
	c["store"] = map[string]any{"type": "local"}
	return c
}

func rocketmqConfig(namesrv []string) func() map[string]any {
	return func() map[string]any {
		c := commonConfig()
		c["meta"] = map[string]any{"plugin": "meta-namesrv", "config": map[string]any{"namesrv": namesrv}}
		c["store"] = map[string]any{"type": "rocketmq", "rocketmq": map[string]any{"namesrv": namesrv}}
		c["topics"] = map[string]any{"auto_create": true}
		return c
	}
}

// start starts a gateway in a directory of its own and waits until it accepts clients.
func start(ctx context.Context, bin string, config func() map[string]any) (*gateway, error) {
	dir, err := os.MkdirTemp("", "lmqgate-bench-")
	if err != nil {
		return nil, err
	}
	g := &gateway{dir: dir}
	b, err := json.Marshal(config()) // JSON is YAML
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "lmqgate.yaml")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		return nil, err
	}
	g.cmd = exec.CommandContext(ctx, filepath.Join(bin, "lmqgate"), "serve", "--config", file)
	g.cmd.Cancel = func() error { return g.cmd.Process.Signal(syscall.SIGTERM) }
	g.cmd.Stderr = os.Stderr
	out, err := g.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := g.cmd.Start(); err != nil {
		return nil, fmt.Errorf("%w; run make build first", err)
	}
	lines := make(chan string, 1)
	go func() {
		s := bufio.NewScanner(out)
		for s.Scan() {
			if strings.HasPrefix(s.Text(), "lmqgate ready ") {
				lines <- s.Text()
			}
		}
		close(lines)
	}()
	select {
	case line, ok := <-lines:
		if !ok {
			g.stop()
			return nil, fmt.Errorf("the gateway ended before it was ready")
		}
		for f := range strings.FieldsSeq(line) {
			if a, ok := strings.CutPrefix(f, "tcp="); ok {
				g.mqtt = a
			}
		}
	case <-time.After(time.Minute):
		g.stop()
		return nil, fmt.Errorf("the gateway was not ready within a minute")
	}
	return g, nil
}

// stop stops the gateway and removes its directory.
func (g *gateway) stop() {
	_ = g.cmd.Process.Signal(syscall.SIGTERM)
	_ = g.cmd.Wait()
	_ = os.RemoveAll(g.dir)
}

// printMemory prints the resident memory of the idle gateway, without and with its plugins (Linux only).
func (g *gateway) printMemory() {
	time.Sleep(2 * time.Second) // until memory of the start was released
	own, all := resident(g.cmd.Process.Pid), memory(g.cmd.Process.Pid)
	if own > 0 {
		fmt.Printf("%-44s gateway %.0f MiB, with its plugins %.0f MiB\n", "resident memory, idle", own, all)
	}
}

// resident returns a process's resident memory in MiB; 0 if it cannot be read.
func resident(pid int) float64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, _ := strconv.ParseFloat(strings.Fields(v)[0], 64)
			return kib / 1024
		}
	}
	return 0
}

// processorTime returns the processor time of processes, in seconds (Linux only; otherwise 0).
func processorTime(pids ...int) float64 {
	const ticks = 100 // a second, on every Linux
	sum := 0.0
	for _, pid := range pids {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(b), ") ") // the name may have spaces
		f := strings.Fields(rest)
		for _, i := range []int{11, 12} { // user and system time
			if len(f) > i {
				n, _ := strconv.ParseFloat(f[i], 64)
				sum += n / ticks
			}
		}
	}
	return sum
}
