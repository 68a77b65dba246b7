package local

import (
	"context"

	"github.com/lmqgate/lmqgate/core/store"
)

// Cuts implements store.Store. A crash may take the end of this log, but nothing else takes its places; see
// gaps.go. So the log is never cut.
func (*Store) Cuts(string) int32 { return 0 }

// Mark implements store.Store.
func (*Store) Mark(string, int32) store.Mark { return "" }

// Resume implements store.Store.
func (*Store) Resume(_ context.Context, _ store.QueueRef, next int64, _ store.Mark) (int64, int32, error) {
	return next, 0, nil
}
