package local

import (
	"context"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestACopyHasWhatWasAcknowledgedBeforeAndCanBeOpened(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Path: filepath.Join(dir, "store"), MinFree: -1})
	t.Cleanup(func() { _ = s.Close() })
	require.NoError(t, s.CreateTopic(context.Background(), "T", 1))
	var stored atomic.Int64
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			if _, err := put(s, strconv.Itoa(i)); err != nil {
				done <- err
				return
			}
			stored.Add(1)
		}
	}()
	require.Eventually(t, func() bool { return stored.Load() > 50 }, time.Minute, time.Millisecond)
	before := stored.Load()
	require.NoError(t, s.Backup(context.Background(), filepath.Join(dir, "copy")))
	close(stop)
	require.NoError(t, <-done)
	require.ErrorContains(t, s.Backup(context.Background(), filepath.Join(dir, "copy")), "copy", "it is there already")

	c := open(t, Options{Path: filepath.Join(dir, "copy"), MinFree: -1})
	t.Cleanup(func() { _ = c.Close() })
	b, err := c.Bounds(context.Background(), queueA)
	require.NoError(t, err)
	require.GreaterOrEqual(t, b.Max, before)
	require.LessOrEqual(t, b.Max, stored.Load())
	batch, err := c.Read(context.Background(), queueA, b.Max-1, 1)
	require.NoError(t, err)
	require.Equal(t, strconv.FormatInt(b.Max-1, 10), string(batch.Records[0].Payload))
	_, err = put(c, "the copy is a store of its own")
	require.NoError(t, err)
}
