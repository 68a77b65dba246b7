package e2e

import (
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/lmqgate/lmqgate/test/rocketmq/cluster"
	"github.com/stretchr/testify/require"
)

// clients returns the directory with the client programs of a language, and one in .cache for their dependencies.
func clients(t *testing.T, language string) (programs, cache string) {
	t.Helper()
	root, err := cluster.Root()
	require.NoError(t, err)
	cache = filepath.Join(root, ".cache", "clients", language)
	require.NoError(t, os.MkdirAll(cache, 0o755))
	return filepath.Join(root, "test", "clients", language), cache
}

// unchanged reports whether a file is the one that was installed last; the returned function records that it is installed now.
func unchanged(t *testing.T, file, cache string) (bool, func()) {
	t.Helper()
	now, err := os.ReadFile(file)
	require.NoError(t, err)
	stamp := filepath.Join(cache, "installed-"+filepath.Base(file))
	last, _ := os.ReadFile(stamp)
	return string(last) == string(now), func() { require.NoError(t, os.WriteFile(stamp, now, 0o600)) }
}

// Proves 3.1.1: [MQTT-7.0.0-2] [MQTT-7.1.1-1]
func TestPahoForPython(t *testing.T) {
	t.Parallel()
	python := program(t, "python3", "the Debian packages python3 and python3-venv")
	programs, cache := clients(t, "python")
	requirements := filepath.Join(programs, "requirements.txt")
	venv := filepath.Join(cache, "venv")
	if same, installed := unchanged(t, requirements, cache); !same {
		execute(t, 2*time.Minute, python, "-m", "venv", "--clear", venv).OK()
		execute(t, 2*time.Minute, filepath.Join(venv, "bin", "pip"), "install", "--quiet", "--disable-pip-version-check",
			"--require-hashes", "-r", requirements).OK()
		installed()
	}
	everywhere(t, func(t *testing.T, p profile) {
		g := start(t, p)
		host, port, err := net.SplitHostPort(g.TCP)
		require.NoError(t, err)
		for _, version := range []string{"3.1.1", "5"} {
			t.Run(version, func(t *testing.T) {
				out := execute(t, 5*time.Minute, filepath.Join(venv, "bin", "python"), filepath.Join(programs, "smoke.py"),
					host, port, user, secret, g.Topic("python"+version[:1]), version).OK()
				require.Equal(t, "ok\n", out)
			})
		}
	})
}

// Proves 3.1.1: [MQTT-7.0.0-2] [MQTT-7.1.1-1]
func TestMQTTjs(t *testing.T) {
	t.Parallel()
	node := program(t, "node", "Node.js 20 or later")
	npm := program(t, "npm", "npm")
	programs, cache := clients(t, "node")
	lock := filepath.Join(programs, "package-lock.json")
	same, installed := unchanged(t, lock, cache)
	for _, name := range []string{"package.json", "package-lock.json", "smoke.js"} {
		text, err := os.ReadFile(filepath.Join(programs, name))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(cache, name), text, 0o600))
	}
	if !same {
		// Not with --prefix, which npm 11.19 confuses with a package of the directory's name.
		execute(t, 3*time.Minute, "sh", "-c", `cd "$0" && exec "$1" ci --no-audit --no-fund --ignore-scripts`, cache, npm).OK()
		installed()
	}
	everywhere(t, func(t *testing.T, p profile) {
		// Over WebSocket, like a browser with a page from another host.
		const page = "https://app.example.com"
		g := start(t, p, settings{"listeners": []settings{{"type": "tcp", "address": "127.0.0.1:0"},
			{"type": "ws", "address": "127.0.0.1:0", "allowed_origins": []string{page}}}})
		for _, version := range []string{"3.1.1", "5"} {
			for transport, url := range map[string]string{"tcp": "mqtt://" + g.TCP, "ws": "ws://" + g.WS + "/mqtt"} {
				t.Run(transport+"-"+version, func(t *testing.T) {
					out := execute(t, 5*time.Minute, node, filepath.Join(cache, "smoke.js"), url, user, secret,
						g.Topic("node"+transport+version[:1]), version, page).OK()
					require.Equal(t, "ok\n", out)
				})
			}
		}
	})
}
