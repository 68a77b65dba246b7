package pluginhost

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

func TestAPluginThatIsSlowToLoadIsWaitedForAsLongAsConfigured(t *testing.T) {
	t.Parallel()
	h, _ := newHost(t, "plug-slow")
	s := h.Spec("plug-slow", pluginv1.Kind_KIND_AUTH, nil)
	s.StartTimeout = 100 * time.Millisecond
	_, err := h.Run(t.Context(), s)
	require.ErrorContains(t, err, "did not say within 100ms where it listens")
	require.ErrorContains(t, err, "plugins.start_timeout")

	h.opts.timing.handshake = 100 * time.Millisecond // the Spec takes precedence
	s.StartTimeout = 2 * time.Minute
	p, err := h.Run(t.Context(), s)
	require.NoError(t, err)
	require.NoError(t, p.Healthy())
	require.Equal(t, time.Minute, DefaultStartTimeout)
	require.Equal(t, DefaultStartTimeout, timing{}.orDefaults().handshake)
}

func TestAPluginThatEndsDuringItsStartIsToldWithTheLastLinesThatItPrinted(t *testing.T) {
	t.Parallel()
	h, _ := newHost(t, "plug-traceback", "plug-panics", "plug-auth")
	h.opts.timing.handshake = time.Hour // the error is returned at once
	start := func(name string, config map[string]any) string {
		_, err := h.Start(t.Context(), name, pluginv1.Kind_KIND_AUTH, config)
		require.Error(t, err)
		require.NotContains(t, err.Error(), "\n")
		return err.Error()
	}
	text := start("plug-traceback", nil)
	require.Contains(t, text, "ended before it said where it listens: it ended with exit status 1; its last 20 lines were: line 11 of my traceback | line 12 of")
	require.True(t, strings.HasSuffix(text, "line 29 of my traceback | line 30 of my traceback"), text)

	text = start("plug-panics", nil)
	require.Contains(t, text, "lines were: panic: no such database | ", "a stack is told from its beginning")
	require.Contains(t, text, "main_test.go")

	text = start("plug-auth", map[string]any{"mode": "die-configure"})
	require.Contains(t, text, "my database schema is too old: version 3")
}

func TestAPluginThatPrintsNoHandshakeIsToldAtOnce(t *testing.T) {
	t.Parallel()
	h, _ := newHost(t, "plug-babbles", "plug-floods")
	h.opts.timing.handshake = time.Hour
	_, err := h.Start(t.Context(), "plug-babbles", pluginv1.Kind_KIND_AUTH, nil)
	require.ErrorContains(t, err, `printed "hello, I am a program" instead of a plugin's handshake line`)
	_, err = h.Start(t.Context(), "plug-floods", pluginv1.Kind_KIND_AUTH, nil)
	require.ErrorContains(t, err, `instead of a plugin's handshake line`)
}

func TestAStartThatIsGivenUpEndsItsProcess(t *testing.T) {
	t.Parallel()
	h, _ := newHost(t, "plug-silent")
	h.opts.timing.handshake = time.Hour
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := h.Start(ctx, "plug-silent", pluginv1.Kind_KIND_AUTH, nil)
		ended <- err
	}()
	eventually(t, "its process runs", func() bool { return len(childrenOf(t, os.Getpid(), h.opts.Dir)) == 1 })
	cancel()
	require.ErrorContains(t, <-ended, "its start was given up")
	require.Empty(t, childrenOf(t, os.Getpid(), h.opts.Dir))
}

func TestAStartThatIsGivenUpIsToldAsThatWhereverItStands(t *testing.T) {
	t.Parallel()
	h, _ := newHost(t, "plug-auth")
	h.opts.timing.startup = time.Hour
	for delay := time.Duration(0); delay < 240*time.Millisecond; delay += 40 * time.Millisecond {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			_, err := h.Start(ctx, "plug-auth", pluginv1.Kind_KIND_AUTH, map[string]any{"mode": "hang-configure"})
			ended <- err
		}()
		eventually(t, "its process runs", func() bool { return len(childrenOf(t, os.Getpid(), h.opts.Dir)) == 1 })
		time.Sleep(delay) // whichever step the start is at now
		cancel()
		require.ErrorContains(t, <-ended, "its start was given up")
		require.Empty(t, childrenOf(t, os.Getpid(), h.opts.Dir))
	}
}

