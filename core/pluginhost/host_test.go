package pluginhost

import (
	"context"
	"errors"
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
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

func TestAStartedPluginAnswersCallsAndSaysWhatItIs(t *testing.T) {
	t.Parallel()
	h, logs := newHost(t, "plug-auth")
	p := startAuth(t, h, "plug-auth", map[string]any{"secret": "hush-hush"})

	resp, err := ask(p, "u")
	require.NoError(t, err)
	require.Equal(t, "tested", resp.GetIdentity())

	info := p.Info()
	require.Equal(t, "plug-auth", info.Name)
	require.Equal(t, "auth", info.Kind)
	require.Equal(t, "1.2.3", info.Version)
	require.Equal(t, StateRunning, info.State)
	require.NotZero(t, info.PID)
	require.Regexp(t, "^sha256:[0-9a-f]{64}$", info.Checksum)
	require.True(t, info.Secure)
	require.Equal(t, 1, info.Contract)
	require.NoError(t, p.Healthy())
	require.True(t, p.Describe().GetAuth().GetRevocations())
	require.Equal(t, []*Plugin{p}, h.Plugins())

	eventually(t, "the plugin's line is in the log", func() bool {
		return strings.Contains(logs.String(), `level=WARN msg=activated plugin=plug-auth answer=42`)
	})
	require.NotContains(t, logs.String(), "hush-hush")
	require.NotContains(t, logs.String(), "impostor")
}

func TestAMetaPluginServesCallsAndStreams(t *testing.T) {
	t.Parallel()
	h, _ := newHost(t, "plug-meta")
	p, err := h.Start(t.Context(), "plug-meta", pluginv1.Kind_KIND_META, map[string]any{"data": map[string]any{"k": "v", "l": "w", "m": "x"}})
	require.NoError(t, err)
	require.True(t, p.Describe().GetMeta().GetTtl())
	got, err := p.Meta().Get(t.Context(), &pluginv1.GetRequest{Key: "k"})
	require.NoError(t, err)
	require.Equal(t, "k", got.GetEntry().GetKey())

	list, err := p.Meta().List(t.Context(), &pluginv1.ListRequest{})
	require.NoError(t, err)
	pages := 0
	for {
		_, err := list.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		pages++
	}
	require.Equal(t, 3, pages)

	watch, err := p.Meta().Watch(t.Context(), &pluginv1.WatchRequest{})
	require.NoError(t, err)
	_, err = watch.Recv()
	require.Equal(t, codes.Unimplemented, status.Code(err))
}

func TestAPluginThatCannotStartIsOneClearLine(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name   string
		kind   pluginv1.Kind
		config map[string]any
		want   []string
	}{
		{name: "plug-missing", want: []string{`"plug-missing"`, "no executable", "plug-exits", "plug-future"}},
		{name: "../plug-auth", want: []string{"bare name"}},
		{name: "", want: []string{"bare name"}},
		{name: "plug-exits", want: []string{"exit status 3", "cannot find my library"}},
		{name: "plug-babbles", want: []string{"hello, I am a program", "is it a plugin?"}},
		{name: "plug-future", want: []string{"speaks version 99", "this gateway speaks 1"}},
		{name: "plug-netrpc", want: []string{"speaks netrpc", "must speak grpc"}},
		{name: "plug-afar", want: []string{"192.0.2.1:80", "loopback"}},
		{name: "plug-vanishes", want: []string{"exit status 6"}},
		{name: "plug-liar", want: []string{"its name is", "somebody-else"}},
		{name: "plug-auth", kind: pluginv1.Kind_KIND_META, want: []string{"is an auth plugin", "configured as a meta plugin"}},
		{name: "plug-auth", config: map[string]any{"mode": "refuse"},
			want: []string{"auth.config.secret: is too short", "auth.config: is no good at all"}},
		{name: "plug-auth", config: map[string]any{"sekret": "x"}, want: []string{"auth.config.sekret: unknown key; did you mean secret?"}},
		{name: "plug-auth", config: map[string]any{"mode": "hang-configure"}, want: []string{"did not answer Configure in time"}},
		{name: "plug-auth", config: map[string]any{"mode": "die-configure"}, want: []string{"exit status 4", "my database schema is too old: version 3"}},
		{name: "plug-auth", config: map[string]any{"mode": "panic-configure"}, want: []string{"Configure failed", "panicked"}},
		{name: "plug-auth", config: map[string]any{"mode": "no-activate"}, want: []string{"Activate failed: data.db is held by process 17"}},
	}
	h, _ := newHost(t, "plug-auth", "plug-exits", "plug-babbles", "plug-future", "plug-netrpc", "plug-afar", "plug-vanishes", "plug-liar")
	for _, c := range cases {
		name := c.name
		if c.config["mode"] != nil {
			name += " " + c.config["mode"].(string)
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kind := c.kind
			if kind == pluginv1.Kind_KIND_UNSPECIFIED {
				kind = pluginv1.Kind_KIND_AUTH
			}
			_, err := h.Start(t.Context(), c.name, kind, c.config)
			require.Error(t, err)
			require.NotContains(t, err.Error(), "\n")
			for _, want := range c.want {
				require.ErrorContains(t, err, want)
			}
		})
	}
}

