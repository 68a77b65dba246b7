package main

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/config"
	"github.com/lmqgate/lmqgate/internal/testlog"
)

const standalone = `
node: {id: n1}
listeners: [{type: tcp, address: "127.0.0.1:0"}, {type: ws, address: "127.0.0.1:0"}]
auth: {plugin: auth-hmac, config: {users: [{username: demo, secret_key: demo-secret}]}}
meta: {plugin: meta-local}
store: {type: local}
admin: {address: "127.0.0.1:0"}
`

// running is a gateway in this process.
type running struct {
	conf        string
	port, admin string
	stop        func() (status int, out, err string)
}

// startServe runs serve until the test stops it.
func startServe(t *testing.T, more ...string) running {
	t.Helper()
	dir := t.TempDir()
	buildPlugin(t, dir, "auth-hmac")
	buildPlugin(t, dir, "meta-local")
	conf := writeFile(t, "c.yaml", standalone+"plugins: {dir: "+dir+"}\n"+strings.Join(more, "\n"))
	ctx, cancel := context.WithCancel(t.Context())
	var out, errOut testlog.Buffer
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"serve", "--config", conf}, stdio{strings.NewReader(""), &out, &errOut}, nil)
	}()
	require.Eventually(t, func() bool { return strings.HasSuffix(out.String(), "\n") }, time.Minute, 5*time.Millisecond, "%s", &errOut)
	m := regexp.MustCompile(`^lmqgate ready node=n1 tcp=127\.0\.0\.1:(\d+) ws=127\.0\.0\.1:\d+ admin=(127\.0\.0\.1:\d+)\n$`).FindStringSubmatch(out.String())
	require.NotNil(t, m, out.String())
	var status int
	var done bool
	stop := func() (int, string, string) {
		if !done {
			cancel()
			status, done = <-ended, true
		}
		return status, out.String(), errOut.String()
	}
	t.Cleanup(func() { stop() })
	return running{conf, m[1], "http://" + m[2], stop}
}

// readyz returns what a gateway that is ready says about itself.
func (r running) readyz(t *testing.T) string {
	t.Helper()
	answer, err := http.Get(r.admin + "/readyz")
	require.NoError(t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, answer.StatusCode)
	return string(body)
}

func TestAGatewayTellsWhatItsChecksFind(t *testing.T) {
	g := startServe(t, "mqtt: {max_connections: 1000000000}")
	require.Eventually(t, func() bool {
		return regexp.MustCompile(`^ready\n(?s:.*)fault: machine: a process may have \d+ files open, .*; raise it: LimitNOFILE`).MatchString(g.readyz(t))
	}, time.Minute, 20*time.Millisecond)
	_, _, log := g.stop()
	require.Regexp(t, `level=ERROR msg="a check found a fault" area=machine what="a process may have .*" remedy="raise it: LimitNOFILE`, log)
}

func TestAGatewayTellsThatItsConnectionsAreNearlyUsedUp(t *testing.T) {
	g := startServe(t, "mqtt: {max_connections: 1}")
	require.NotContains(t, g.readyz(t), "nearly full")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	go func() {
		var out, errOut testlog.Buffer
		ended <- run(ctx, []string{"sub", "-t", "a", "--config", g.conf, "--port", g.port}, stdio{strings.NewReader(""), &out, &errOut}, nil)
	}()
	require.Eventually(t, func() bool { return strings.Contains(g.readyz(t), "nearly full: connections, 1 of 1\n") }, time.Minute, 20*time.Millisecond)
	cancel()
	<-ended
	require.Eventually(t, func() bool { return !strings.Contains(g.readyz(t), "nearly full") }, time.Minute, 20*time.Millisecond)
}

func TestServePrintsOneLineAndServesTheOtherCommands(t *testing.T) {
	g := startServe(t)
	client := []string{"--config", g.conf, "--port", g.port}
	r := runCommand(t, "", append([]string{"pub", "-t", "a/b", "-m", "kept", "-r", "-q", "1"}, client...)...)
	require.Equal(t, result{}, r)
	r = runCommand(t, "", append([]string{"sub", "-t", "a/#", "-n", "1", "-v", "-q", "1"}, client...)...)
	require.Equal(t, result{0, "a/b kept\n", ""}, r)
	r = runCommand(t, "", "pub", "--port", g.port, "-t", "a", "-m", "b", "-u", "demo", "-P", "wrong")
	requireOneErrorLine(t, r)
	require.Contains(t, r.err, "bad user name or password")

	admin := []string{"--config", g.conf, "--admin", g.admin}
	r = runCommand(t, "", append([]string{"topic", "create", "T9"}, admin...)...)
	require.Equal(t, result{}, r)
	r = runCommand(t, "", append([]string{"topic", "list"}, admin...)...)
	require.Equal(t, result{0, "T9\na\n", ""}, r)
	r = runCommand(t, "", append([]string{"topic", "list", "-o", "json"}, admin...)...)
	require.Zero(t, r.status, r.err)
	require.JSONEq(t, `[{"name": "T9"}, {"name": "a"}]`, regexp.MustCompile(`,?\s*"(queues|brokers)": (\d+|\[[^]]*])`).ReplaceAllString(r.out, ""))
	r = runCommand(t, "", append([]string{"topic", "delete", "T9"}, admin...)...)
	require.Equal(t, result{}, r)
	r = runCommand(t, "", append([]string{"plugin", "list"}, admin...)...)
	require.Zero(t, r.status, r.err)
	require.Regexp(t, `(?m)^auth-hmac +auth .* running `, r.out)
	require.Regexp(t, `(?m)^meta-local +meta .* running `, r.out)

	status, out, errOut := g.stop()
	require.Zero(t, status, errOut)
	require.Equal(t, 1, strings.Count(out, "\n"), "the ready line and nothing else")
}

