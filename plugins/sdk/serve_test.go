package sdk

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/lmqgate/lmqgate/internal/leftover"
	"github.com/lmqgate/lmqgate/plugins/sdk/handshake"
)

// asPlugin is an environment variable with which the test binary serves as a plugin.
const asPlugin = "SDK_TEST_SERVE"

func TestMain(m *testing.M) {
	if os.Getenv(asPlugin) != "" {
		ServeAuth(newRecorder())
		return
	}
	goleak.VerifyTestMain(leftover.Patient(m))
}

func command(t *testing.T, env ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self)
	cmd.Env = append(env, asPlugin+"=1", "PLUGIN_UNIX_SOCKET_DIR="+t.TempDir())
	return cmd
}

func waitFor(t *testing.T, cmd *exec.Cmd) error {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case err := <-done:
		return err
	case <-time.After(time.Minute):
		_ = cmd.Process.Kill()
		<-done
		t.Fatal("the plugin did not end")
		return nil
	}
}

func TestAPluginThatAPersonStartsSaysInOneLineWhatItIs(t *testing.T) {
	out, err := command(t).CombinedOutput()
	require.Error(t, err)
	require.Equal(t, 1, strings.Count(string(out), "\n"))
	require.Contains(t, string(out), "recorder 1 is a plugin of lmqgate")
	require.Contains(t, string(out), "lmqgate serve")
}

func TestAPluginEndsWithItsStandardInput(t *testing.T) {
	cookie := handshake.CookieKey + "=" + handshake.CookieValue
	t.Run("while it serves", func(t *testing.T) {
		cmd := command(t, cookie, "PLUGIN_PROTOCOL_VERSIONS=1")
		in, err := cmd.StdinPipe()
		require.NoError(t, err)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		line, err := bufio.NewReader(out).ReadString('\n')
		require.NoError(t, err)
		require.Regexp(t, `^1\|1\|unix\|.+\|grpc\|`, line)
		require.NoError(t, in.Close())
		require.NoError(t, waitFor(t, cmd))
	})
	t.Run("or when it is terminated", func(t *testing.T) {
		cmd := command(t, cookie, "PLUGIN_PROTOCOL_VERSIONS=1")
		in, err := cmd.StdinPipe()
		require.NoError(t, err)
		defer in.Close()
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		_, err = bufio.NewReader(out).ReadString('\n')
		require.NoError(t, err)
		require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
		require.NoError(t, waitFor(t, cmd))
	})
	t.Run("before its handshake is read", func(t *testing.T) {
		cmd := command(t, cookie)
		require.NoError(t, cmd.Start()) // standard input is /dev/null: it has ended already
		require.NoError(t, waitFor(t, cmd))
	})
}

func TestLogLinesAreThoseOfHclog(t *testing.T) {
	var out bytes.Buffer
	log := newLogger(&out)
	log.Debug("d")
	log.Info("i", "n", 1, slog.Group("g", "msg", "inner"))
	log.Warn("w")
	log.Error("e", "error", io.EOF)
	var levels []string
	for line := range strings.Lines(out.String()) {
		var m map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &m))
		levels = append(levels, m["@level"].(string))
		_, err := time.Parse(hclogTime, m["@timestamp"].(string))
		require.NoError(t, err)
		require.NotEmpty(t, m["@message"])
		if m["@message"] == "i" {
			require.Equal(t, map[string]any{"msg": "inner"}, m["g"])
		}
	}
	require.Equal(t, []string{"debug", "info", "warn", "error"}, levels)
}