func TestAPluginIsGivenNothingOfTheGatewaysEnvironment(t *testing.T) {
	t.Setenv("LMQGATE_STORE__ROCKETMQ__SECRET_KEY", "top-secret")
	h, _ := newHost(t, "plug-auth")
	p := startAuth(t, h, "plug-auth", nil)
	resp, err := ask(p, "env")
	require.NoError(t, err)
	require.NotContains(t, resp.GetDetail(), "top-secret")
	require.NotContains(t, resp.GetDetail(), "HOME=")
}

func TestAPluginThatDeclaresThatItHasNoTLSIsServedOverItsPrivateSocket(t *testing.T) {
	t.Parallel()
	h, _ := newHost(t, "plug-plain")
	p := startAuth(t, h, "plug-plain", nil)
	require.False(t, p.Info().Secure)
	_, err := ask(p, "u")
	require.NoError(t, err)
}

func TestAKilledPluginIsRestartedAndCallsInBetweenWait(t *testing.T) {
	t.Parallel()
	h, _ := newHost(t, "plug-auth")
	p := startAuth(t, h, "plug-auth", nil)
	restarted := make(chan struct{}, 1)
	p.OnRestart(func() { restarted <- struct{}{} })
	before := p.Info().PID
	require.NoError(t, syscall.Kill(before, syscall.SIGKILL))

	_, err := ask(p, "u")
	require.NoError(t, err, "the call is made again on the new process")
	<-restarted
	info := p.Info()
	require.NotEqual(t, before, info.PID)
	require.Equal(t, 1, info.Restarts)
	require.Equal(t, StateRunning, info.State)
	require.Contains(t, info.LastError, "signal: killed")
	require.NoError(t, p.Healthy())
}

func TestNoCallOfManyFailsWhileThePluginIsKilledAgainAndAgain(t *testing.T) {
	t.Parallel()
	h, _ := newHost(t, "plug-auth")
	p := startAuth(t, h, "plug-auth", nil)
	ctx, stop := context.WithCancel(t.Context())
	var callers sync.WaitGroup
	failures := make(chan error, 8)
	answered := make([]atomic.Int64, cap(failures))
	for i := range answered {
		callers.Go(func() {
			for ; ctx.Err() == nil; answered[i].Add(1) {
				if _, err := ask(p, "u"); err != nil {
					failures <- err
					return
				}
			}
		})
	}
	for n := range 3 {
		_ = syscall.Kill(p.Info().PID, syscall.SIGKILL)
		eventually(t, "it is restarted", func() bool { return p.Info().Restarts > n && p.Healthy() == nil })
		// A call is retried only once, so each caller must be past the calls that this kill broke.
		for i := range answered {
			seen := answered[i].Load()
			eventually(t, "each caller is answered", func() bool { return answered[i].Load() > seen+1 || len(failures) > 0 })
		}
	}
	stop()
	callers.Wait()
	close(failures)
	for err := range failures {
		require.NoError(t, err)
	}
}

func TestAPluginThatCrashesInACallIsRestarted(t *testing.T) {
	t.Parallel()
	h, _ := newHost(t, "plug-auth")
	p := startAuth(t, h, "plug-auth", nil)
	_, err := ask(p, "crash")
	require.Error(t, err)
	eventually(t, "the plugin answers again", func() bool { _, err := ask(p, "u"); return err == nil })
}

func TestAnUnavailableThatThePluginAnswersIsPassedOnAtOnce(t *testing.T) {
	t.Parallel()
	h, _ := newHost(t, "plug-auth")
	p := startAuth(t, h, "plug-auth", nil)
	_, err := ask(p, "unavailable")
	require.Equal(t, codes.Unavailable, status.Code(err))
	require.ErrorContains(t, err, "my database is away")
	require.EqualValues(t, 1, p.Info().Calls)
}

func TestAStoppedProcessIsFoundOutAndReplaced(t *testing.T) {
	t.Parallel()
	h, _ := newHost(t, "plug-auth")
	h.opts.timing.healthTimeout = 3 * time.Second
	p := startAuth(t, h, "plug-auth", nil)
	before := p.Info().PID
	require.NoError(t, syscall.Kill(before, syscall.SIGSTOP))
	eventually(t, "another process has taken over", func() bool {
		info := p.Info()
		return info.State == StateRunning && info.PID != before
	})
	require.Contains(t, p.Info().LastError, "health checks")
	_, err := ask(p, "u")
	require.NoError(t, err)
}

