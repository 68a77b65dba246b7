package e2e

import (
	"bufio"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Users of every gateway. The second may do only what its rules allow.
const (
	user, secret           = "demo", "demo-secret"
	ruledUser, ruledSecret = "ruled", "ruled-secret"
)

// startDeadline bounds how long a gateway may take until it is ready. Builds with the race detector on a busy machine are slow.
const startDeadline = 2 * time.Minute

// Gateway is one `lmqgate serve` and its directory.
type Gateway struct {
	t   *testing.T
	dir string // configuration, data, logs
	// flags are given to serve beside --config.
	flags []string
	salt  string // makes names of this gateway's test unique
	auth  *authScheme
	cmd   *exec.Cmd
	done  chan struct{} // closed when the process has ended
	err   error         // how it ended; after done
	// other is the second node, and front the load balancer, if there are two nodes; see twoNodes.
	other *Gateway
	front *front

	// From the ready line.
	ID, TCP, WS, Admin string
}

// start starts a gateway with a profile's settings, overridden by more, and stops it when the test ends.
func start(t *testing.T, p profile, more ...settings) *Gateway {
	t.Helper()
	g := configure(t, p, more...)
	g.Start()
	return g
}

// configure writes the configuration of a gateway that the test starts itself.
func configure(t *testing.T, p profile, more ...settings) *Gateway {
	t.Helper()
	var salt [4]byte
	_, _ = rand.Read(salt[:])
	g := &Gateway{t: t, dir: t.TempDir(), salt: hex.EncodeToString(salt[:]), auth: p.auth}
	if g.auth == nil {
		g.auth = hmacScheme
	}
	config := settings{
		"node":      settings{"id": "n" + g.salt},
		"listeners": []settings{{"type": "tcp", "address": "127.0.0.1:0"}, {"type": "ws", "address": "127.0.0.1:0", "path": "/mqtt"}},
		"auth":      settings{"plugin": g.auth.plugin, "config": g.auth.config(t, g.dir)},
		"admin":     settings{"address": "127.0.0.1:0"},
	}
	maps.Copy(config, p.settings(t))
	for _, m := range more {
		maps.Copy(config, m)
	}
	g.write(config)
	g.twin(config)
	t.Cleanup(func() {
		g.Stop()
		if t.Failed() {
			t.Logf("log of %s:\n%s", g.config(), tail(g.Log(), 80))
		}
	})
	return g
}

func (g *Gateway) config() string { return filepath.Join(g.dir, "lmqgate.yaml") }

// write writes the configuration; JSON is YAML.
func (g *Gateway) write(config settings) {
	g.t.Helper()
	text, err := json.MarshalIndent(config, "", "  ")
	require.NoError(g.t, err)
	require.NoError(g.t, os.WriteFile(g.config(), text, 0o600))
}

// Start starts the process, with the data of the previous one, and waits for its ready line.
func (g *Gateway) Start() {
	g.t.Helper()
	if g.other != nil {
		g.other.Start()
		defer g.balance()
	}
	ready := g.launch()
	select {
	case line := <-ready:
		g.parse(line)
	case <-g.done:
		g.t.Fatalf("the gateway ended before it was ready: %v\n%s", g.err, tail(g.Log(), 40))
	case <-time.After(startDeadline):
		g.t.Fatalf("the gateway is not ready after %v\n%s", startDeadline, tail(g.Log(), 40))
	}
}

// launch starts the process; its ready line arrives on the channel.
func (g *Gateway) launch() <-chan string {
	g.t.Helper()
	require.False(g.t, g.running(), "the gateway runs already")
	logFile, err := os.OpenFile(g.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(g.t, err)
	defer logFile.Close()
	cmd := exec.Command(filepath.Join(bin, "lmqgate"), append([]string{"serve", "--config", g.config()}, g.flags...)...)
	cmd.Stderr = logFile
	cmd.SysProcAttr = dieWithTest()
	stdout, err := cmd.StdoutPipe()
	require.NoError(g.t, err)
	require.NoError(g.t, cmd.Start())
	g.cmd, g.done = cmd, make(chan struct{})
	ready := make(chan string, 1)
	go func(done chan struct{}) {
		defer close(done)
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			if strings.HasPrefix(lines.Text(), "lmqgate ready ") {
				ready <- lines.Text()
			}
		}
		_, _ = io.Copy(io.Discard, stdout)
		g.err = cmd.Wait()
	}(g.done)
	return ready
}

// parse parses the ready line.
func (g *Gateway) parse(line string) {
	g.t.Helper()
	for word := range strings.FieldsSeq(line) {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "node":
			g.ID = value
		case "tcp":
			g.TCP = value
		case "ws":
			g.WS = value
		case "admin":
			g.Admin = value
		}
	}
	require.NotEmpty(g.t, g.ID, line)
	require.NotEmpty(g.t, g.TCP, line)
	require.NotEmpty(g.t, g.Admin, line)
}

