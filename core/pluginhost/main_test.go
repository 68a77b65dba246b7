package pluginhost

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/lmqgate/lmqgate/internal/leftover"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
	"github.com/lmqgate/lmqgate/plugins/sdk"
)

// The test binary is its own set of plugins: under a name that begins with "plug-" it serves as that plugin. So the plugins are real
// processes. They run from a second build without the race detector, because a process with it takes several times as long to start, and
// the tests start hundreds.
func TestMain(m *testing.M) {
	name := filepath.Base(os.Args[0])
	if strings.HasPrefix(name, "plug-") {
		servePlugin(name)
		return
	}
	if name == "gate-host" {
		hostUntilKilled()
		return
	}
	goleak.VerifyTestMain(leftover.Patient(m), goleak.Cleanup(func(code int) {
		if built.dir != "" {
			_ = os.RemoveAll(built.dir)
		}
		os.Exit(code)
	}))
}

// built is the binary that is installed as plugins; the first test that needs it builds it.
var built struct {
	once sync.Once
	dir  string
	text []byte
	err  error
}

// pluginBinary returns the path of the binary that serves as every plugin.
func pluginBinary(t testing.TB) string {
	t.Helper()
	built.once.Do(func() {
		//nolint:usetesting // it outlives the first test that wants it; TestMain removes it
		if built.dir, built.err = os.MkdirTemp("", "lmqgate-pluginhost-"); built.err != nil {
			return
		}
		// Stripped, because the host reads the whole file at each start.
		cmd := exec.Command("go", "test", "-c", "-ldflags=-s -w", "-o", filepath.Join(built.dir, "plugin"), ".")
		built.text, built.err = cmd.CombinedOutput()
	})
	require.NoError(t, built.err, "%s", built.text)
	return filepath.Join(built.dir, "plugin")
}

// programs are the programs of other packages that tests start; each is built once.
var programs = struct {
	sync.Mutex
	paths map[string]string
}{paths: make(map[string]string)}

// installProgram puts the program of a package, which a relative path names, into dir under a name.
func installProgram(t testing.TB, pkg, dir, name string) {
	t.Helper()
	within := filepath.Dir(pluginBinary(t)) // TestMain removes it
	programs.Lock()
	defer programs.Unlock()
	if programs.paths[pkg] == "" {
		path := filepath.Join(within, fmt.Sprint("program", len(programs.paths)))
		out, err := exec.Command("go", "build", "-ldflags=-s -w", "-o", path, pkg).CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.NoError(t, os.Chmod(path, 0o755))
		programs.paths[pkg] = path
	}
	require.NoError(t, os.Link(programs.paths[pkg], filepath.Join(dir, name)))
}

// hostUntilKilled is a gateway reduced to its plugin host: it starts the plugins in its working directory and prints their
// process ids.
func hostUntilKilled() {
	h, err := New(Options{Dir: ".", DataDir: ".", ConfigDir: "."})
	if err != nil {
		panic(err)
	}
	for _, name := range []string{"plug-auth", "plug-stubborn"} {
		p, err := h.Start(context.Background(), name, pluginv1.Kind_KIND_AUTH, nil)
		if err != nil {
			panic(err)
		}
		fmt.Fprintln(os.Stdout, p.Info().PID)
	}
	fmt.Fprintln(os.Stdout, h.sockets.path)
	select {}
}

func servePlugin(name string) {
	if versions, ok := strings.CutPrefix(name, "plug-speaks-"); ok {
		serveVersions(name, versions)
		return
	}
	switch name {
	case "plug-exits":
		fmt.Fprintln(os.Stderr, "cannot find my library")
		exit(3)
	case "plug-traceback":
		for i := 1; i <= 30; i++ {
			fmt.Fprintf(os.Stderr, "line %d of my traceback\n", i)
		}
		exit(1)
	case "plug-floods":
		for {
			if _, err := os.Stdout.WriteString(strings.Repeat("x", 4096)); err != nil {
				exit(0)
			}
		}
	case "plug-panics":
		panic("no such database")
	case "plug-slow":
		// Its loading takes longer than the test allows for the start after the handshake.
		time.Sleep(2 * time.Second)
		sdk.ServeAuth(&testAuth{name: name})
	case "plug-silent":
		_, _ = io.Copy(io.Discard, os.Stdin)
		time.Sleep(time.Hour)
	case "plug-babbles":
		fmt.Fprintln(os.Stdout, "hello, I am a program")
		_, _ = io.Copy(io.Discard, os.Stdin)
	case "plug-vanishes":
		fmt.Fprintln(os.Stdout, "1|1|unix|"+os.Getenv("PLUGIN_UNIX_SOCKET_DIR")+"/none|grpc")
		exit(6)
	case "plug-future":
		fmt.Fprintln(os.Stdout, "1|99|unix|/tmp/none|grpc")
		_, _ = io.Copy(io.Discard, os.Stdin)
	case "plug-netrpc":
		fmt.Fprintln(os.Stdout, "1|1|unix|/tmp/none|netrpc")
		_, _ = io.Copy(io.Discard, os.Stdin)
	case "plug-afar":
		fmt.Fprintln(os.Stdout, "1|1|tcp|192.0.2.1:80|grpc")
		_, _ = io.Copy(io.Discard, os.Stdin)
	case "plug-plain":
		os.Unsetenv("PLUGIN_CLIENT_CERT") // so that go-plugin serves without TLS, as plugins in other languages may
		sdk.ServeAuth(&testAuth{name: name})
	case "plug-liar":
		sdk.ServeAuth(&testAuth{name: "somebody-else"})
	case "plug-flood":
		serveFlood(name)
	case "plug-meta", "plug-meta-other":
		sdk.ServeMeta(&testMeta{name: name})
	default:
		sdk.ServeAuth(&testAuth{name: name})
	}
}
