package main

import (
	"bufio"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/plugins/sdk"
	"github.com/lmqgate/lmqgate/plugins/sdk/plugintest"
)

// exampleWebhook builds and starts examples/auth-webhook, and returns its URL. It ends with the test.
func exampleWebhook(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "auth-webhook")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", path, "../../examples/auth-webhook").CombinedOutput()
	require.NoError(t, err, string(out))
	cmd := exec.Command(path, "-listen", "127.0.0.1:0")
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	return strings.TrimPrefix(strings.TrimSpace(line), "auth-webhook listens on ")
}

func TestThePluginKeepsTheContract(t *testing.T) {
	at := exampleWebhook(t)
	profile, err := plugintest.LoadProfile(plugintest.ProfileName,
		"config.authenticate_url="+at+"/authenticate", "config.authorize_url="+at+"/authorize", "config.health_url="+at+"/healthz",
		"config.timeout=10s") // for busy machines
	require.NoError(t, err)
	t.Run("in this process", func(t *testing.T) {
		plugintest.RunAuth(t, plugintest.AuthPlugin(func() sdk.AuthPlugin { return &plugin{} }), profile)
	})
	t.Run("as a program", func(t *testing.T) {
		plugintest.RunAuth(t, plugintest.Build(t, "."), profile)
	})
}
