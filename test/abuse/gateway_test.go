package abuse

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/plugins/auth-hmac/credential"
	"github.com/lmqgate/lmqgate/test/binaries"
)

// memoryLimit is the default memory limit of a gateway on a machine with 1 GiB.
const memoryLimit = 512 << 20

// secret is the key of all users.
const secret = "a-secret-of-the-tests"

// gateway is a process of lmqgate.
type gateway struct {
	cmd  *exec.Cmd
	addr string
	log  string // file
}

// bin is where the programs are; set by TestMain.
var bin string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if os.Getenv("LMQGATE_VERSION_RUN") != "" {
		fmt.Println("skipped: nothing here depends on RocketMQ's version")
		return 0
	}
	if attack := os.Getenv(envHostile); attack != "" {
		return attacks(attack)
	}
	dir, err := os.MkdirTemp("", "lmqgate-abuse-")
	if err == nil {
		defer func() { _ = os.RemoveAll(dir) }()
		err = binaries.Build(dir, nil, "auth-hmac", "meta-local")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	bin = dir
	return m.Run()
}

// start starts a gateway with the default limits of a machine with 1 GiB.
func start(t *testing.T) *gateway {
	t.Helper()
	dir := t.TempDir()
	g := &gateway{log: filepath.Join(dir, "log")}
	users := []any{}
	for _, name := range []string{"honest", "evil", "evil2"} {
		users = append(users, map[string]any{"username": name, "secret_key": secret})
	}
	b, err := json.Marshal(map[string]any{
		"node":      map[string]any{"data_dir": filepath.Join(dir, "data")},
		"listeners": []any{map[string]any{"type": "tcp", "address": "127.0.0.1:0"}},
		"admin":     map[string]any{"address": "127.0.0.1:0"},
		"auth":      map[string]any{"plugin": "auth-hmac", "config": map[string]any{"users": users}},
		"meta":      map[string]any{"plugin": "meta-local"},
		"store":     map[string]any{"type": "local"},
		"limits":    map[string]any{"node": map[string]any{"memory": memoryLimit}},
	})
	require.NoError(t, err)
	file := filepath.Join(dir, "lmqgate.yaml")
	require.NoError(t, os.WriteFile(file, b, 0o600))
	log, err := os.Create(g.log)
	require.NoError(t, err)
	t.Cleanup(func() { _ = log.Close() })
	g.cmd = exec.Command(filepath.Join(bin, "lmqgate"), "serve", "--config", file)
	g.cmd.Stderr = log
	g.cmd.Env = append(os.Environ(), "GOMEMLIMIT=")
	out, err := g.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, g.cmd.Start())
	t.Cleanup(func() {
		_ = g.cmd.Process.Signal(syscall.SIGTERM)
		kill := time.AfterFunc(30*time.Second, func() { _ = g.cmd.Process.Kill() })
		defer kill.Stop()
		_ = g.cmd.Wait()
	})
	ready := make(chan string, 1)
	go func() {
		for s := bufio.NewScanner(out); s.Scan(); {
			if strings.HasPrefix(s.Text(), "lmqgate ready ") {
				ready <- s.Text()
			}
		}
	}()
	select {
	case line := <-ready:
		for f := range strings.FieldsSeq(line) {
			if a, ok := strings.CutPrefix(f, "tcp="); ok {
				g.addr = a
			}
		}
	case <-time.After(2 * time.Minute):
		t.Fatal("the gateway was not ready within two minutes")
	}
	return g
}

// peak returns the peak resident memory of the process, in bytes; 0 if the system does not tell.
func (g *gateway) peak() int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", g.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, _ := strconv.ParseInt(strings.Fields(v)[0], 10, 64)
			return kib << 10
		}
	}
	return 0
}

// logged returns the size of the log, in bytes.
func (g *gateway) logged() int64 {
	info, err := os.Stat(g.log)
	if err != nil {
		return 0
	}
	return info.Size()
}

func password(clientID string) []byte { return []byte(credential.Password(secret, clientID)) }
