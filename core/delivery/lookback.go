package delivery

import (
	"context"
	"sync"
	"time"

	"github.com/lmqgate/lmqgate/core/store"
)

// A tail begins at the end of its queues. A message that was retained just before may not show in the metadata yet, and no tail of this
// node brings it. So before the first reader opens, the hub looks back at the last records and reports those with the retain flag.
const (
	// lookBackFor is how far back in time it looks; lookBackRecords bounds the records read from one physical queue. A queue whose last
	// record is older than lookBackFor plus clockSkew costs one record.
	lookBackFor     = 3 * time.Second
	lookBackRecords = 256
	// lookBackReads bounds the physical queues, of all tails, that are read concurrently.
	lookBackReads = 16
)

// lookBack reports the retained records just before the start of a topic's tail.
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
			return // values that the metadata shows later are reported then
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
