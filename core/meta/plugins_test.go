package meta_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/pluginhost"
	"github.com/lmqgate/lmqgate/core/store"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
	"github.com/lmqgate/lmqgate/remoting"
	rocketmq "github.com/lmqgate/lmqgate/test/rocketmq/cluster"
)

// programs are the plugins that were built before, by name.
var programs = struct {
	sync.Mutex
	text map[string][]byte
}{text: make(map[string][]byte)}

// install puts the executable of a plugin into dir.
func install(t *testing.T, dir, name string) {
	t.Helper()
	programs.Lock()
	defer programs.Unlock()
	path := filepath.Join(dir, name)
	if text := programs.text[name]; text != nil {
		// A process that is started meanwhile would have the file open for writing, so that it could not be executed.
		syscall.ForkLock.RLock()
		err := os.WriteFile(path, text, 0o755)
		syscall.ForkLock.RUnlock()
		require.NoError(t, err)
		require.NoError(t, os.Chmod(path, 0o755)) // whatever the umask is
		return
	}
	out, err := exec.Command("go", "build", "-ldflags=-s -w", "-o", path, "github.com/lmqgate/lmqgate/plugins/"+name).CombinedOutput()
	require.NoError(t, err, string(out))
	programs.text[name], err = os.ReadFile(path)
	require.NoError(t, err)
}

// run starts the executable of a plugin and a Meta on it.
func run(t *testing.T, name string, config map[string]any) (*meta.Meta, *pluginhost.Plugin, func()) {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o755))
	install(t, dir, name)
	host, err := pluginhost.New(pluginhost.Options{Dir: dir, NodeID: "n", DataDir: t.TempDir(), ConfigDir: dir})
	require.NoError(t, err)
	p, err := host.Start(t.Context(), name, pluginv1.Kind_KIND_META, config)
	require.NoError(t, err)
	m, err := meta.New(meta.Options{Client: p.Meta(), Traits: func() *pluginv1.MetaTraits { return p.Describe().GetMeta() }, NodeID: "n",
		PollInterval: 100 * time.Millisecond, UpstreamPollInterval: 100 * time.Millisecond, HeartbeatInterval: 200 * time.Millisecond})
	require.NoError(t, err)
	require.NoError(t, m.Start(t.Context()))
	stopped := false
	stop := func() {
		if !stopped {
			stopped = true
			require.NoError(t, m.Close())
			require.NoError(t, host.Close())
		}
	}
	t.Cleanup(stop)
	wait(t, func() bool { return m.Ready() == nil })
	return m, p, stop
}

func wait(t *testing.T, cond func() bool) {
	t.Helper()
	require.Eventually(t, cond, time.Minute, 10*time.Millisecond)
}

// use writes one record of each kind.
func use(t *testing.T, m *meta.Meta) {
	t.Helper()
	ctx := context.Background()
	require.NoError(t, m.AddTopic(ctx, "first"))
	require.NoError(t, m.AddTopic(ctx, "odd,name"))
	require.NoError(t, m.RegisterFilters(ctx, "first/+", "first/ü,\"/#", "#"))
	require.NoError(t, m.SaveSession(ctx, &meta.Session{ClientID: "c/ü \"", Epoch: 4, Expiry: time.Hour,
		Subscriptions: []meta.Subscription{{Filter: "first/+", QoS: 1}}}))
	require.NoError(t, m.SetRetained(ctx, &meta.Retained{Message: &store.Message{Topic: "first/x", Payload: []byte("\x00v")},
		Position: store.Position{Time: 5}}))
	require.NoError(t, m.SaveWill(ctx, &meta.Will{ClientID: "c", Node: "n", Message: &store.Message{Topic: "first/will"}}))
}

// check requires that the records of use are found.
func check(t *testing.T, m *meta.Meta) {
	t.Helper()
	ctx := context.Background()
	require.True(t, m.HasTopic("first") && m.HasTopic("odd,name"))
	require.True(t, m.HasFilter("first/ü,\"/#"))
	n := 0
	m.MatchFilters("first/x", func(string) { n++ })
	require.Equal(t, 2, n)
	s, err := m.LoadSession(ctx, "c/ü \"")
	require.NoError(t, err)
	require.EqualValues(t, 4, s.Epoch)
	require.NoError(t, m.SaveSession(ctx, s))
	n = 0
	m.MatchRetained("first/#", func(r *meta.Retained) bool { n += len(r.Message.Payload); return true })
	require.Equal(t, 2, n)
	w, err := m.LoadWill(ctx, "c")
	require.NoError(t, err)
	require.Equal(t, "first/will", w.Message.Topic)
}

func TestMetaLocalKeepsEverythingOverKillsAndRestarts(t *testing.T) {
	config := map[string]any{"path": filepath.Join(t.TempDir(), "meta.db")}
	m, p, stop := run(t, "meta-local", config)
	use(t, m)
	check(t, m)
	pid := p.Info().PID
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	check2 := func() bool {
		s, err := m.LoadSession(context.Background(), "c/ü \"")
		return err == nil && s != nil
	}
	wait(t, check2)
	check(t, m)
	stop()
	m, _, _ = run(t, "meta-local", config)
	check(t, m)
}

func TestMetaNamesrvKeepsEverythingWhereUpstreamReadsIt(t *testing.T) {
	c := rocketmq.ForTest(t, rocketmq.Options{Namesrvs: 2, Brokers: rocketmq.NoBroker})
	ctx := t.Context()
	config := map[string]any{"namesrv": c.Namesrv()}
	m, _, stop := run(t, "meta-namesrv", config)
	use(t, m)
	check(t, m)
	client := remoting.New(remoting.Config{})
	defer func() { require.NoError(t, client.Close()) }()
	wait(t, func() bool { // the list for upstream's gateways is written in the background
		v, _, err := client.GetKVConfig(ctx, c.Namesrv()[1], "LMQ", "first")
		return err == nil && v == "first/+"
	})
	topics, _, err := client.GetKVConfig(ctx, c.Namesrv()[1], "LMQ", "ALL_FIRST_TOPICS")
	require.NoError(t, err)
	require.Equal(t, "first", topics)
	_, err = c.Mqadmin(ctx, "updateKvConfig", "-s", "LMQ", "-k", "ALL_FIRST_TOPICS", "-v", "first,by-mqadmin", "-n", strings.Join(c.Namesrv(), ";"))
	require.NoError(t, err)
	wait(t, func() bool { return m.HasTopic("by-mqadmin") })
	stop()
	c.KillNamesrv(0)
	m, _, _ = run(t, "meta-namesrv", config)
	check(t, m)
}
