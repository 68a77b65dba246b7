package pluginhost

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// swap swaps p for the plugin with the given name and configuration.
func swap(t *testing.T, p *Plugin, name string, config map[string]any) error {
	t.Helper()
	return p.Swap(t.Context(), p.host.Spec(name, p.kind, config), Switching{})
}

// said returns the text that the answering process was configured with.
func said(t *testing.T, p *Plugin) string {
	t.Helper()
	resp, err := ask(p, "says")
	require.NoError(t, err)
	return resp.GetDetail()
}

// load calls p continuously until stop. stop fails the test if a call failed, and returns the number of calls.
func load(t *testing.T, p *Plugin, user string) (stop func() int64) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	var callers sync.WaitGroup
	var calls atomic.Int64
	failures := make(chan error, 8)
	for range cap(failures) {
		callers.Go(func() {
			for ctx.Err() == nil {
				if _, err := ask(p, user); err != nil {
					failures <- err
					return
				}
				calls.Add(1)
				time.Sleep(5 * time.Millisecond) // continuous load that leaves processor time for the plugins that start
			}
		})
	}
	eventually(t, "calls are made", func() bool { return calls.Load() > 16 || len(failures) > 0 })
	return func() int64 {
		t.Helper()
		seen := calls.Load()
		eventually(t, "calls go on", func() bool { return calls.Load() > seen+16 || len(failures) > 0 })
		cancel()
		callers.Wait()
		close(failures)
		for err := range failures {
			require.NoError(t, err)
		}
		return calls.Load()
	}
}

func TestASwapBringsANewConfigurationBinaryAndPluginAndFailsNoCall(t *testing.T) {
	t.Parallel()
	h, _ := newHost(t, "plug-auth", "plug-other")
	p := startAuth(t, h, "plug-auth", map[string]any{"says": "one"})
	p.OnRestart(func() { t.Error("a swap is no restart") })
	stop, slow := load(t, p, "u"), load(t, p, "slow")
	first := p.Info()
	require.Equal(t, "one", said(t, p))

	require.NoError(t, swap(t, p, "plug-auth", map[string]any{"says": "two"}))
	require.Equal(t, "two", said(t, p))
	require.NotEqual(t, first.PID, p.Info().PID)
	require.Error(t, syscall.Kill(first.PID, 0), "the process before has ended")

	installVersion(t, h.opts.Dir, "plug-auth", "2.0.0")
	require.NoError(t, swap(t, p, "plug-auth", map[string]any{"says": "three"}))
	require.Equal(t, "2.0.0", p.Info().Version)
	require.NotEqual(t, first.Checksum, p.Info().Checksum)
	require.Equal(t, "three", said(t, p))

	require.NoError(t, swap(t, p, "plug-other", map[string]any{"says": "four"}))
	require.Equal(t, "plug-other", p.Name())
	require.Equal(t, "plug-other", p.Describe().GetName())
	require.Equal(t, "four", said(t, p))
	require.Zero(t, p.Info().Restarts)
	require.Greater(t, stop(), int64(100))
	slow()

	// The new plugin is supervised under its new spec.
	require.NoError(t, syscall.Kill(p.Info().PID, syscall.SIGKILL))
	p.onRestart = nil
	eventually(t, "it is started again", func() bool { return p.Info().Restarts == 1 && p.Healthy() == nil })
	require.Equal(t, "four", said(t, p))
}

func TestASwapThatFailsLeavesThePluginAsItWasAndSaysWhy(t *testing.T) {
	t.Parallel()
	h, _ := newHost(t, "plug-auth", "plug-liar", "plug-meta", "plug-exits", "plug-silent")
	p := startAuth(t, h, "plug-auth", map[string]any{"says": "old"})
	before := p.Info()
	stop := load(t, p, "u")
	for _, c := range []struct {
		name, mode, want string
	}{
		{"plug-missing", "", "no executable"},
		{"plug-exits", "", "cannot find my library"},
		{"plug-silent", "", "did not say within"},
		{"plug-liar", "", "somebody-else"},
		{"plug-meta", "", "it is a meta plugin, but it is configured as an auth plugin"},
		{"plug-auth", "refuse", "auth.config.secret: is too short"},
		{"plug-auth", "hang-configure", "did not answer Configure in time"},
		{"plug-auth", "die-configure", "my database schema is too old"},
		{"plug-auth", "no-activate", "data.db is held by process 17"},
		{"plug-auth", "unwell", "it is not healthy: my database is away"},
		{"plug-auth", "cannot-judge", "it cannot judge clients now: no users yet"},
		{"plug-auth", "die-authenticate", "exit status 7"},
		{"plug-auth", "hang-authenticate", "did not answer Authenticate in time"},
		{"plug-auth", "too-few-decisions", "Authorize answered 2 decisions to 3 actions"},
	} {
		what := h.Spec(c.name, p.kind, map[string]any{"mode": c.mode})
		if c.name == "plug-silent" {
			what.StartTimeout = time.Second
		}
		err := p.Swap(t.Context(), what, Switching{})
		require.ErrorContains(t, err, c.want)
		require.ErrorContains(t, err, fmt.Sprintf("plugin %q: ", c.name))
		require.NotContains(t, err.Error(), "\n")
		require.Equal(t, before.PID, p.Info().PID, c.want)
		require.Equal(t, "old", said(t, p))
	}
	require.Empty(t, h.candidates)
	stop()
	require.Zero(t, p.Info().Restarts)
	require.Len(t, childrenOf(t, os.Getpid(), h.opts.Dir), 1, "no process is left behind")
}

