package local

import (
	"context"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// Backup copies a snapshot of the store to a directory that must not exist, while the store keeps running. The copy contains everything
// acknowledged before the call. Files that no longer change are hard-linked if the file system supports that, so a backup is quick and
// takes little space at first; the copy keeps data that the store removes later.
func (s *Store) Backup(ctx context.Context, dir string) error {
	return s.await(ctx, func() error {
		if err := s.db.Checkpoint(dir, pebble.WithFlushedWAL()); err != nil {
			return fmt.Errorf("local store: a copy in %q: %w", dir, inBrief(err))
		}
		return nil
	})
}
