package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/test/rocketmq/cluster"
)

// pluginDir returns a directory with copies of the plugins, which a test may change.
func pluginDir(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o755))
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(bin, "plugins", name))
		require.NoError(t, err)
		install(t, filepath.Join(dir, name), text)
	}
	return dir
}

// install installs an executable as an installer does: the running file is not overwritten; a new file takes its name.
func install(t *testing.T, path string, text []byte) {
	t.Helper()
	require.NoError(t, os.WriteFile(path+".new", text, 0o600))
	require.NoError(t, os.Chmod(path+".new", 0o755))
	require.NoError(t, os.Rename(path+".new", path))
}

// buildPlugin builds a plugin that reports the given version.
func buildPlugin(t *testing.T, name, version, path string) {
	t.Helper()
	root, err := cluster.Root()
	require.NoError(t, err)
	made := filepath.Join(t.TempDir(), name)
	args := []string{"build", "-o", made, "-ldflags", "-X main.buildVersion=" + version}
	if os.Getenv("LMQGATE_E2E_RACE") == "1" {
		args = append(args, "-race")
	}
	cmd := exec.Command("go", append(args, "./plugins/"+name)...)
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	text, err := os.ReadFile(made)
	require.NoError(t, err)
	install(t, path, text)
}

// edit changes the configuration file of a gateway.
func (g *Gateway) edit(change func(settings)) {
	g.t.Helper()
	text, err := os.ReadFile(g.config())
	require.NoError(g.t, err)
	config := settings{}
	require.NoError(g.t, json.Unmarshal(text, &config))
	change(config)
	g.write(config)
}

// reload runs lmqgate plugin reload.
func (g *Gateway) reload(args ...string) result {
	g.t.Helper()
	return g.CLI(append([]string{"plugin", "reload", "--config", g.config(), "--admin", "http://" + g.Admin}, args...)...)
}

// metric returns the sum of a metric over its labels; series must contain the given labels.
func (g *Gateway) metric(name string, labels ...string) float64 {
	g.t.Helper()
	_, text := g.Get("/metrics")
	sum := 0.0
lines:
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, name+" ") && !strings.HasPrefix(line, name+"{") {
			continue
		}
		for _, l := range labels {
			if !strings.Contains(line, l) {
				continue lines
			}
		}
		v, err := strconv.ParseFloat(strings.Fields(line)[len(strings.Fields(line))-1], 64)
		require.NoError(g.t, err, line)
		sum += v
	}
	return sum
}

const jwtSecret = "a secret of thirty-two bytes, or more"

// jwtAuth returns a configuration of auth-jwt that admits clients with a token and allows everything.
func jwtAuth() settings {
	return settings{"plugin": "auth-jwt", "config": settings{"keys": []settings{{"secret": jwtSecret}},
		"rules": []settings{{"effect": "allow", "action": "all", "topic": "#"}}}}
}

func token(t *testing.T, subject string) string {
	t.Helper()
	text, err := jwt.NewWithClaims(
		jwt.SigningMethodHS256,
		jwt.MapClaims{"sub": subject, "exp": time.Now().Add(time.Hour).Unix()},
	).SignedString(
		[]byte(jwtSecret),
	)
	require.NoError(t, err)
	return text
}

// crowd is a ring of connected clients: each publishes numbered messages to the next one, each message to a new topic, so that no decision
// comes from a cache.
type crowd struct {
	t       *testing.T
	topic   string
	members []*client
	sent    []int // by member; each belongs to one worker
	rounds  atomic.Int64
	stop    atomic.Bool
	workers sync.WaitGroup
	failed  chan error
}

const (
	crowdSize    = 1000
	crowdWorkers = 50
)

func gather(t *testing.T, g *Gateway) *crowd {
	t.Helper()
	c := &crowd{
		t:       t,
		topic:   g.Topic("crowd"),
		members: make([]*client, crowdSize),
		sent:    make([]int, crowdSize),
		failed:  make(chan error, crowdSize),
	}
	var connecting sync.WaitGroup
	for w := range crowdWorkers {
		connecting.Go(func() {
			for i := w; i < crowdSize; i += crowdWorkers {
				m, err := g.tryConnect(t, g.Name(fmt.Sprintf("member-%d", i)), func(o *clientOptions) { o.SetKeepAlive(10 * time.Minute) })
				if err == nil {
					filter := fmt.Sprintf("%s/%d/#", c.topic, i)
					if code := m.trySubscribe(filter, 1)[filter]; code != 1 {
						err = errCode(code)
					}
				}
				if err != nil {
					c.failed <- fmt.Errorf("member %d: %w", i, err)
					return
				}
				c.members[i] = m
			}
		})
	}
	connecting.Wait()
	c.check()
	for w := range crowdWorkers {
		c.workers.Go(func() { c.work(w) })
	}
	t.Cleanup(func() { c.stop.Store(true); c.workers.Wait() })
	return c
}