func (g *Gateway) running() bool {
	if g.cmd == nil {
		return false
	}
	select {
	case <-g.done:
		return false
	default:
		return true
	}
}

// PID returns the process id of the gateway.
func (g *Gateway) PID() int { return g.cmd.Process.Pid }

// Stop stops the gateway as an operator does, and checks that it exits cleanly. It does nothing if the gateway does not run.
func (g *Gateway) Stop() {
	g.t.Helper()
	if g.other != nil {
		g.other.Stop()
	}
	if !g.running() {
		return
	}
	require.NoError(g.t, g.cmd.Process.Signal(syscall.SIGTERM))
	select {
	case <-g.done:
		if g.err != nil {
			g.t.Errorf("the gateway did not end with status 0 on SIGTERM: %v\n%s", g.err, tail(g.Log(), 40))
		}
	case <-time.After(time.Minute):
		_ = g.cmd.Process.Signal(syscall.SIGQUIT) // dumps its goroutines to the log
		select {
		case <-g.done:
		case <-time.After(5 * time.Second):
			_ = g.cmd.Process.Kill()
			<-g.done
		}
		g.t.Errorf("the gateway did not end within a minute of SIGTERM\n%s", tail(g.Log(), 200))
	}
}

// Kill kills the gateway as kill -9 does.
func (g *Gateway) Kill() {
	g.t.Helper()
	if g.other != nil {
		g.other.Kill()
	}
	require.NoError(g.t, g.cmd.Process.Kill())
	<-g.done
}

// Restart stops the gateway and starts it again with the same data.
func (g *Gateway) Restart() {
	g.t.Helper()
	g.Stop()
	g.Start()
}

func (g *Gateway) logFile() string { return filepath.Join(g.dir, "lmqgate.log") }

// Log returns what the gateway has logged, over all its starts.
func (g *Gateway) Log() string {
	text, err := os.ReadFile(g.logFile())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		g.t.Error(err)
	}
	return string(text)
}

// Name returns a name that no other test uses and that is a valid RocketMQ topic.
func (g *Gateway) Name(name string) string { return name + "_" + g.salt }

// Topic creates a first-level topic that no other test uses.
func (g *Gateway) Topic(name string) string {
	g.t.Helper()
	name = g.Name(name)
	eventually(g.t, patience, func() error { // a busy RocketMQ may not answer in time
		r := g.CLI("topic", "create", name, "--config", g.config(), "--admin", "http://"+g.Admin)
		if r.code != 0 {
			return fmt.Errorf("%s: %s", r.command, r.stderr)
		}
		return nil
	})
	if g.other != nil {
		eventually(g.t, patience, func() error { return g.other.knows(name) })
	}
	return name
}

// password returns the demo user's password for a client id.
func (g *Gateway) password(clientID string) string {
	g.t.Helper()
	return g.auth.password(g.t, user, clientID)
}

// Password returns the password of auth-hmac's demo user for a client id, as Apache RocketMQ MQTT's clients compute it.
func Password(clientID string) string { return sign(secret, clientID) }

