package config

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAGeneratedNodeIDStays(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	first, err := NodeID(dir)
	require.NoError(t, err)
	require.Regexp(t, nodeIDPattern, first)
	second, err := NodeID(dir)
	require.NoError(t, err)
	require.Equal(t, first, second)

	other, err := NodeID(t.TempDir())
	require.NoError(t, err)
	require.NotEqual(t, first, other)

	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1, "nothing is left beside the id")
}

func TestProcessesThatStartAtOnceAgreeOnTheNodeID(t *testing.T) {
	dir := t.TempDir()
	ids := make([]string, 16)
	var group sync.WaitGroup
	for i := range ids {
		group.Go(func() { ids[i], _ = NodeID(dir) })
	}
	group.Wait()
	for _, id := range ids {
		require.NotEmpty(t, id)
		require.Equal(t, ids[0], id)
	}
}

func TestADamagedNodeIDIsAnErrorThatSaysWhatToDo(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, nodeIDFile), []byte("a b\n"), 0o600))
	_, err := NodeID(dir)
	require.ErrorContains(t, err, "delete the file or set node.id")
}
