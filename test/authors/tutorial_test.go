package authors

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// tutorial is the chapter of docs/plugins.md that is run.
const tutorial = "\n## A plugin in fifteen minutes\n"

// limit bounds the whole tutorial; it takes about a minute, most of it to fetch and compile.
const limit = 8 * time.Minute

// step is a block of commands of the tutorial, and the output that it shows for it.
type step struct {
	commands string
	shows    []string
}

// steps reads the blocks of the tutorial, in order.
func steps(t *testing.T) []step {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(root(t), "docs", "plugins.md"))
	require.NoError(t, err)
	_, chapter, found := strings.Cut(string(page), tutorial)
	require.True(t, found)
	chapter, _, _ = strings.Cut(chapter, "\n## ")
	var out []step
	for {
		_, rest, more := strings.Cut(chapter, "\n```")
		if !more {
			return out
		}
		block, after, closed := strings.Cut(rest, "\n```\n")
		require.True(t, closed, "a block is not closed")
		language, text, _ := strings.Cut(block, "\n")
		switch language {
		case "sh":
			out = append(out, step{commands: text})
		case "text":
			require.NotEmpty(t, out, "output without commands")
			out[len(out)-1].shows = strings.Split(text, "\n")
		default:
			t.Fatalf("the tutorial has a block of %q, which nothing runs", language)
		}
		chapter = "\n" + after
	}
}

// TestTheTutorialRunsAsItIsWritten runs the blocks in one shell, in an empty directory, with the results of `make build` first on the PATH,
// and compares the output with what the page shows after each block.
func TestTheTutorialRunsAsItIsWritten(t *testing.T) {
	t.Parallel()
	need(t, "bash", "make", "git", "python3")
	all := steps(t)
	require.Greater(t, len(all), 5)
	var script strings.Builder
	script.WriteString("set -eu\ntrap 'jobs -p | xargs -r kill' EXIT\n")
	const mark = "=== step "
	for _, s := range all {
		script.WriteString("echo '" + mark + "'\n" + s.commands + "\n")
	}
	dir := t.TempDir()
	// Other tests must not see what the tutorial installs, so it gets its own copy of the binaries.
	mine := filepath.Join(dir, "bin")
	in(t, dir, "cp", "-a", bin, mine)
	work := filepath.Join(dir, "work")
	require.NoError(t, os.Mkdir(work, 0o755))
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", script.String())
	cmd.Dir, cmd.WaitDelay = work, 5*time.Second
	// A gateway that the script started in the background ends with the script in any case.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Env = append(os.Environ(), "PATH="+mine+string(os.PathListSeparator)+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	logs := ""
	for _, name := range []string{"auth-shop", "auth-till"} {
		text, _ := os.ReadFile(filepath.Join(work, name, "serve.log"))
		logs += "\n" + name + "/serve.log:\n" + string(text)
	}
	require.NoError(t, err, "%s%s", out, logs)
	parts := strings.Split(string(out), mark+"\n")[1:]
	require.Len(t, parts, len(all))
	for i, s := range all {
		for _, line := range s.shows {
			shown := strings.ReplaceAll(regexp.QuoteMeta(line), `\.\.\.`, ".*") // "..." on the page matches anything
			require.Regexp(t, shown, parts[i], "step %d:\n%s", i+1, s.commands)
		}
	}
}