func sign(key, clientID string) string {
	mac := hmac.New(sha1.New, []byte(key))
	mac.Write([]byte(clientID))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// result is the result of a program.
type result struct {
	t              *testing.T
	command        string
	stdout, stderr string
	code           int
}

// OK requires that the program succeeded, and returns its standard output.
func (r result) OK() string {
	r.t.Helper()
	require.Zero(r.t, r.code, "%s\n%s%s", r.command, r.stdout, r.stderr)
	return r.stdout
}

// CLI runs one of lmqgate's other commands to its end.
func (g *Gateway) CLI(args ...string) result {
	g.t.Helper()
	return execute(g.t, 3*time.Minute, filepath.Join(bin, "lmqgate"), args...)
}

// execute runs a program to its end.
func execute(t *testing.T, limit time.Duration, name string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	var stdout, stderr strings.Builder
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.SysProcAttr = dieWithTest()
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	r := result{t: t, command: name + " " + strings.Join(args, " "), stdout: stdout.String(), stderr: stderr.String()}
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		r.code = exit.ExitCode()
	} else {
		require.NoError(t, err, r.command)
	}
	return r
}

// Get sends a request to the admin API, with the token that the gateway has created.
func (g *Gateway) Get(path string) (int, string) {
	g.t.Helper()
	request, err := http.NewRequest(http.MethodGet, "http://"+g.Admin+path, nil)
	require.NoError(g.t, err)
	token, err := os.ReadFile(filepath.Join(g.dir, "data", "admin-token"))
	if err == nil {
		request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	}
	client := http.Client{Timeout: patience}
	resp, err := client.Do(request)
	require.NoError(g.t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(g.t, err)
	return resp.StatusCode, string(body)
}

// GetJSON decodes an answer of the admin API.
func (g *Gateway) GetJSON(path string, into any) {
	g.t.Helper()
	code, body := g.Get(path)
	require.Equal(g.t, http.StatusOK, code, body)
	require.NoError(g.t, json.Unmarshal([]byte(body), into), body)
}

// Plugin is a plugin as the admin API describes it.
type Plugin struct {
	Name     string `json:"name"`
	Kind     string `json:"kind"`
	PID      int    `json:"pid"`
	State    string `json:"state"`
	Restarts int    `json:"restarts"`
}

// Plugins lists the gateway's plugins by name.
func (g *Gateway) Plugins() map[string]Plugin {
	g.t.Helper()
	var answer struct{ Plugins []Plugin }
	g.GetJSON("/api/v1/plugins", &answer)
	out := map[string]Plugin{}
	for _, p := range answer.Plugins {
		out[p.Name] = p
	}
	return out
}

// AwaitSubscriptions waits until a client has n subscriptions.
func (g *Gateway) AwaitSubscriptions(clientID string, n int) {
	g.t.Helper()
	eventually(g.t, patience, func() error {
		var answer struct {
			Subscriptions []struct {
				ClientID string `json:"client_id"`
			}
		}
		g.GetJSON("/api/v1/subscriptions?limit=10000", &answer)
		have := 0
		for _, s := range answer.Subscriptions {
			if s.ClientID == clientID {
				have++
			}
		}
		if have < n {
			return fmt.Errorf("client %q has %d subscriptions, not %d", clientID, have, n)
		}
		return nil
	})
}

// inFlight returns how many messages a client has not acknowledged, and whether it is connected. A twin that was too busy to answer may
// have the client, and messages in flight to it.
func (g *Gateway) inFlight(clientID string) (n int, online bool) {
	g.t.Helper()
	var answer struct {
		Clients []struct {
			ClientID string `json:"client_id"`
			InFlight int    `json:"in_flight"`
		}
		Unanswered []struct{ Node string }
	}
	g.GetJSON("/api/v1/clients?limit=10000", &answer)
	for _, u := range answer.Unanswered {
		if g.other != nil && u.Node == g.other.ID {
			return 1, true
		}
	}
	for _, c := range answer.Clients {
		if c.ClientID == clientID {
			return c.InFlight, true
		}
	}
	return 0, false
}

// eventually waits until a condition holds.
func eventually(t *testing.T, limit time.Duration, condition func() error) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		err := condition()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v: %v", limit, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// tail returns the last lines of a text.
func tail(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
