// Package wait pauses for a duration, or until a context ends.
package wait

import (
	"context"
	"time"
)

// For waits for d. If ctx ends before, it returns ctx's error.
func For(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
