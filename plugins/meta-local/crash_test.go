package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// crashFile names the file that TestWriteUntilKilled writes in the child process.
const crashFile = "META_LOCAL_CRASH_FILE"

// TestWriteUntilKilled is the child of TestKillLosesNothingThatWasAcknowledged.
func TestWriteUntilKilled(t *testing.T) {
	path := os.Getenv(crashFile)
	if path == "" {
		t.Skip("only as a child of TestKillLosesNothingThatWasAcknowledged")
	}
	l := activate(t, path)
	for w := range 8 {
		go func() {
			for i := 0; ; i++ {
				if _, err := l.Put(context.Background(), put("a", fmt.Sprintf("%d/%d", w, i), strconv.Itoa(i))); err != nil {
					return
				}
				fmt.Printf("acked %d/%d\n", w, i)
			}
		}()
	}
	select {}
}

func TestKillLosesNothingThatWasAcknowledged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "meta.db")
	for range 3 {
		child := exec.Command(os.Args[0], "-test.run=^TestWriteUntilKilled$")
		child.Env = append(os.Environ(), crashFile+"="+path)
		out, err := child.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, child.Start())
		var acked []string
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var key string
			if n, _ := fmt.Sscanf(lines.Text(), "acked %s", &key); n == 1 {
				acked = append(acked, key)
			}
			if len(acked) == 200 {
				require.NoError(t, child.Process.Kill())
			}
		}
		_ = child.Wait()
		require.GreaterOrEqual(t, len(acked), 200)
		l := newLocal()
		l.path = path
		require.NoError(t, l.Activate(t.Context()))
		for _, key := range acked {
			require.NotEqual(t, "(absent)", value(t, l, "a", key), key)
		}
		require.NoError(t, l.Deactivate(t.Context()))
	}
}