// work publishes one message of each of a worker's members in turn.
func (c *crowd) work(w int) {
	for round := int64(0); !c.stop.Load(); round++ {
		for i := w; i < crowdSize; i += crowdWorkers {
			to := (i + 1) % crowdSize
			n := strconv.Itoa(c.sent[i])
			token := c.members[i].Publish(fmt.Sprintf("%s/%d/%s", c.topic, to, n), 1, false, n)
			if !token.WaitTimeout(patience) {
				c.failed <- fmt.Errorf("member %d: PUBLISH %s is not acknowledged", i, n)
				return
			}
			if err := token.Error(); err != nil {
				c.failed <- fmt.Errorf("member %d: PUBLISH %s: %w", i, n, err)
				return
			}
			c.sent[i]++
			if w == 0 && i == 0 {
				c.rounds.Add(1)
			}
		}
	}
}

// check fails the test if an allowed action of a member failed.
func (c *crowd) check() {
	c.t.Helper()
	select {
	case err := <-c.failed:
		c.t.Fatal(err)
	default:
	}
}

// goOn waits until the members have published more.
func (c *crowd) goOn() {
	c.t.Helper()
	for range 2 { // the second round began after the call
		seen := c.rounds.Load()
		eventually(c.t, patience, func() error {
			c.check()
			if c.rounds.Load() == seen {
				return fmt.Errorf("the members publish no more")
			}
			return nil
		})
	}
}

// finish stops publishing, and requires that every member is connected and has everything, in order.
func (c *crowd) finish() (messages int) {
	c.t.Helper()
	c.stop.Store(true)
	c.workers.Wait()
	c.check()
	for i, m := range c.members {
		n := c.sent[(i+crowdSize-1)%crowdSize]
		m.await(n)
		require.Equal(c.t, numbers(0, n), m.payloads(), "member %d", i)
		select {
		case err := <-m.lost:
			c.t.Fatalf("member %d lost its connection: %v", i, err)
		default:
		}
		require.True(c.t, m.IsConnected(), "member %d", i)
		messages += n
	}
	return messages
}

func TestTheAuthPluginIsSwappedUnderAThousandClientsAndNobodyNotices(t *testing.T) {
	onOneNode(t, oneProcess)
	dir := pluginDir(t, "meta-local", "auth-jwt")
	buildPlugin(t, "auth-hmac", "v1", filepath.Join(dir, "auth-hmac"))
	g := start(t, localProfile, settings{"plugins": settings{"dir": dir}})
	c := gather(t, g)
	c.goOn()

	// New clients connect all the while.
	var late sync.WaitGroup
	admitted, stop := atomic.Int64{}, make(chan struct{})
	late.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			m, err := g.tryConnect(t, g.Name("late-"+strconv.Itoa(n)))
			if err != nil {
				c.failed <- fmt.Errorf("late client %d: %w", n, err)
				return
			}
			m.Disconnect(0)
			admitted.Add(1)
		}
	})
	buildPlugin(t, "auth-hmac", "v2", filepath.Join(dir, "auth-hmac"))
	require.Regexp(t, `^auth: auth-hmac swapped, version v2, sha256:[0-9a-f]{64}\nmeta: meta-local unchanged\n$`, g.reload().OK())
	c.goOn()
	before := admitted.Load()
	eventually(t, patience, func() error {
		c.check()
		if admitted.Load() == before {
			return fmt.Errorf("no new client was admitted after the swap")
		}
		return nil
	})
	close(stop)
	late.Wait()
	c.check()

	g.edit(func(s settings) { s["auth"] = jwtAuth() })
	require.Regexp(t, `^auth: auth-jwt in place of auth-hmac, version \S+, sha256:[0-9a-f]{64}\n`, g.reload().OK())
	c.goOn()
	_, err := g.tryConnect(t, g.Name("hmac"))
	require.Error(t, err, "the passwords of before are no good any more")
	g.connect(t, g.Name("jwt"), func(o *clientOptions) { o.SetPassword(token(t, "somebody")) })
	require.Contains(t, g.Plugins(), "auth-jwt")
	require.NotContains(t, g.Plugins(), "auth-hmac")

	t.Logf("%d messages", c.finish())
	for _, name := range []string{"lmqgate_auth_denied_total", "lmqgate_auth_undecided_total", "lmqgate_auth_decisions_stale_total", "lmqgate_plugin_restarts_total"} {
		require.Zero(t, g.metric(name), name)
	}
	require.Zero(t, g.metric("lmqgate_auth_refused_total", `reason="unavailable"`))
	require.Equal(t, 2.0, g.metric("lmqgate_plugin_swaps_total", `result="done"`))
}

