package local

import (
	"context"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// Backup makes a copy of the store as it is at one moment in a directory that does not exist yet, while the store goes on. What was
// acknowledged before is in it. Files that do not change any more are linked where the file system can, so it is quick and takes little
// room at first; what the store later removes is kept by the copy.
func (s *Store) Backup(ctx context.Context, dir string) error {
	return s.await(ctx, func() error {
		if err := s.db.Checkpoint(dir, pebble.WithFlushedWAL()); err != nil {
			return fmt.Errorf("local store: a copy in %q: %w", dir, inBrief(err))
		}
		return nil
	})
}
