package local

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/internal/testlog"
)

// Pebble reports corruption with a stack trace of several kilobytes.
func TestErrorsOfTheDiskAreOneShortLine(t *testing.T) {
	dir := t.TempDir()
	s, err := New(Options{Path: dir})
	require.NoError(t, err)
	require.NoError(t, s.Start(t.Context()))
	require.NoError(t, s.CreateTopic(t.Context(), "T", 1))
	for range 40 {
		_, err = put(s, strings.Repeat("x", 1<<10))
		require.NoError(t, err)
	}
	require.NoError(t, s.db.Flush())
	require.NoError(t, s.Close())
	tables, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	require.NoError(t, err)
	require.NotEmpty(t, tables)
	for _, table := range tables {
		text, err := os.ReadFile(table)
		require.NoError(t, err)
		copy(text, bytes.Repeat([]byte{0xff}, len(text)/2)) // overwrite the blocks, but not the footer
		require.NoError(t, os.WriteFile(table, text, 0o600))
	}

	log := &testlog.Buffer{}
	s, err = New(Options{Path: dir, Log: slog.New(slog.NewTextHandler(log, nil))})
	if err == nil {
		require.NoError(t, s.Start(t.Context()))
		_, err = s.Read(t.Context(), store.QueueRef{Queue: "T%a%", Broker: Broker}, 0, 100)
		requireOneShortLine(t, err)
		_, err = put(s, "after")
		requireOneShortLine(t, err)
		_ = s.Close()
	}
	requireOneShortLine(t, err)
	for line := range strings.Lines(log.String()) {
		require.Less(t, len(line), 1000, line)
	}
}

func requireOneShortLine(t *testing.T, err error) {
	t.Helper()
	var out bytes.Buffer
	slog.New(slog.NewTextHandler(&out, nil)).ErrorContext(context.Background(), "refused", "error", err)
	require.Error(t, err)
	require.NotContains(t, err.Error(), "\n")
	require.Less(t, out.Len(), 1000, out.String())
}