func TestAReloadThatFailsSaysWhyAndChangesNothing(t *testing.T) {
	t.Parallel()
	dir := pluginDir(t, "auth-hmac", "meta-local")
	write := func(name, text string) { install(t, filepath.Join(dir, name), []byte(text)) }
	write("hangs", "#!/bin/sh\nexec sleep 60\n")
	write("crashes", "#!/bin/sh\necho my library is missing >&2\nexit 3\n")
	g := start(t, localProfile, settings{"plugins": settings{"dir": dir, "start_timeout": "15s"}})
	topic := g.Topic("kept") + "/x"
	pub, sub := g.connect(t, g.Name("publisher")), g.connect(t, g.Name("subscriber"))
	sub.subscribe(topic, 1)
	before := g.Plugins()
	require.Len(t, before, 2)

	auth := func(s settings) func(settings) { return func(all settings) { all["auth"] = s } }
	demo := settings{"users": []settings{{"username": user, "secret_key": secret}}}
	for name, c := range map[string]struct {
		change func(settings)
		says   string
	}{
		"hangs":        {auth(settings{"plugin": "hangs", "config": settings{}}), "hangs did not say within 15s where it listens; is it a plugin?"},
		"crashes":      {auth(settings{"plugin": "crashes", "config": settings{}}), "my library is missing"},
		"missing":      {auth(settings{"plugin": "auth-gone", "config": settings{}}), "there is no executable"},
		"refuses":      {auth(settings{"plugin": "auth-hmac", "config": settings{"users": []settings{{"username": user}}}}), "auth.config.users[0].secret_key: is required"},
		"another kind": {auth(settings{"plugin": "meta-local", "config": settings{}}), "it is a meta plugin, but it is configured as an auth plugin"},
		"none":         {auth(settings{"plugin": "none"}), "a reload cannot turn anonymous access on or off; restart the gateway"},
		"no such key":  {auth(settings{"plugin": "auth-hmac", "config": demo, "plugn": "x"}), "auth.plugn"},
		"wrong content": {func(all settings) {
			all["meta"] = settings{"plugin": "meta-local", "config": settings{"path": "other.db"}}
		}, "the two do not keep the same"},
		"wrong checksum": {func(all settings) {
			all["plugins"] = settings{"dir": dir, "start_timeout": "15s", "checksums": settings{"auth-hmac": "sha256:" + strings.Repeat("0", 64)}}
		}, "checksum"},
	} {
		t.Run(name, func(t *testing.T) {
			var old []byte
			old, err := os.ReadFile(g.config())
			require.NoError(t, err)
			defer func() { require.NoError(t, os.WriteFile(g.config(), old, 0o600)) }()
			g.edit(c.change)
			r := g.reload()
			require.Equal(t, 1, r.code, r.stdout)
			require.True(t, strings.HasPrefix(r.stderr, "lmqgate: "), r.stderr)
			require.Equal(t, 1, strings.Count(r.stderr, "\n"), r.stderr)
			require.Contains(t, r.stderr, c.says)
			require.NotContains(t, r.stderr, secret)
			for name, p := range before {
				require.Equal(t, p.PID, g.Plugins()[name].PID, name)
			}
			pub.publish(topic, 1, name)
			g.connect(t, g.Name("new")).Disconnect(0)
		})
	}
	sub.await(9)
	require.Equal(t, "auth: auth-hmac unchanged\nmeta: meta-local unchanged\n", g.reload().OK())
	require.Zero(t, g.metric("lmqgate_plugin_swaps_total", `result="done"`))
	r := g.reload("nonsense")
	require.Equal(t, 1, r.code)
	require.Contains(t, r.stderr, `has a plugin "nonsense"`)
}

