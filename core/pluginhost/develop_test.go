package pluginhost

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/internal/freeport"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

func TestAnExecutableInDevelopmentIsRunWhereverItIsAndSaysSo(t *testing.T) {
	t.Parallel()
	h, _ := newHost(t)
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o777))
	path := installVersion(t, dir, "plug-mine", "1")
	require.NoError(t, os.Chmod(path, 0o777))
	s := h.Spec("somebody", pluginv1.Kind_KIND_AUTH, map[string]any{"says": "one"})
	s.Path, s.Checksum = path, "sha256:"+strings.Repeat("0", 64)
	p, err := h.Run(t.Context(), s)
	require.NoError(t, err)
	info := p.Info()
	require.Equal(t, "plug-mine", p.Name(), "what it says")
	require.Equal(t, ModeDevelopment, info.Mode)
	require.Contains(t, info.Warning, "never use it where clients are that matter")
	require.Equal(t, path, info.Path)
	require.False(t, info.Pinned)

	differs, err := p.Differs(s)
	require.NoError(t, err)
	require.False(t, differs)
	installVersion(t, dir, "plug-mine", "2")
	differs, err = p.Differs(s)
	require.NoError(t, err)
	require.True(t, differs)
	require.NoError(t, p.Swap(t.Context(), s, Switching{}))
	require.Equal(t, "2", p.Info().Version)
	require.NoError(t, syscall.Kill(p.Info().PID, syscall.SIGKILL))
	eventually(t, "it is started again", func() bool { return p.Info().Restarts == 1 && p.Healthy() == nil })
	require.Equal(t, "one", said(t, p))

	s.Path = filepath.Join(dir, "gone")
	_, err = h.Run(t.Context(), s)
	require.ErrorContains(t, err, "gone cannot be read: no such file")
	s.Path, s.Kind = path, pluginv1.Kind_KIND_META
	_, err = h.Run(t.Context(), s)
	require.ErrorContains(t, err, "it is an auth plugin, but it is configured as a meta plugin")
}

// debugged starts a plugin as a person does, and returns the address where it waits for a gateway.
func debugged(t *testing.T, path, flag string) (cmd *exec.Cmd, address string) {
	t.Helper()
	cmd = exec.Command(path, flag)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	cmd.Stderr = os.Stderr
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if _, after, ok := strings.Cut(lines.Text(), "  lmqgate serve --config FILE --attach-plugin auth="); ok {
			go func() { // the rest, until the process ends
				for lines.Scan() {
				}
			}()
			return cmd, after
		}
	}
	t.Fatal("it did not say how to attach to it")
	return nil, ""
}

func TestAGatewayAttachesToAPluginThatItsAuthorStarted(t *testing.T) {
	t.Parallel()
	h, _ := newHost(t)
	h.opts.timing.healthTimeout = 500 * time.Millisecond
	path := install(t, pluginDir(t), "plug-mine")
	free, err := freeport.Address() // nobody else takes the address while the plugin is down
	require.NoError(t, err)
	cmd, address := debugged(t, path, "--debug="+free)
	require.Equal(t, free, address)
	spec := h.Spec("plug-mine", pluginv1.Kind_KIND_AUTH, map[string]any{"says": "attached"})
	spec.Attach = address
	p, err := h.Run(t.Context(), spec)
	require.NoError(t, err)
	require.Equal(t, "attached", said(t, p))
	info := p.Info()
	require.Equal(t, ModeAttached, info.Mode)
	require.Zero(t, info.PID)
	require.False(t, info.Secure)
	require.Equal(t, address, info.Path)

	// It is stopped at a breakpoint: it is not killed, and calls wait.
	freeze(t, cmd.Process.Pid)
	answered := make(chan error, 1)
	go func() { _, err := ask(p, "u"); answered <- err }()
	select {
	case err := <-answered:
		t.Fatalf("the call did not wait: %v", err)
	case <-time.After(healthFailures * (h.opts.timing.healthEvery + h.opts.timing.healthTimeout)):
	}
	require.NoError(t, cmd.Process.Signal(syscall.SIGCONT))
	require.NoError(t, <-answered)
	require.Zero(t, p.Info().Restarts)
	require.ErrorContains(t, p.Swap(t.Context(), spec, Switching{}), "attached to that process already")

	// It is restarted at the same address, and the gateway attaches again.
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	eventually(t, "it is missed", func() bool { return p.Healthy() != nil })
	debugged(t, path, "--debug="+address)
	eventually(t, "it is attached to again", func() bool { return p.Healthy() == nil })
	require.Equal(t, "attached", said(t, p))

	// A gateway that exits leaves it running for the next one.
	require.NoError(t, h.Close())
	next, _ := newHost(t)
	spec.Config = map[string]any{"says": "once more"}
	again, err := next.Run(t.Context(), spec)
	require.NoError(t, err)
	require.Equal(t, "once more", said(t, again))
}

func TestAPluginThatIsDebuggedWaitsAtASocketOfItsOwnAndEndsAtCtrlC(t *testing.T) {
	t.Parallel()
	h, _ := newHost(t)
	cmd, address := debugged(t, install(t, pluginDir(t), "plug-mine"), "--debug")
	socket, ok := strings.CutPrefix(address, "unix:")
	require.True(t, ok, address)
	info, err := os.Stat(filepath.Dir(socket))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	for _, form := range []string{address, "1|1|unix|" + socket + "|grpc", " 1|1|unix|" + socket + "|grpc|\n"} {
		s := h.Spec("plug-mine", pluginv1.Kind_KIND_AUTH, nil)
		s.Attach = form
		p, err := h.Run(t.Context(), s)
		require.NoError(t, err, form)
		_, err = ask(p, "u")
		require.NoError(t, err)
		require.NoError(t, h.Stop(p))
	}
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	require.NoError(t, cmd.Wait())
	require.NoDirExists(t, filepath.Dir(socket))
}

func TestAnAddressThatCannotBeAttachedToIsToldInOneLine(t *testing.T) {
	t.Parallel()
	h, _ := newHost(t)
	for address, want := range map[string]string{
		"192.0.2.1:80": "is no place to attach to", "localhost:1": "is no place to attach to", "nowhere": "is no place to attach to",
		"unix:/nonexistent/socket": "Describe failed", "127.0.0.1:1": "Describe failed", "1|x|unix|/s|grpc": "is no handshake line",
		"1|99|unix|/s|grpc": "speaks version 99",
	} {
		s := h.Spec("plug-mine", pluginv1.Kind_KIND_AUTH, nil)
		s.Attach = address
		_, err := h.Run(t.Context(), s)
		require.ErrorContains(t, err, want, address)
		require.NotContains(t, err.Error(), "\n")
	}
}
