package local

import (
	"context"

	"github.com/lmqgate/lmqgate/core/store"
)

// Cuts implements store.Store. What was acknowledged is on the disk, so this log is never cut.
func (*Store) Cuts(string) int32 { return 0 }

// Mark implements store.Store.
func (*Store) Mark(string, int32) store.Mark { return "" }

// Resume implements store.Store.
func (*Store) Resume(_ context.Context, _ store.QueueRef, next int64, _ store.Mark) (int64, int32, error) {
	return next, 0, nil
}