func TestAReloadAppliesLimitsAndLogLevelAndNamesWhatNeedsARestart(t *testing.T) {
	t.Parallel()
	g := start(t, localProfile)
	c := g.connect(t, g.Name("inside"))
	g.edit(func(s settings) {
		s["mqtt"] = settings{"max_connections": 1, "receive_maximum": 7}
		s["log"] = settings{"level": "debug"}
		s["tracing"] = settings{"endpoint": "http://127.0.0.1:1", "ratio": 0.5}
		s["limits"] = settings{"client": settings{"message_rate": 100}, "node": settings{"memory": "128MiB"}}
	})
	const unchanged = "auth: auth-hmac unchanged\nmeta: meta-local unchanged\n"
	require.Equal(t, unchanged+"applied: mqtt.max_connections, limits.client.message_rate, limits.node.memory, tracing.ratio, log.level\n"+
		"not applied, restart the gateway for: mqtt.receive_maximum, tracing.endpoint\n", g.reload().OK())
	_, err := g.tryConnect(t, g.Name("outside"))
	require.Error(t, err, "mqtt.max_connections is in force")
	require.True(t, c.IsConnected())
	require.Equal(t, "debug\n", g.operate("log-level").OK())

	g.edit(func(s settings) { delete(s, "mqtt"); delete(s, "tracing"); s["log"] = settings{"level": "info"} })
	require.NoError(t, g.cmd.Process.Signal(syscall.SIGHUP))
	eventually(t, patience, func() error {
		if !strings.Contains(g.Log(), `changes of the configuration are in force" keys="mqtt.max_connections tracing.ratio log.level"`) {
			return fmt.Errorf("SIGHUP has not applied what changed")
		}
		return nil
	})
	g.connect(t, g.Name("outside"))
	require.Equal(t, unchanged, g.reload().OK(), "all of it is in force")
	require.Equal(t, "info\n", g.operate("log-level").OK())
}

func TestTheMetaPluginIsSwappedWhileClientsGoOnAndItsFileIsHandedOver(t *testing.T) {
	onOneNode(t, oneProcess)
	t.Parallel()
	everywhere(t, swapTheMetaPlugin)
}

func swapTheMetaPlugin(t *testing.T, p profile) {
	g := start(t, p)
	var name string
	for _, plugin := range g.Plugins() {
		if plugin.Kind == "meta" {
			name = plugin.Name
		}
	}
	topic := g.Topic("meta")
	sub := g.connect(t, g.Name("sleeper"), persistent)
	sub.subscribe(topic+"/#", 1)
	pub := g.connect(t, g.Name("publisher"))
	sent := 0
	publish := func(n int) {
		for range n {
			pub.publishRetain(topic+"/x", 1, true, strconv.Itoa(sent))
			sent++
		}
	}
	publish(5)
	var others sync.WaitGroup
	stop := make(chan struct{})
	others.Go(func() { // requests that need the plugin continue meanwhile
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
				m := g.connect(t, g.Name("other-"+strconv.Itoa(n)), persistent)
				m.subscribe(fmt.Sprintf("%s/other/%d/#", topic, n), 1)
				m.Disconnect(0)
			}
		}
	})
	for range 3 {
		before := g.Plugins()[name].PID
		require.Contains(t, g.reload(name).OK(), "meta: "+name+" swapped")
		require.NotEqual(t, before, g.Plugins()[name].PID)
		publish(5)
	}
	close(stop)
	others.Wait()
	sub.await(sent)
	require.Equal(t, numbers(0, sent), sub.payloads())
	sub.leave()
	publish(1)
	sub = g.connect(t, g.Name("sleeper"), persistent)
	require.True(t, sub.present)
	sub.await(1)
	fresh := g.connect(t, g.Name("fresh"))
	fresh.subscribe(topic+"/x", 1)
	require.Equal(t, strconv.Itoa(sent-1), string(fresh.await(1)[0].Payload()))
}

func TestSIGHUPSwapsPluginsAndDoesNotEndTheGateway(t *testing.T) {
	t.Parallel()
	g := start(t, localProfile)
	c := g.connect(t, g.Name("client"))
	c.subscribe(g.Topic("hup")+"/#", 1)
	before := g.Plugins()["auth-hmac"].PID
	g.edit(func(s settings) {
		s["auth"] = settings{
			"plugin": "auth-hmac",
			"config": settings{"users": []settings{{"username": user, "secret_key": "another-secret"}}},
		}
	})
	require.NoError(t, g.cmd.Process.Signal(syscall.SIGHUP))
	eventually(t, patience, func() error {
		if pid := g.Plugins()["auth-hmac"].PID; pid == before {
			return fmt.Errorf("process %d serves on", pid)
		}
		return nil
	})
	_, err := g.tryConnect(t, g.Name("late"))
	require.Error(t, err)
	id := g.Name("late")
	g.connect(t, id, func(o *clientOptions) { o.SetPassword(sign("another-secret", id)) })
	require.True(t, c.IsConnected())

	g.edit(func(s settings) { s["auth"] = settings{"plugin": "auth-gone"} })
	require.NoError(t, g.cmd.Process.Signal(syscall.SIGHUP))
	eventually(t, patience, func() error {
		if !strings.Contains(g.Log(), "reload of the plugins failed; what served goes on") {
			return fmt.Errorf("the failure is not logged")
		}
		return nil
	})
	require.True(t, c.IsConnected())
}
