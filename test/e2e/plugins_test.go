package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// alive returns the process ids that still run.
func alive(t *testing.T, pids []int) []int {
	t.Helper()
	var out []int
	for _, p := range processes(t) {
		for _, pid := range pids {
			if p.pid == pid && p.state != "Z" {
				out = append(out, pid)
			}
		}
	}
	return out
}

func TestPluginsAreProcessesOfTheirOwn(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, p profile) {
		g := start(t, p)
		plugins := g.Plugins()
		require.Len(t, plugins, 2)
		require.Contains(t, plugins, "auth-hmac")
		for name, plugin := range plugins {
			require.NotEqual(t, g.PID(), plugin.PID)
			found := false
			for _, proc := range processes(t) {
				if proc.pid == plugin.PID {
					found = true
					require.Equal(t, g.PID(), proc.parent, name)
					require.Equal(t, filepath.Join(bin, "plugins", name), proc.exe)
				}
			}
			require.True(t, found, "process %d of plugin %s", plugin.PID, name)
		}
	})
}

func TestAKilledPluginComesBackWhileClientsGoOn(t *testing.T) {
	t.Parallel()
	withEachPlugin(t, func(t *testing.T, p profile) {
		g := start(t, p)
		topic := g.Topic("killing") + "/x"
		sub := g.connect(t, g.Name("subscriber"))
		sub.subscribe(topic, 1)
		pub := g.connect(t, g.Name("publisher"))
		sent := 0
		publish := func(n int) {
			for range n {
				pub.publish(topic, 1, strconv.Itoa(sent))
				sent++
			}
		}
		for name, plugin := range g.Plugins() {
			publish(20)
			require.NoError(t, syscall.Kill(plugin.PID, syscall.SIGKILL))
			publish(20) // at once, whatever the plugin does
			eventually(t, patience, func() error {
				publish(1)
				now := g.Plugins()[name]
				if now.PID == 0 || now.PID == plugin.PID || now.Restarts == 0 {
					return fmt.Errorf("plugin %s was not started again: %+v", name, now)
				}
				code, body := g.Get("/readyz")
				if code != 200 {
					return fmt.Errorf("not ready after the restart of plugin %s: %s", name, body)
				}
				return nil
			})
			publish(20)
		}
		require.True(t, pub.IsConnected())
		require.True(t, sub.IsConnected())
		sub.await(sent)
		require.Equal(t, numbers(0, sent), sub.payloads())
		// Both plugins work again.
		eventually(t, patience, func() error {
			late, err := g.tryConnect(t, g.Name("late"), persistent)
			if err != nil {
				return err
			}
			defer late.Disconnect(0)
			if code := late.trySubscribe(topic+"/late/#", 1)[topic+"/late/#"]; code != 1 {
				return errCode(code)
			}
			return nil
		})
		_, err := g.tryConnect(t, g.Name("late"), func(o *clientOptions) { o.SetPassword("wrong") })
		require.Error(t, err)
	})
}

func TestAKilledGatewayLeavesNoPluginBehind(t *testing.T) {
	t.Parallel()
	withEachPlugin(t, func(t *testing.T, p profile) {
		g := start(t, p)
		var pids []int
		for _, plugin := range g.Plugins() {
			pids = append(pids, plugin.PID)
		}
		require.Len(t, alive(t, pids), 2)
		g.Kill()
		eventually(t, patience, func() error {
			if left := alive(t, pids); len(left) > 0 {
				return fmt.Errorf("plugins run without their gateway: %v", left)
			}
			return nil
		})
	})
}

func TestSIGTERMAndCtrlCEndTheGatewayCleanly(t *testing.T) {
	t.Parallel()
	for name, sig := range map[string]syscall.Signal{"SIGTERM": syscall.SIGTERM, "SIGINT": syscall.SIGINT} {
		t.Run(name, func(t *testing.T) {
			g := start(t, localProfile)
			c := g.connect(t, g.Name("client"), persistent) // connected clients must not delay it
			c.subscribe(g.Topic("stop")+"/#", 1)
			var pids []int
			for _, plugin := range g.Plugins() {
				pids = append(pids, plugin.PID)
			}
			require.Len(t, pids, 2)
			require.NoError(t, g.cmd.Process.Signal(sig))
			select {
			case <-g.done:
			case <-time.After(patience):
				t.Fatalf("the gateway runs on after %s", name)
			}
			require.NoError(t, g.err, "exit status 0")
			require.Empty(t, alive(t, pids))
		})
	}
}