func TestEveryListingIsJSONWhereThatIsWanted(t *testing.T) {
	g := startServe(t)
	r := runCommand(t, "", "pub", "-t", "a/b", "-m", "kept", "-r", "-q", "1", "--config", g.conf, "--port", g.port)
	require.Equal(t, result{}, r)
	var listings [][]string
	var find func(cmd *cobra.Command, path []string)
	find = func(cmd *cobra.Command, path []string) {
		if !cmd.HasSubCommands() && strings.HasPrefix(cmd.Short, "List ") {
			listings = append(listings, path)
		}
		for _, c := range cmd.Commands() {
			find(c, append(slices.Clone(path), c.Name()))
		}
	}
	find(newRoot(stdio{}, nil), nil)
	listings = append(listings, []string{"backlog"}, []string{"doctor"}, []string{"plugin", "info", "auth-hmac"}, []string{"plugin", "check"})
	require.Greater(t, len(listings), 14)
	for _, path := range listings {
		r := runCommand(t, "", append(path, "-o", "json", "--config", g.conf, "--admin", g.admin)...)
		if slices.Contains([]string{"doctor", "check"}, path[len(path)-1]) { // of a configuration, not of a gateway that runs
			r = runCommand(t, "", append(path, "-o", "json", "--config", g.conf)...)
		}
		var answer any
		require.NoError(t, json.Unmarshal([]byte(r.out), &answer), "%q: %s%s", path, r.out, r.err)
		require.NotNil(t, answer, "%q", path)
	}
}

func TestAStartThatCannotWorkIsOneLineSoon(t *testing.T) {
	dir := t.TempDir()
	buildPlugin(t, dir, "meta-local")
	conf := writeFile(t, "c.yaml", standalone+"plugins: {dir: "+dir+"}\nlog: {level: error}\n")
	r := runCommand(t, "", "serve", "--config", conf)
	requireOneErrorLine(t, r)
	require.Equal(t, exitFailed, r.status)
	require.Contains(t, r.err, "auth-hmac")
	require.Empty(t, r.out)

	r = runCommand(t, "", "serve", "--config", conf, "--set", "mqt.x=1")
	requireOneErrorLine(t, r)
	require.Contains(t, r.err, "--set: mqt: unknown key; the nearest known key is mqtt")

	// The admin token cannot be stored.
	file := writeFile(t, "file", "")
	r = runCommand(t, "", "serve", "--config", conf, "--set", "node.data_dir="+file)
	requireOneErrorLine(t, r)
	require.Contains(t, r.err, "set admin.token")

	busy, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer busy.Close()
	r = runCommand(t, "", "serve", "--config", conf, "--set", "auth.plugin=none", "--set", "admin.address="+busy.Addr().String())
	requireOneErrorLine(t, r)
	require.Contains(t, r.err, busy.Addr().String())
}

func TestServeStopsCleanlyWhileItWaitsForAService(t *testing.T) {
	dir := t.TempDir()
	buildPlugin(t, dir, "meta-local")
	const nobody = "127.0.0.1:1"
	conf := writeFile(t, "c.yaml", standalone+"plugins: {dir: "+dir+"}\n")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var out, errOut testlog.Buffer
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{
			"serve", "--config", conf, "--set", "auth.plugin=none", "--set", "store.type=rocketmq",
			"--set", "store.rocketmq.namesrv=[\"" + nobody + "\"]",
		}, stdio{strings.NewReader(""), &out, &errOut}, nil)
	}()
	require.Eventually(t, func() bool { return strings.Contains(errOut.String(), "waiting") }, time.Minute, 10*time.Millisecond)
	cancel()
	require.Zero(t, <-ended, &errOut)
	require.Empty(t, out.String(), "no ready line")
}

func TestHintsCanBePasted(t *testing.T) {
	c, err := config.Load(writeFile(t, "my c.yaml", standalone), nil, nil)
	require.NoError(t, err)
	c.Admin.Address = "127.0.0.1:8080"
	text := hints(c, "bin/lmqgate", "127.0.0.1", "1883")
	require.Contains(t, text, "Dashboard: http://127.0.0.1:8080/, with the token in "+filepath.Join(c.Node.DataDir, "admin-token"))
	require.Contains(t, text, "  bin/lmqgate sub --config '"+c.Path+"' --port 1883 -t 'demo/#' -q 1 -v\n")
	_, password, err := credentials(c, "", "demo-pub")
	require.NoError(t, err)
	require.Contains(t, text, "  mosquitto_pub -h 127.0.0.1 -p 1883 -i demo-pub -u demo -P "+password+" -t demo/hello -m hello -q 1\n")
	require.NotContains(t, text, "topic create")

	c.Topics.AutoCreate = false
	require.Contains(t, hints(c, "lmqgate", "127.0.0.1", "1883"), "  lmqgate topic create demo --config ")
	c.Auth.Plugin = config.AuthNone
	require.NotContains(t, hints(c, "lmqgate", "127.0.0.1", "1883"), "-u")
	c.Auth.Plugin = "auth-jwt"
	require.Contains(t, hints(c, "lmqgate", "127.0.0.1", "1883"), "-u USER -P PASSWORD")

	require.Equal(t, `'it'\''s'`, shellWord("it's"))
	require.Equal(t, "''", shellWord(""))
}
