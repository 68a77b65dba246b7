//go:build linux

package pluginhost

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/internal/testlog"
)

func TestAPluginThatPrintsWithoutEndCostsABoundedLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logs := &testlog.Buffer{}
		l := &lineLog{log: slog.New(slog.NewTextHandler(logs, nil))}
		var flood strings.Builder
		for i := range 50_000 {
			fmt.Fprintf(&flood, "line %d %s\n", i, strings.Repeat("x", 200))
		}
		flood.WriteString("cannot find my library\n")
		l.read(strings.NewReader(flood.String()))
		require.Less(t, len(logs.String()), 2<<20)
		require.LessOrEqual(t, strings.Count(logs.String(), "msg=\"line "), outputLines)
		require.Regexp(t, `the plugin prints more than is logged of it" not_written=49\d\d\d`, logs.String())
		tail := l.tail()
		require.Equal(t, "cannot find my library", tail[len(tail)-1], "what explains its end is known all the same")
	})
}

func TestWhatAPluginHasStartedEndsWithIt(t *testing.T) {
	t.Parallel()
	h, _ := newHost(t, "plug-breeds")
	file := filepath.Join(t.TempDir(), "children")
	p := startAuth(t, h, "plug-breeds", map[string]any{"file": file})
	_, err := ask(p, "breed")
	require.NoError(t, err)
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	children := strings.Fields(string(text))
	require.Len(t, children, 20)
	require.NoError(t, syscall.Kill(p.Info().PID, syscall.SIGKILL)) // its children do not notice
	for _, child := range children {
		pid, err := strconv.Atoi(child)
		require.NoError(t, err)
		eventually(t, "child "+child+" is gone", func() bool { return !running(pid) })
	}
}
