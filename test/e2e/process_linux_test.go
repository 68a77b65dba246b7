package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// dieWithTest makes the kernel kill a process when the test binary dies without stopping it, for instance on a timeout.
func dieWithTest() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

// process is an entry of the process list.
type process struct {
	pid, parent int
	state       string
	exe         string // the executable's path; empty if this user may not see it
}

// processes lists the running processes, including zombies.
func processes(t *testing.T) []process {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	require.NoError(t, err)
	var out []process
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		var p process
		p.pid, _ = strconv.Atoi(filepath.Base(filepath.Dir(path)))
		// The name, in parentheses, may contain any character.
		rest := string(text[strings.LastIndexByte(string(text), ')')+1:])
		if _, err := fmt.Sscan(rest, &p.state, &p.parent); err != nil {
			continue
		}
		p.exe, _ = os.Readlink(filepath.Dir(path) + "/exe")
		out = append(out, p)
	}
	return out
}