func TestAPluginThatCannotRunEndsTheStartWithOneClearLine(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"auth-hmac", "meta-local"} {
		text, err := os.ReadFile(filepath.Join(bin, "plugins", name))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), text, 0o755))
	}
	write := func(name, text string, mode os.FileMode) {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		require.NoError(t, os.Chmod(path, mode))
	}
	write("not-executable", "#!/bin/sh\n", 0o644)
	write("others-may-write", "#!/bin/sh\n", 0o777)
	write("no-plugin", "#!/bin/sh\necho hello\n", 0o755)
	write("hangs", "#!/bin/sh\nexec sleep 60\n", 0o755)
	require.NoError(t, os.Symlink("/bin/true", filepath.Join(dir, "elsewhere")))
	demo := settings{"users": []settings{{"username": user, "secret_key": secret}}}
	here, impatient := settings{"dir": dir}, settings{"dir": dir, "start_timeout": "10s"} // the other plugin starts in that time, too
	write("dies-talking", "#!/bin/sh\ni=0\nwhile [ $i -lt 30 ]; do i=$((i+1)); echo \"frame $i\" >&2; done\nexit 3\n", 0o755)
	cases := map[string]struct {
		settings settings
		says     []string
	}{
		"missing": {settings{"auth": settings{"plugin": "auth-gone", "config": demo}}, []string{"auth-gone"}},
		"not executable": {
			settings{"plugins": here, "auth": settings{"plugin": "not-executable"}},
			[]string{"not-executable", "executable"},
		},
		"others may write": {
			settings{"plugins": here, "auth": settings{"plugin": "others-may-write"}},
			[]string{"others-may-write", "writ"},
		},
		"no plugin":             {settings{"plugins": here, "auth": settings{"plugin": "no-plugin"}}, []string{"no-plugin"}},
		"hangs":                 {settings{"plugins": impatient, "auth": settings{"plugin": "hangs"}}, []string{"hangs did not say within 10s", "plugins.start_timeout"}},
		"dies":                  {settings{"plugins": here, "auth": settings{"plugin": "dies-talking"}}, []string{"exit status 3", "its last 20 lines were: frame 11 | frame 12 | ", "| frame 30"}},
		"outside the directory": {settings{"plugins": here, "auth": settings{"plugin": "elsewhere"}}, []string{"elsewhere"}},
		"wrong kind of auth":    {settings{"auth": settings{"plugin": "meta-local"}}, []string{"meta-local", "auth"}},
		"wrong kind of meta":    {settings{"meta": settings{"plugin": "auth-hmac", "config": demo}}, []string{"auth-hmac", "meta"}},
		"wrong checksum": {
			settings{"plugins": settings{"dir": dir, "checksums": settings{"auth-hmac": "sha256:" + strings.Repeat("0", 64)}},
				"auth": settings{"plugin": "auth-hmac", "config": demo}},
			[]string{"auth-hmac", "checksum"},
		},
		"unknown key": {
			settings{"auth": settings{"plugin": "auth-hmac", "config": settings{"usres": []settings{}}}},
			[]string{"auth-hmac", "usres"},
		},
		"wrong value": {settings{"auth": settings{"plugin": "auth-hmac", "config": settings{"users": []settings{
			{
				"username":   user,
				"secret_key": secret,
				"rules":      []settings{{"effect": "perhaps", "topic": "#"}},
			},
		}}}}, []string{"auth-hmac", "effect", "perhaps"}},
		"unknown key of meta": {
			settings{"meta": settings{"plugin": "meta-local", "config": settings{"pth": "x"}}},
			[]string{"meta-local", "pth"},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			g := configure(t, localProfile, c.settings)
			ready := g.launch()
			select {
			case <-g.done:
			case <-ready:
				t.Fatal("the gateway is ready")
			case <-time.After(patience):
				t.Fatalf("the gateway has not ended\n%s", g.Log())
			}
			var exit interface{ ExitCode() int }
			require.True(t, errors.As(g.err, &exit), "it ended with %v", g.err)
			require.Equal(t, 1, exit.ExitCode())
			lines := strings.Split(strings.TrimSpace(g.Log()), "\n")
			last := lines[len(lines)-1]
			require.True(t, strings.HasPrefix(last, "lmqgate: "), last)
			for _, word := range c.says {
				require.Contains(t, last, word)
			}
			errorLines := 0
			for _, l := range lines {
				if strings.HasPrefix(l, "lmqgate: ") || strings.Contains(l, "level=ERROR") {
					errorLines++
				}
			}
			require.Equal(t, 1, errorLines, "one line says it:\n%s", g.Log())
			require.NotContains(t, g.Log(), secret)
		})
	}
}

