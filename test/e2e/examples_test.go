package e2e

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/test/rocketmq/cluster"
)

// withExample returns a plugins.dir with an example's plugin, built as its Makefile does, and the named shipped plugins.
func withExample(t *testing.T, name string, shipped ...string) (dir string) {
	t.Helper()
	root, err := cluster.Root()
	require.NoError(t, err)
	project := filepath.Join(root, "examples", name)
	execute(t, 8*time.Minute, program(t, "make", "make"), "-C", project, "build").OK()
	dir = t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o755))
	built, err := filepath.Glob(filepath.Join(project, "build", name+"*"))
	require.NoError(t, err)
	require.NotEmpty(t, built)
	for _, from := range built {
		execute(t, time.Minute, "cp", "-a", from, dir).OK()
	}
	for _, other := range shipped {
		execute(t, time.Minute, "cp", "-a", filepath.Join(bin, "plugins", other), dir).OK()
	}
	return dir
}

func TestThePythonExampleDecidesWhoMayDoWhat(t *testing.T) {
	t.Parallel()
	program(t, "python3", "the Debian packages python3 and python3-venv")
	root, err := cluster.Root()
	require.NoError(t, err)
	project := filepath.Join(root, "examples", "auth-python")
	plugins := withExample(t, "auth-python", "meta-local")
	database := filepath.Join(t.TempDir(), "users.db")
	g := start(t, localProfile, settings{
		"plugins": settings{"dir": plugins},
		"auth": settings{"plugin": "auth-python", "config": settings{
			"database": database, "script": filepath.Join(project, "testdata", "users.sql"), "poll_interval": "50ms"}},
	})
	as := func(user string) option {
		return func(o *clientOptions) { o.SetUsername(user).SetPassword(user + "-password") }
	}
	id := g.Name("c")
	device := g.connect(t, id, as("demo"))
	operator := g.connect(t, g.Name("o"), as("operator"))
	for _, user := range []string{"nobody", "retired"} {
		_, err := g.tryConnect(t, g.Name(user), as(user))
		require.Error(t, err, user)
	}
	_, err = g.tryConnect(t, id, func(o *clientOptions) { o.SetUsername("demo").SetPassword("guess") })
	require.Error(t, err)
	require.Contains(t, g.Log(), "wrong password")

	operator.subscribe("state/+/temperature", 1)
	device.publish("state/"+id+"/temperature", 1, "21.5")
	require.Equal(t, "21.5", string(operator.await(1)[0].Payload()))
	require.EqualValues(t, 0x80, device.trySubscribe("state/#", 1)["state/#"], "a device may not read what others say")
	require.EqualValues(t, 0x80, operator.trySubscribe("#", 1)["#"], "it would bring state/secret")

	// A user who is disabled while connected is disconnected, and cannot reconnect.
	pythons, err := filepath.Glob(filepath.Join(plugins, "auth-python.venv", "*", "bin", "python"))
	require.NoError(t, err)
	require.NotEmpty(t, pythons)
	execute(t, time.Minute, pythons[0], filepath.Join(project, "users.py"), database, "disable", "demo").OK()
	select {
	case <-device.lost:
	case <-time.After(patience):
		t.Fatal("a disabled user stays connected")
	}
	_, err = g.tryConnect(t, id, as("demo"))
	require.Error(t, err)
	require.True(t, operator.IsConnected())

	// A gateway that is killed leaves no plugin behind, whatever language it is written in.
	pid := g.Plugins()["auth-python"].PID
	require.NotEmpty(t, alive(t, []int{pid}))
	g.Kill()
	eventually(t, patience, func() error {
		if left := alive(t, []int{pid}); len(left) > 0 {
			return textError("the plugin runs without its gateway")
		}
		return nil
	})
	require.NotContains(t, g.Log(), "demo-password")
}

// textError is an error with a plain text.
type textError string

func (e textError) Error() string { return string(e) }

func TestTheSQLiteExampleKeepsRetainedMessagesAndSessions(t *testing.T) {
	t.Parallel()
	plugins := withExample(t, "meta-sqlite", "auth-hmac")
	g := start(t, localProfile, settings{
		"plugins": settings{"dir": plugins},
		"meta":    settings{"plugin": "meta-sqlite", "config": settings{"path": "meta.sqlite"}},
	})
	topic := g.Topic("sqlite")
	sleeper := g.connect(t, g.Name("sleeper"), persistent)
	sleeper.subscribe(topic+"/+/cmd", 1)
	sleeper.leave()
	publisher := g.connect(t, g.Name("publisher"))
	publisher.publishRetain(topic+"/unit", 1, true, "Celsius")
	publisher.publish(topic+"/a/cmd", 1, "while it slept")

	for name, again := range map[string]func(){
		"restarted": g.Restart,
		"killed":    func() { g.Kill(); g.Start() },
	} {
		again()
		require.FileExists(t, filepath.Join(g.dir, "meta.sqlite"))
		reader := g.connect(t, g.Name(name))
		reader.subscribe(topic+"/unit", 1)
		m := reader.await(1)[0]
		require.True(t, m.Retained(), name)
		require.Equal(t, "Celsius", string(m.Payload()), name)
	}
	sleeper = g.connect(t, g.Name("sleeper"), persistent)
	require.True(t, sleeper.present, "the session is there")
	require.Equal(t, "while it slept", string(sleeper.await(1)[0].Payload()))

	// Clients do not notice that the plugin dies.
	before := g.Plugins()["meta-sqlite"]
	require.NoError(t, syscall.Kill(before.PID, syscall.SIGKILL))
	eventually(t, patience, func() error {
		if now := g.Plugins()["meta-sqlite"]; now.PID == 0 || now.PID == before.PID {
			return textError("the plugin was not started again")
		}
		return nil
	})
	publisher = g.connect(t, g.Name("publisher"))
	publisher.publishRetain(topic+"/unit", 1, true, "Kelvin")
	require.True(t, sleeper.IsConnected())
}
