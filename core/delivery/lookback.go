package delivery

import (
	"context"
	"sync"
	"time"

	"github.com/lmqgate/lmqgate/core/store"
)

// A tail begins at the end of its queues, and what was retained just before may not be shown by the metadata yet, nor be brought by any
// tail of this node. So before the first reader opens, the hub looks back at the last records and tells of those with the retain flag.
const (
	// lookBackFor is how far back it looks, and lookBackRecords how many records of one physical queue it takes at most. A queue
	// whose last record is older than lookBackFor, and clocks may differ by, costs one record.
	lookBackFor     = 3 * time.Second
	lookBackRecords = 256
	// lookBackReads bounds the physical queues of all tails that are looked at at a time.
	lookBackReads = 16
)

// lookBack tells of the retained records that a topic's tail begins right behind.
func (h *Hub) lookBack(ctx context.Context, name string, t *tail) {
	ctx, cancel := context.WithTimeout(ctx, h.patience)
	defer cancel()
	var wg sync.WaitGroup
	for p, at := range t.first.at {
		if at.next > 0 {
			wg.Go(func() {
				select {
				case h.looks <- struct{}{}:
					defer func() { <-h.looks }()
					h.lookBackIn(ctx, name, p, at.next, t.began)
				case <-ctx.Done():
				}
			})
		}
	}
	wg.Wait()
}

func (h *Hub) lookBackIn(ctx context.Context, name string, p store.Partition, end int64, began time.Time) {
	var newest int64
	for from, n := end-1, int64(1); from >= 0 && end-from <= lookBackRecords; n = fetchLimit {
		b, err := h.store.ReadPartition(ctx, name, p, from, int(n))
		if err != nil || len(b.Records) == 0 {
			return // what the metadata shows later is told then
		}
		for i, rec := range b.Records {
			if rec.Retain && b.Offsets[i] < end {
				h.retain(rec)
			}
		}
		oldest := b.Records[0].Position.Time
		if newest == 0 {
			newest = oldest
			if newest < began.Add(-lookBackFor-clockSkew).UnixMilli() {
				return
			}
		}
		if from == 0 || oldest < newest-lookBackFor.Milliseconds() {
			return
		}
		from = max(0, from-fetchLimit)
	}
}