// breakPlugin replaces a plugin's file by one that cannot run, kills its process, and returns a function that repairs it.
func breakPlugin(t *testing.T, g *Gateway, dir, name string) (mend func()) {
	t.Helper()
	good, err := os.ReadFile(filepath.Join(dir, name))
	require.NoError(t, err)
	install(t, filepath.Join(dir, name), []byte("#!/bin/sh\necho my library is missing >&2\nexit 3\n"))
	require.NoError(t, syscall.Kill(g.Plugins()[name].PID, syscall.SIGKILL))
	eventually(t, patience, func() error {
		if p := g.Plugins()[name]; p.State != "crash-looping" {
			return fmt.Errorf("plugin %s is %s", name, p.State)
		}
		return nil
	})
	code, body := g.Get("/readyz")
	require.Equal(t, 503, code)
	require.Contains(t, body, "plugin "+name+" is crash-looping")
	require.Contains(t, body, "my library is missing")
	require.Equal(t, 1, strings.Count(g.Log(), "plugin does not stay up"))
	return func() {
		install(t, filepath.Join(dir, name), good)
		eventually(t, patience, func() error {
			if code, body := g.Get("/readyz"); code != 200 {
				return errors.New(body)
			}
			return nil
		})
	}
}

func TestWithoutItsAuthPluginAGatewayAdmitsNobodyAndServesWhatIsDecided(t *testing.T) {
	t.Parallel()
	dir := pluginDir(t, "auth-hmac", "meta-local")
	var rules []settings // more than the plugin can state when it admits a client
	for i := range 16 {
		rules = append(rules, settings{"effect": "deny", "action": "all", "topic": fmt.Sprint("never/", i)})
	}
	rules = append(rules, settings{"effect": "allow", "action": "all", "topic": "#"})
	users := []settings{{"username": user, "secret_key": secret, "rules": rules}}
	g := start(t, localProfile, settings{"plugins": settings{"dir": dir}, "auth": settings{"config": settings{"users": users}}})
	topic := g.Topic("decided")
	pub, sub := g.connect(t, g.Name("publisher")), g.connect(t, g.Name("subscriber"))
	sub.subscribe(topic+"/#", 1)
	pub.publish(topic+"/known", 1, "1")
	mend := breakPlugin(t, g, dir, "auth-hmac")

	pub.publish(topic+"/known", 1, "2")
	_, err := g.tryConnect(t, g.Name("late"))
	require.ErrorContains(t, err, "server Unavailable", "CONNACK 0x03")
	require.Equal(t, byte(0x80), sub.trySubscribe(topic+"/other", 1)[topic+"/other"], "nobody can decide")
	undecided := pub.publishRefused(topic + "/new")
	require.Error(t, undecided, "what is not decided closes a 3.1.1 connection")
	require.Equal(t, []string{"1", "2"}, texts(sub.await(2)))
	require.True(t, sub.IsConnected())

	mend()
	pub = g.connect(t, g.Name("publisher"))
	pub.publish(topic+"/new", 1, "3")
	sub.await(3)
}

// publishRefused publishes a message that should be refused, and returns why the connection ended.
func (c *client) publishRefused(topic string) error {
	c.t.Helper()
	c.Publish(topic, 1, false, "x")
	select {
	case err := <-c.lost:
		return err
	case <-time.After(patience):
		return nil
	}
}

func TestWithoutItsMetaPluginAGatewayServesItsSnapshotAndRefusesWrites(t *testing.T) {
	t.Parallel()
	dir := pluginDir(t, "auth-hmac", "meta-local")
	g := start(t, localProfile, settings{"plugins": settings{"dir": dir}, "topics": settings{"auto_create": true}})
	topic := g.Topic("snapshot")
	sleeper := g.connect(t, g.Name("sleeper"), persistent)
	sleeper.subscribe(topic+"/#", 1)
	pub := g.connect(t, g.Name("publisher"))
	pub.publishRetain(topic+"/kept", 1, true, "1")
	sleeper.await(1)
	mend := breakPlugin(t, g, dir, "meta-local")

	pub.publish(topic+"/x", 1, "2")
	sleeper.await(2)
	fresh := g.connect(t, g.Name("fresh"))
	fresh.subscribe(topic+"/kept", 1)
	require.Equal(t, "1", string(fresh.await(1)[0].Payload()), "the retained message of the snapshot")
	require.Equal(t, byte(0x80), sleeper.trySubscribe(topic+"/+/new", 1)[topic+"/+/new"], "a persistent subscription must be recorded")
	_, err := g.tryConnect(t, g.Name("another"), persistent)
	require.ErrorContains(t, err, "server Unavailable")
	require.True(t, sleeper.IsConnected())
	require.True(t, pub.IsConnected())

	mend()
	sleeper.subscribe(topic+"/+/new", 1)
	g.connect(t, g.Name("another"), persistent)
}
