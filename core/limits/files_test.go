package limits

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestConnectionsLeaveFilesForEverythingElse(t *testing.T) {
	for files, want := range map[uint64]int{0: 0, 1024: 896, 4096: 3584, 16384: 14336, 1 << 20: 1<<20 - 2048, 1<<31 - 1: 1<<31 - 1 - 2048,
		1 << 31: 0, 1<<64 - 1: 0} {
		require.Equal(t, want, ConnectionsOf(files), "%d files", files)
	}
}