func TestAPanicInACallIsAnAnswerAndTheProcessGoesOn(t *testing.T) {
	t.Parallel()
	h, logs := newHost(t, "plug-auth")
	p := startAuth(t, h, "plug-auth", nil)
	before := p.Info().PID
	_, err := ask(p, "panic")
	require.Equal(t, codes.Internal, status.Code(err))
	_, err = ask(p, "u")
	require.NoError(t, err)
	require.Equal(t, before, p.Info().PID)
	eventually(t, "the stack is logged", func() bool { return strings.Contains(logs.String(), "at the disco") })
}

func TestAHangingCallEndsAtItsDeadlineAndTheBreakerOpens(t *testing.T) {
	t.Parallel()
	h, _ := newHost(t, "plug-auth")
	h.opts.timing.breakerOpen = 5 * time.Second // longer than a busy machine takes until the next call
	p := startAuth(t, h, "plug-auth", nil)
	p.route.deadline = time.Second
	done := make(chan error, breakerFailures)
	for range breakerFailures {
		go func() { _, err := ask(p, "hang"); done <- err }()
	}
	for range breakerFailures {
		require.Equal(t, codes.DeadlineExceeded, status.Code(<-done))
	}
	_, err := ask(p, "u")
	require.Equal(t, codes.Unavailable, status.Code(err))
	eventually(t, "the breaker closes", func() bool { _, err := ask(p, "u"); return err == nil })
}

func TestAnAnswerThatIsTooLargeIsAnErrorNotMemory(t *testing.T) {
	t.Parallel()
	h, _ := newHost(t, "plug-auth")
	p := startAuth(t, h, "plug-auth", nil)
	_, err := ask(p, "huge")
	require.Error(t, err)
	_, err = ask(p, "u")
	require.NoError(t, err)
}

func TestAnUnwellPluginStaysAndSaysWhy(t *testing.T) {
	t.Parallel()
	h, _ := newHost(t, "plug-auth")
	p := startAuth(t, h, "plug-auth", map[string]any{"mode": "unwell"})
	require.ErrorContains(t, p.Healthy(), "my database is away")
	require.Equal(t, 0, p.Info().Restarts)
}

func TestAStreamEndsWithItsProcessAndCanBeOpenedAgain(t *testing.T) {
	t.Parallel()
	h, _ := newHost(t, "plug-auth")
	p := startAuth(t, h, "plug-auth", nil)
	stream, err := p.Auth().Revocations(t.Context(), &pluginv1.RevocationsRequest{})
	require.NoError(t, err)
	r, err := stream.Recv()
	require.NoError(t, err)
	require.Equal(t, "first", r.GetClientId())
	require.NoError(t, syscall.Kill(p.Info().PID, syscall.SIGKILL))
	_, err = stream.Recv()
	require.Equal(t, codes.Unavailable, status.Code(err))
	eventually(t, "a new process lives", func() bool { return p.Info().Restarts == 1 })
	stream, err = p.Auth().Revocations(t.Context(), &pluginv1.RevocationsRequest{})
	require.NoError(t, err)
	_, err = stream.Recv()
	require.NoError(t, err)
}

func TestARestartChecksTheFileAgainAndGoesOnTrying(t *testing.T) {
	t.Parallel()
	h, _ := newHost(t, "plug-auth")
	p := startAuth(t, h, "plug-auth", nil)
	path := p.Info().Path
	moved := path + "-away"
	require.NoError(t, os.Rename(path, moved))
	require.NoError(t, syscall.Kill(p.Info().PID, syscall.SIGKILL))
	eventually(t, "the missing file is told", func() bool { return strings.Contains(p.Info().LastError, "no executable") })
	require.Error(t, p.Healthy())
	require.NoError(t, os.Rename(moved, path))
	eventually(t, "it runs again", func() bool { return p.Healthy() == nil })
}

func TestCloseDeactivatesStopsAndLeavesNothing(t *testing.T) {
	t.Parallel()
	h, _ := newHost(t, "plug-auth", "plug-meta")
	marker := filepath.Join(t.TempDir(), "marker")
	p := startAuth(t, h, "plug-auth", map[string]any{"file": marker})
	pid := p.Info().PID
	sockets := h.sockets.path
	require.DirExists(t, sockets)
	require.NoError(t, h.Close())
	require.FileExists(t, marker)
	require.Error(t, syscall.Kill(pid, 0), "the process is gone")
	require.NoDirExists(t, sockets)
	require.Equal(t, StateStopped, p.Info().State)
	_, err := ask(p, "u")
	require.Equal(t, codes.Unavailable, status.Code(err))
	_, err = h.Start(context.Background(), "plug-meta", pluginv1.Kind_KIND_META, nil)
	require.ErrorIs(t, err, ErrClosed)
}
