// Package deploy has what a release is made of, and tests that its parts fit together. Nothing is built here; see dist.sh.
package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/lmqgate/lmqgate/core/config"
)

func text(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(b)
}

// content is a file of the packages.
type content struct{ Src, Dst, Type string }

func contents(t *testing.T) (list []content, scripts map[string]string) {
	t.Helper()
	var nfpm struct {
		Contents []content
		Scripts  map[string]string
	}
	require.NoError(t, yaml.Unmarshal([]byte(text(t, "package/nfpm.yaml")), &nfpm))
	require.NotEmpty(t, nfpm.Contents)
	return nfpm.Contents, nfpm.Scripts
}

func TestThePackagesFilesAreThere(t *testing.T) {
	list, scripts := contents(t)
	for _, c := range list {
		if c.Src == "" || c.Type == "symlink" || strings.HasPrefix(c.Src, "${TREE}") {
			continue
		}
		found, err := filepath.Glob(filepath.Join("..", c.Src))
		require.NoError(t, err)
		require.NotEmpty(t, found, c.Src)
	}
	require.Len(t, scripts, 3)
	for _, script := range scripts {
		out, err := exec.CommandContext(t.Context(), "sh", "-n", filepath.Join("..", script)).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	out, err := exec.CommandContext(t.Context(), "sh", "-n", "dist.sh").CombinedOutput()
	require.NoError(t, err, "%s", out)
}

func TestThePackagesConfigurationIsTheStandaloneOneWithItsOwnDirectory(t *testing.T) {
	packaged, err := config.Load("package/lmqgate.yaml", nil, nil)
	require.NoError(t, err)
	require.Equal(t, "/var/lib/lmqgate", packaged.Node.DataDir)
	standalone, err := config.Load("../conf/standalone.yaml", nil, nil)
	require.NoError(t, err)
	require.Equal(t, []string{"node.data_dir"}, differences(packaged, standalone))
}

// differences are the keys that differ, but for paths that follow from the directory of the file and of the data.
func differences(a, b *config.Config) (keys []string) {
	for _, key := range config.Differences(a, b) {
		if key != "store.local.path" {
			keys = append(keys, key)
		}
	}
	return keys
}

func TestTheUnitRunsWhatThePackagesInstall(t *testing.T) {
	unit := text(t, "package/lmqgate.service")
	installed := map[string]bool{}
	list, _ := contents(t)
	for _, c := range list {
		installed[c.Dst] = true
	}
	m := regexp.MustCompile(`(?m)^ExecStart=(\S+) serve --config (\S+)$`).FindStringSubmatch(unit)
	require.NotNil(t, m)
	require.True(t, installed[m[1]] && installed[m[2]], "%v", m[1:])
	require.True(t, installed["/usr/lib/systemd/system/lmqgate.service"])
	for _, line := range []string{"Type=notify", "WatchdogSec=30", "ExecReload=/bin/kill -HUP $MAINPID", "User=lmqgate", "NoNewPrivileges=yes",
		"ProtectSystem=strict", "StateDirectory=lmqgate", "Restart=on-failure"} {
		require.Contains(t, unit, "\n"+line+"\n")
	}
}
