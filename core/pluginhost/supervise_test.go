package pluginhost

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lmqgate/lmqgate/internal/testlog"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// It counts the allocations of the process, so it does not run in parallel.
func TestAnAnswerOfAHundredMegabytesCostsThatCallOnly(t *testing.T) {
	h, _ := newHost(t, "plug-flood")
	h.opts.timing.healthEvery = time.Hour // a busy machine may need longer for a hundred megabytes than the health checks here allow
	p := startAuth(t, h, "plug-flood", nil)
	before := p.Info().PID
	var began, m runtime.MemStats
	runtime.ReadMemStats(&began)
	for range 3 {
		_, err := ask(p, "flood")
		require.Equal(t, codes.Internal, status.Code(err))
		require.ErrorContains(t, err, "the plugin's answer is too large")
		resp, err := ask(p, "u")
		require.NoError(t, err)
		require.Equal(t, "tested", resp.GetIdentity())
	}
	runtime.ReadMemStats(&m)
	require.Less(t, m.TotalAlloc-began.TotalAlloc, uint64(90_000_000), "the answer was not taken into memory")
	info := p.Info()
	require.Equal(t, before, info.PID)
	require.Zero(t, info.Restarts)
	require.EqualValues(t, 6, info.Calls)
	require.EqualValues(t, 3, info.Errors)
}

func TestAListingWithoutEndIsCutOff(t *testing.T) {
	t.Parallel()
	h, _ := newHost(t, "plug-meta")
	p, err := h.Start(t.Context(), "plug-meta", pluginv1.Kind_KIND_META, map[string]any{"data": map[string]any{
		"a": strings.Repeat("x", 1<<20), "b": strings.Repeat("x", 1<<20), "c": strings.Repeat("x", 1<<20)}})
	require.NoError(t, err)
	count := func(limit int64) (pages int, err error) {
		p.route.listLimit = limit
		list, err := p.Meta().List(t.Context(), &pluginv1.ListRequest{})
		require.NoError(t, err)
		for {
			if _, err := list.Recv(); err != nil {
				return pages, err
			}
			pages++
		}
	}
	pages, err := count(4 << 20)
	require.Equal(t, io.EOF, err)
	require.Equal(t, 3, pages)
	pages, err = count(2 << 20)
	require.Equal(t, codes.Internal, status.Code(err))
	require.ErrorContains(t, err, "the plugin's listing is larger than 2 MiB")
	require.Equal(t, 1, pages)
}

func TestAPluginThatTakesTooMuchMemoryIsStartedAgain(t *testing.T) {
	t.Parallel()
	if _, ok := memoryOf(os.Getpid()); !ok {
		t.Skip("this system does not tell what a process takes")
	}
	h, _ := newHost(t, "plug-auth")
	s := h.Spec("plug-auth", pluginv1.Kind_KIND_AUTH, nil)
	s.MemoryLimit = 200 << 20
	p, err := h.Run(t.Context(), s)
	require.NoError(t, err)
	eventually(t, "what it takes is known", func() bool { return p.Info().Memory > 0 })
	require.EqualValues(t, 200<<20, p.Info().MemoryLimit)
	resp, err := ask(p, "env")
	require.NoError(t, err)
	require.Contains(t, resp.GetDetail(), "GOMEMLIMIT=188743680")
	_, _ = ask(p, "hog")
	eventually(t, "it is started again", func() bool { return p.Info().Restarts > 0 && p.Healthy() == nil }) // the call may be made again
	require.Regexp(t, `^it takes \d+ MiB of memory, more than plugins.memory_limit, 200 MiB$`, p.Info().LastError)
	_, err = ask(p, "u")
	require.NoError(t, err)
}

func TestACrashLoopIsSeenAndSaidOnceAndEndsByItself(t *testing.T) {
	t.Parallel()
	h, logs := newHost(t, "plug-auth")
	h.opts.timing.lastPause = 50 * time.Millisecond
	p := startAuth(t, h, "plug-auth", nil)
	path := p.Info().Path
	require.NoError(t, os.Rename(path, path+"-away"))
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\necho my library is missing >&2\nexit 3\n"), 0o755))
	require.NoError(t, os.Chmod(path, 0o755))
	require.NoError(t, syscall.Kill(p.Info().PID, syscall.SIGKILL))
	eventually(t, "the loop is seen", func() bool { return p.Info().State == StateCrashLooping })
	require.ErrorContains(t, p.Healthy(), "plugin plug-auth is crash-looping")
	require.ErrorContains(t, p.Healthy(), "my library is missing")
	failures := func(level string) int {
		return strings.Count(logs.String(), "level="+level+` msg="plugin could not be started again"`)
	}
	eventually(t, "it goes on trying, quietly", func() bool { return failures("DEBUG") > 3 })
	require.Equal(t, 1, strings.Count(logs.String(), "plugin does not stay up"))
	require.Less(t, failures("ERROR"), crashLoopAfter)

	require.NoError(t, os.Rename(path+"-away", path))
	eventually(t, "it runs again", func() bool { return p.Info().State == StateRunning && p.Healthy() == nil })
}

func TestACrashLoopIsOverWhenThePluginHasStayedUp(t *testing.T) {
	logs := &testlog.Buffer{}
	log := slog.New(slog.NewTextHandler(logs, &slog.HandlerOptions{Level: slog.LevelInfo}))
	c := &crashLoop{}
	for n := 1; n < 2*crashLoopAfter; n++ {
		state := c.ended(log, "plugin is down", errors.New("the same"), time.Second)
		c.runs(log, 1, n)
		require.Equal(t, n >= crashLoopAfter, state == StateCrashLooping, n)
	}
	lines := strings.Count(logs.String(), "\n")
	require.Equal(t, 2*(crashLoopAfter-1)+1, lines, logs.String())
	require.Equal(t, StateCrashLooping, c.ended(log, "plugin is down", errors.New("another"), time.Second))
	require.Equal(t, lines+1, strings.Count(logs.String(), "\n"), "another cause is news")
	c.stable(log)
	require.Contains(t, logs.String(), `msg="plugin stays up again"`)
	require.Equal(t, StateRestarting, c.ended(log, "plugin is down", errors.New("another"), time.Second))
}
