package limits

import (
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheLimitOfAControlGroupIsFound(t *testing.T) {
	cases := []struct {
		name, self string
		files      map[string]string
		want       int64
	}{
		{"version 2", "0::/a/b\n", map[string]string{"a/memory.max": "1000\n", "a/b/memory.max": "max\n"}, 1000},
		{"the lowest counts", "0::/a/b\n", map[string]string{"a/memory.max": "1000\n", "a/b/memory.max": "500\n"}, 500},
		{"in a container the root is the group", "0::/host/only\n", map[string]string{"memory.max": "700\n"}, 700},
		{"version 1", "5:cpu:/x\n4:memory:/a\n", map[string]string{"memory/a/memory.limit_in_bytes": "300\n"}, 300},
		{"version 1 without a limit", "4:memory:/a\n", map[string]string{"memory/a/memory.limit_in_bytes": "9223372036854771712\n"}, 0},
		{"none", "0::/\n", nil, 0},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			write := func(name, text string) {
				require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700))
				require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
			}
			write("self", tc.self)
			for name, text := range tc.files {
				write(filepath.Join("groups", name), text)
			}
			require.Equal(t, tc.want, group(filepath.Join(dir, "self"), filepath.Join(dir, "groups")))
		})
	}
}

func TestTheMemoryOfTheMachineIsFound(t *testing.T) {
	path := filepath.Join(t.TempDir(), "meminfo")
	require.NoError(t, os.WriteFile(path, []byte("MemTotal:       2048 kB\nMemFree:  1 kB\n"), 0o600))
	require.Equal(t, int64(2<<20), machine(path))
	require.Zero(t, machine(path+".none"))
}

func TestTheConfiguredLimitIsSetUnlessTheEnvironmentHasOne(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(before)
	t.Setenv("GOMEMLIMIT", "")
	require.Equal(t, int64(1<<40), SetMemory(1<<40))
	require.Equal(t, int64(1<<40), debug.SetMemoryLimit(-1))
	t.Setenv("GOMEMLIMIT", "1KiB") // too late for the runtime, whose own limit counts
	require.Equal(t, int64(1<<40), SetMemory(1<<20))
}

func TestTheWatermarkHasAMarginBetweenShortAndNot(t *testing.T) {
	used := int64(0)
	w := &Watermark{inUse: func() int64 { return used }}
	w.SetLimit(1000)
	for _, step := range []struct {
		used int64
		high bool
	}{{800, false}, {860, true}, {800, true}, {740, false}, {800, false}} {
		used = step.used
		was := w.High()
		_, changed := w.Look()
		require.Equal(t, step.high, w.High(), "%d in use", step.used)
		require.Equal(t, was != step.high, changed)
	}
	none := NewWatermark(math.MaxInt64)
	_, _ = none.Look()
	require.False(t, none.High())
	require.Positive(t, inUse())
}