func TestPluginsThatStartTogetherDoNotWaitForEachOther(t *testing.T) {
	t.Parallel()
	h, _ := newHost(t, "plug-silent", "plug-auth")
	h.opts.timing.handshake = time.Hour
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := h.RunAll(ctx, h.Spec("plug-silent", pluginv1.Kind_KIND_AUTH, nil), h.Spec("plug-auth", pluginv1.Kind_KIND_AUTH, nil))
		ended <- err
	}()
	eventually(t, "both run", func() bool { return len(childrenOf(t, os.Getpid(), h.opts.Dir)) == 2 })
	cancel()
	require.ErrorContains(t, <-ended, "its start was given up")
	require.Empty(t, childrenOf(t, os.Getpid(), h.opts.Dir))
	require.Empty(t, h.Plugins())
}

func TestWhereOnePluginDoesNotStartNoneRuns(t *testing.T) {
	t.Parallel()
	h, _ := newHost(t, "plug-auth")
	good := h.Spec("plug-auth", pluginv1.Kind_KIND_AUTH, nil)
	_, err := h.RunAll(t.Context(), good, h.Spec("plug-auth", pluginv1.Kind_KIND_AUTH, map[string]any{"mode": "die-configure"}))
	require.ErrorContains(t, err, "my database schema is too old")
	require.Empty(t, childrenOf(t, os.Getpid(), h.opts.Dir))
	require.Empty(t, h.Plugins())
	plugins, err := h.RunAll(t.Context(), good, good)
	require.NoError(t, err)
	require.Equal(t, plugins, h.Plugins())
	require.NoError(t, plugins[1].Healthy())
}

func TestADirectoryOfTemporaryFilesThatCannotBeUsedIsToldWithTheRemedy(t *testing.T) {
	t.Setenv("TMPDIR", "/nonexistent")
	_, err := New(Options{Dir: ".", DataDir: ".", ConfigDir: "."})
	require.ErrorContains(t, err, "/nonexistent")
	require.ErrorContains(t, err, "set TMPDIR to a directory that the gateway may write in")
}

func TestAbandonedDirectoriesAreRemovedAndThoseOfOthersAreNotTouched(t *testing.T) {
	// A short path: see maxTempPath.
	temp, err := os.MkdirTemp("/tmp", "lt") //nolint:usetesting // a short path
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(temp) })
	t.Setenv("TMPDIR", temp)
	make := func(name string) string {
		dir := filepath.Join(temp, socketPrefix+name)
		require.NoError(t, os.Mkdir(dir, 0o700))
		return dir
	}
	abandoned := make("abandoned")
	require.NoError(t, os.WriteFile(filepath.Join(abandoned, lockName), nil, 0o600))

	// Links and pipes that another user left there must neither be followed nor waited for.
	victim := filepath.Join(temp, "victim")
	require.NoError(t, os.WriteFile(victim, []byte("precious"), 0o600))
	linked, piped, empty := make("linked"), make("piped"), make("empty")
	require.NoError(t, os.Symlink(victim, filepath.Join(linked, lockName)))
	require.NoError(t, syscall.Mkfifo(filepath.Join(piped, lockName), 0o600))
	elsewhere := filepath.Join(temp, "elsewhere")
	require.NoError(t, os.Mkdir(elsewhere, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(elsewhere, lockName), nil, 0o600))
	require.NoError(t, os.Symlink(elsewhere, filepath.Join(temp, socketPrefix+"link")))

	h, err := New(Options{Dir: ".", DataDir: ".", ConfigDir: "."})
	require.NoError(t, err)
	require.NoError(t, h.Close())
	require.NoDirExists(t, abandoned)
	for _, left := range []string{linked, piped, empty, elsewhere} {
		require.DirExists(t, left)
	}
	require.FileExists(t, filepath.Join(elsewhere, lockName))
}

func TestALockOfAnotherUserIsNotTaken(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make files of another user")
	}
	dir := t.TempDir()
	lock := filepath.Join(dir, lockName)
	require.NoError(t, os.WriteFile(lock, nil, 0o666))
	require.NoError(t, os.Chown(lock, 65534, 65534))
	_, err := openLock(lock)
	require.ErrorIs(t, err, os.ErrPermission)
	require.NoError(t, os.Chown(lock, 0, 0))
	f, err := openLock(lock)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}