// childrenOf lists the processes that run an executable of a directory.
func childrenOf(t *testing.T, parent int, dir string) []int {
	t.Helper()
	real, err := filepath.EvalSymlinks(dir)
	require.NoError(t, err)
	links, err := filepath.Glob("/proc/[0-9]*/exe")
	require.NoError(t, err)
	var out []int
	for _, link := range links {
		exe, err := os.Readlink(link)
		if err != nil || !strings.HasPrefix(exe, real+"/") {
			continue
		}
		var pid int
		_, err = fmt.Sscanf(link, "/proc/%d/exe", &pid)
		require.NoError(t, err)
		if pid != parent {
			out = append(out, pid)
		}
	}
	return out
}

func TestExclusivePluginsAreExchangedWhileCallsWait(t *testing.T) {
	t.Parallel()
	h, _ := newHost(t, "plug-lock")
	lock := filepath.Join(t.TempDir(), "lock")
	p := startAuth(t, h, "plug-lock", map[string]any{"lock": lock, "says": "one"})
	stop, slow := load(t, p, "u"), load(t, p, "slow")
	before := p.Info().PID
	require.NoError(t, swap(t, p, "plug-lock", map[string]any{"lock": lock, "says": "two"}))
	require.Equal(t, "two", said(t, p))
	require.NotEqual(t, before, p.Info().PID)

	before = p.Info().PID
	for mode, want := range map[string]string{
		"no-activate": "data.db is held", "unwell": "it is not healthy", "too-few-decisions": "2 decisions", "die-authenticate": "exit status 7",
	} {
		require.ErrorContains(t, swap(t, p, "plug-lock", map[string]any{"lock": lock, "mode": mode}), want)
		require.Equal(t, before, p.Info().PID, mode)
		require.Equal(t, "two", said(t, p), mode)
		require.NoError(t, p.Healthy(), mode)
	}
	stop()
	slow()
	require.Len(t, childrenOf(t, os.Getpid(), h.opts.Dir), 1)
}

func TestAnExclusivePluginThatHangsIsReplacedAllTheSame(t *testing.T) {
	t.Parallel()
	h, _ := newHost(t, "plug-lock")
	h.opts.timing.healthEvery = time.Hour // the supervisor must not notice first
	h.opts.timing.deactivate, h.opts.timing.exit = time.Second, time.Second
	lock := filepath.Join(t.TempDir(), "lock")
	p := startAuth(t, h, "plug-lock", map[string]any{"lock": lock, "says": "one"})
	freeze(t, p.Info().PID)
	require.NoError(t, swap(t, p, "plug-lock", map[string]any{"lock": lock, "says": "two"}))
	require.Equal(t, "two", said(t, p))
}

func TestAPluginThatHangsIsSwappedForOneThatDoesNotAndItsCallsDoNotSuspendTheNew(t *testing.T) {
	t.Parallel()
	h, _ := newHost(t, "plug-auth")
	h.opts.timing.healthEvery = time.Hour
	h.opts.timing.deactivate, h.opts.timing.exit = time.Second, time.Second
	p := startAuth(t, h, "plug-auth", nil)
	p.route.deadline = 10 * time.Second // all calls must be in progress at once, even on a busy machine
	freeze(t, p.Info().PID)
	done := make(chan error, 2*breakerFailures)
	for range cap(done) {
		go func() { _, err := ask(p, "u"); done <- err }()
	}
	eventually(t, "calls hang", func() bool { return len(p.route.slots[logins]) == cap(done) })
	require.NoError(t, swap(t, p, "plug-auth", map[string]any{"says": "new"}))
	for range cap(done) {
		<-done
	}
	require.Equal(t, "new", said(t, p))
}

