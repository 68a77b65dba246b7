package e2e

import (
	"bufio"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAnAuthorRunsAnUncheckedPluginWithALoudWarning(t *testing.T) {
	t.Parallel()
	dir := t.TempDir() // which is not plugins.dir
	buildPlugin(t, "auth-hmac", "mine", filepath.Join(dir, "auth-hmac"))
	g := configure(t, localProfile)
	g.flags = []string{"--dev-plugin", "auth=" + filepath.Join(dir, "auth-hmac")}
	g.Start()
	require.Contains(
		t,
		g.Log(),
		"lmqgate: WARNING: the auth plugin is "+filepath.Join(dir, "auth-hmac")+", unchecked, for development only",
	)
	require.Contains(t, g.Log(), "PLUGIN IN DEVELOPMENT")
	_, body := g.Get("/api/v1/plugins")
	require.Contains(t, body, `"mode":"development","warning":"development: an executable that nothing was checked of`)
	topic := g.Topic("mine")
	c := g.connect(t, g.Name("client"))
	c.subscribe(topic+"/#", 1)
	c.only(c, topic+"/x")

	buildPlugin(t, "auth-hmac", "better", filepath.Join(dir, "auth-hmac"))
	require.Contains(t, g.reload().OK(), "auth: auth-hmac swapped, version better")
	require.Contains(
		t,
		g.CLI("plugin", "info", "auth-hmac", "--config", g.config(), "--admin", "http://"+g.Admin).OK(),
		"development: an executable that nothing was checked of",
	)
	c.only(c, topic+"/x")
}

func TestAGatewayAttachesToAPluginUnderADebugger(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(filepath.Join(bin, "plugins", "auth-hmac"), "--debug")
	cmd.SysProcAttr = dieWithTest()
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	var command []string
	for lines := bufio.NewScanner(out); command == nil && lines.Scan(); {
		if text := strings.TrimSpace(lines.Text()); strings.HasPrefix(text, "lmqgate serve ") {
			command = strings.Fields(text)
		}
	}
	require.Equal(t, []string{"lmqgate", "serve", "--config", "FILE", "--attach-plugin"}, command[:5])
	g := configure(t, localProfile)
	g.flags = command[4:]
	g.Start()
	require.Contains(t, g.Log(), "lmqgate: WARNING: the auth plugin is whatever listens at unix:")
	topic := g.Topic("attached")
	c := g.connect(t, g.Name("client"))
	c.subscribe(topic+"/#", 1)
	c.only(c, topic+"/x")
	_, err = g.tryConnect(t, g.Name("wrong"), func(o *clientOptions) { o.SetPassword("wrong") })
	require.Error(t, err)
	g.Stop()
	require.NoError(t, cmd.Process.Signal(syscall.Signal(0)), "the process is its author's and goes on")
	g.Start()
	g.connect(t, g.Name("again"))
}