func TestASwapReplacesAPluginThatCannotBeStartedAgain(t *testing.T) {
	t.Parallel()
	h, _ := newHost(t, "plug-auth", "plug-other")
	p := startAuth(t, h, "plug-auth", nil)
	require.NoError(t, os.Remove(p.Info().Path))
	require.NoError(t, syscall.Kill(p.Info().PID, syscall.SIGKILL))
	eventually(t, "the missing file is told", func() bool { return strings.Contains(p.Info().LastError, "no executable") })
	require.Error(t, swap(t, p, "plug-auth", nil))
	require.NoError(t, swap(t, p, "plug-other", map[string]any{"says": "rescued"}))
	require.Equal(t, "rescued", said(t, p))
	require.NoError(t, p.Healthy())
	require.Equal(t, StateRunning, p.Info().State)
}

// content is a summary for tests: every key and value.
func content(ctx context.Context, c pluginv1.MetaClient) (string, error) {
	list, err := c.List(ctx, &pluginv1.ListRequest{})
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for {
		page, err := list.Recv()
		if errors.Is(err, io.EOF) {
			return b.String(), nil
		}
		if err != nil {
			return "", err
		}
		for _, e := range page.GetEntries() {
			fmt.Fprintf(&b, "%s=%s;", e.GetKey(), e.GetValue())
		}
	}
}

func TestAMetaPluginIsSwappedOnlyForOneThatKeepsTheSameAndWritesWaitMeanwhile(t *testing.T) {
	t.Parallel()
	h, _ := newHost(t, "plug-meta", "plug-meta-other")
	data := func(kv ...string) map[string]any {
		m := map[string]any{}
		for _, e := range kv {
			k, v, _ := strings.Cut(e, "=")
			m[k] = v
		}
		return map[string]any{"data": m}
	}
	p, err := h.Start(t.Context(), "plug-meta", pluginv1.Kind_KIND_META, data("a=1"))
	require.NoError(t, err)
	other := func(config map[string]any) Spec { return h.Spec("plug-meta-other", pluginv1.Kind_KIND_META, config) }

	err = p.Swap(t.Context(), other(data("a=2")), Switching{Content: content})
	require.ErrorIs(t, err, ErrContent)
	require.EqualError(t, err, `plugin "plug-meta-other": the two do not keep the same: it keeps a=2;, the one that serves keeps a=1;`)
	require.Equal(t, "plug-meta", p.Name())
	err = p.Swap(t.Context(), other(map[string]any{"mode": "finds-everything"}), Switching{})
	require.ErrorContains(t, err, "which was never written")

	// Prepare, update the data, and switch, as a migration does.
	c, err := p.Prepare(t.Context(), other(nil))
	require.NoError(t, err)
	require.True(t, c.Active())
	_, err = c.Meta().Put(t.Context(), &pluginv1.PutRequest{Key: "a", Value: []byte("1")})
	require.NoError(t, err)
	summing, written, reset := make(chan struct{}, 2), make(chan error, 1), false
	err = p.Switch(t.Context(), c, Switching{
		Content: func(ctx context.Context, m pluginv1.MetaClient) (string, error) {
			if len(summing) == 0 {
				summing <- struct{}{}
				go func() {
					_, err := p.Meta().Put(t.Context(), &pluginv1.PutRequest{Key: "late", Value: []byte("x")})
					written <- err
				}()
				_, err := p.Meta().Get(t.Context(), &pluginv1.GetRequest{Key: "a"})
				require.NoError(t, err, "reads go on")
			}
			return content(ctx, m)
		},
		Switched: func() { reset = len(written) == 0 },
	})
	require.NoError(t, err)
	require.NoError(t, <-written)
	require.True(t, reset, "the write waited until after the switch")
	require.Equal(t, "plug-meta-other", p.Name())
	got, err := p.Meta().Get(t.Context(), &pluginv1.GetRequest{Key: "late"})
	require.NoError(t, err)
	require.True(t, got.GetFound(), "the write went to the new one")
	require.Error(t, p.Switch(t.Context(), c, Switching{}), "a candidate is used once")
	c.Close()
	require.Equal(t, "plug-meta-other", p.Name())

	require.NoError(t, p.Swap(t.Context(), h.Spec("plug-meta", pluginv1.Kind_KIND_META, nil), Switching{}), "without Content nothing is compared")
}

func TestClosingTheHostEndsWhatWasPreparedToo(t *testing.T) {
	t.Parallel()
	h, _ := newHost(t, "plug-auth")
	p := startAuth(t, h, "plug-auth", nil)
	c, err := p.Prepare(t.Context(), h.Spec("plug-auth", p.kind, nil))
	require.NoError(t, err)
	require.Len(t, childrenOf(t, os.Getpid(), h.opts.Dir), 2)
	require.NoError(t, h.Close())
	require.Empty(t, childrenOf(t, os.Getpid(), h.opts.Dir))
	require.ErrorIs(t, p.Switch(t.Context(), c, Switching{}), ErrClosed)
	require.ErrorIs(t, swap(t, p, "plug-auth", nil), ErrClosed)
}
