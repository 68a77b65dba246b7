package local

import (
	"bytes"
	"context"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/lmqgate/lmqgate/core/store"
)

const (
	// readBytes ends a read early, so that a batch of large records stays small, in bytes. At least one record is always read.
	readBytes = 4 << 20
	// readDefault is how many records are read if the caller gives no number.
	readDefault = 32
)

// Read reads a queue. See store.Store.
func (s *Store) Read(ctx context.Context, q store.QueueRef, offset int64, n int) (store.Batch, error) {
	if err := s.checkBroker(q.Broker, 0); err != nil {
		return store.Batch{}, err
	}
	if err := s.enter(ctx); err != nil {
		return store.Batch{}, err
	}
	defer s.life.RUnlock()
	id, found, err := s.queueID(q.Queue)
	if err != nil || !found {
		return store.Batch{}, err // all zero: a read at an offset above 0 sees a reset
	}
	return s.readQueue(ctx, id, offset, n)
}

// ReadPartition reads a first-level topic in the order of appends. See store.Store.
func (s *Store) ReadPartition(ctx context.Context, topic string, p store.Partition, offset int64, n int) (store.Batch, error) {
	if err := s.checkBroker(p.Broker, p.ID); err != nil {
		return store.Batch{}, err
	}
	if err := s.enter(ctx); err != nil {
		return store.Batch{}, err
	}
	defer s.life.RUnlock()
	t := s.lookupTopic(topic)
	if t == nil {
		return store.Batch{}, unknownTopic(topic)
	}
	return s.readPartition(ctx, t, offset, n)
}

func (s *Store) readPartition(ctx context.Context, t *topicState, offset int64, n int) (store.Batch, error) {
	id := t.id.Load()
	if id == 0 {
		var found bool
		var err error
		if id, found, err = s.queueID(t.partition); err != nil || !found {
			return store.Batch{}, err
		}
		t.id.Store(id)
	}
	return s.readQueue(ctx, id, offset, n)
}

// Bounds returns a queue's bounds. See store.Store.
func (s *Store) Bounds(ctx context.Context, q store.QueueRef) (store.Bounds, error) {
	if err := s.checkBroker(q.Broker, 0); err != nil {
		return store.Bounds{}, err
	}
	if err := s.enter(ctx); err != nil {
		return store.Bounds{}, err
	}
	defer s.life.RUnlock()
	return s.bounds(q.Queue)
}

// BoundsOn returns the bounds of many queues. See store.Store.
func (s *Store) BoundsOn(ctx context.Context, broker string, queues []string) ([]store.Bounds, error) {
	if err := s.checkBroker(broker, 0); err != nil {
		return nil, err
	}
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.life.RUnlock()
	all := make([]store.Bounds, len(queues))
	for i, queue := range queues {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		var err error
		if all[i], err = s.bounds(queue); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func (s *Store) bounds(queue string) (store.Bounds, error) {
	id, found, err := s.queueID(queue)
	if err != nil || !found {
		return store.Bounds{}, err
	}
	it, err := s.indexIter(id)
	if err != nil {
		return store.Bounds{}, err
	}
	b, _, err := s.iterBounds(it, id, s.visible.Load())
	if closeErr := it.Close(); err == nil && closeErr != nil {
		err = s.readError(closeErr)
	}
	return b, err
}

func (s *Store) checkBroker(broker string, partition int32) error {
	if broker != Broker || partition != 0 {
		return fmt.Errorf("local store: there is no queue %d on broker %q; the only broker is %q, with queue 0", partition, broker, Broker)
	}
	return nil
}

func (s *Store) queueID(name string) (id uint64, found bool, err error) {
	var buf [64]byte
	return s.getNumber(appendName(buf[:0], kindName, name))
}

// indexIter returns an iterator over a queue's entries.
func (s *Store) indexIter(id uint64) (*pebble.Iterator, error) {
	it, err := s.db.NewIter(&pebble.IterOptions{
		LowerBound: appendNumber(nil, kindIndex, id),
		UpperBound: appendNumber(nil, kindIndex, id+1),
	})
	if err != nil {
		return nil, s.readError(err)
	}
	return it, nil
}

// iterBounds returns a queue's visible bounds, and how many offsets it skips behind them because of crashes.
func (s *Store) iterBounds(it *pebble.Iterator, id uint64, visible int64) (b store.Bounds, skips int64, err error) {
	if !it.First() {
		if err := it.Error(); err != nil {
			return store.Bounds{}, 0, s.readError(err)
		}
		// Read this number only after creating the iterator: a removal of the last entries writes both in one batch.
		next, _, err := s.getNumber(appendNumber(nil, kindNext, id))
		return store.Bounds{Min: int64(next), Max: int64(next)}, s.skipped(next), err
	}
	b.Min = indexOffset(it.Key())
	b.Max = b.Min
	for ok := it.Last(); ok; ok = it.Prev() {
		logPlace, err := s.indexLog(it)
		if err != nil {
			return store.Bounds{}, 0, err
		}
		if logPlace < visible {
			b.Max, skips = indexOffset(it.Key())+1, s.gaps.behind(logPlace)
			break
		}
	}
	if err := it.Error(); err != nil {
		return store.Bounds{}, 0, s.readError(err)
	}
	return b, skips, nil
}

func (s *Store) indexLog(it *pebble.Iterator) (int64, error) {
	value, err := it.ValueAndErr()
	if err != nil {
		return 0, s.readError(err)
	}
	n, ok := number(value)
	if !ok {
		return 0, s.readError(fmt.Errorf("index entry %x: %w", it.Key(), errCorrupt))
	}
	return int64(n), nil
}

// nextOffset returns the offset of a queue's next entry, behind the last one, visible or not. Used by the committer.
func (s *Store) nextOffset(id uint64) (int64, error) {
	it, err := s.indexIter(id)
	if err != nil {
		return 0, err
	}
	var last, skipped int64
	if it.Last() {
		logPlace, err := s.indexLog(it)
		if err != nil {
			_ = it.Close()
			return 0, err
		}
		last, skipped = indexOffset(it.Key())+1, s.gaps.behind(logPlace)
	}
	if err := it.Close(); err != nil {
		return 0, s.readError(err)
	}
	next, _, err := s.getNumber(appendNumber(nil, kindNext, id)) // after creating the iterator, as in iterBounds
	if err != nil || int64(next) <= last {
		return last + skipped, err
	}
	return int64(next) + s.skipped(next), nil
}

// skipped returns how many offsets a queue skips whose last entry was removed; next is the offset behind that. The entry may have been
// before every gap.
func (s *Store) skipped(next uint64) int64 {
	if next == 0 {
		return 0 // it never had an entry
	}
	return s.gaps.behind(-1)
}

func (s *Store) readQueue(ctx context.Context, id uint64, offset int64, n int) (batch store.Batch, err error) {
	if n <= 0 {
		n = readDefault
	}
	visible := s.visible.Load()
	it, err := s.indexIter(id)
	if err != nil {
		return store.Batch{}, err
	}
	reader := recordReader{s: s}
	defer func() {
		if closeErr := it.Close(); err == nil && closeErr != nil {
			err = s.readError(closeErr)
		}
		reader.close()
	}()
	b, skips, err := s.iterBounds(it, id, visible)
	if err != nil {
		return store.Batch{}, err
	}
	batch.Min, batch.Max = b.Min, b.Max
	if offset < b.Min && len(s.gaps) > 0 {
		// Offsets that were skipped behind the last entry that retention has removed are not lost to retention.
		removed, _, err := s.getNumber(appendNumber(nil, kindNext, id))
		if err != nil {
			return store.Batch{}, err
		}
		batch.Min = min(b.Min, int64(removed))
	}
	if offset > b.Max {
		if offset > b.Max+skips {
			batch.Next = b.Min
			return batch, nil
		}
		batch.Max += skips // a crash has taken what was before the offset; the queue goes on behind the gap
		batch.Next = batch.Max
		return batch, nil
	}
	batch.Next = max(offset, b.Min)
	if batch.Next >= b.Max {
		return batch, nil
	}
	size := 0
	for ok := it.SeekGE(appendIndex(nil, id, batch.Next)); ok; ok = it.Next() {
		logPlace, err := s.indexLog(it)
		if err != nil {
			return store.Batch{}, err
		}
		if logPlace >= visible {
			break
		}
		if len(batch.Records) == n || size >= readBytes {
			return batch, nil
		}
		if err := ctx.Err(); err != nil {
			return store.Batch{}, err
		}
		r, err := reader.read(logPlace)
		if err != nil {
			return store.Batch{}, err
		}
		at := indexOffset(it.Key())
		batch.Next = at + 1
		if r == nil {
			continue // retention has just removed it
		}
		if batch.Records == nil {
			room := min(int64(n), b.Max-at)
			batch.Records = make([]*store.Record, 0, room)
			batch.Offsets = make([]int64, 0, room)
		}
		batch.Records = append(batch.Records, r)
		batch.Offsets = append(batch.Offsets, at)
		size += len(r.Payload) + len(r.Topic)
	}
	if err := it.Error(); err != nil {
		return store.Batch{}, s.readError(err)
	}
	batch.Next = max(batch.Next, batch.Max)
	return batch, nil
}

// recordReader reads records by their place in the log. Recent records come from memory.
type recordReader struct {
	s   *Store
	it  *pebble.Iterator
	key []byte
}

// read returns a record; nil if it was removed.
func (r *recordReader) read(logPlace int64) (*store.Record, error) {
	if rec := r.s.recent.get(logPlace); rec != nil {
		return rec, nil
	}
	if r.it == nil {
		it, err := r.s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{kindRecord}, UpperBound: []byte{kindRecord + 1}})
		if err != nil {
			return nil, r.s.readError(err)
		}
		r.it = it
	}
	r.key = appendNumber(r.key[:0], kindRecord, uint64(logPlace))
	if !r.it.SeekGE(r.key) || !bytes.Equal(r.it.Key(), r.key) {
		if err := r.it.Error(); err != nil {
			return nil, r.s.readError(err)
		}
		return nil, nil
	}
	value, err := r.it.ValueAndErr()
	if err != nil {
		return nil, r.s.readError(err)
	}
	rec, _, err := decodeRecord(bytes.Clone(value))
	if err != nil {
		return nil, r.s.readError(fmt.Errorf("record %d: %w", logPlace, err))
	}
	r.s.place(rec, logPlace)
	return rec, nil
}

func (r *recordReader) close() {
	if r.it != nil {
		_ = r.it.Close()
	}
}

// endOfLog returns the log place of the next record.
func (s *Store) endOfLog() (int64, error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{kindRecord}, UpperBound: []byte{kindRecord + 1}})
	if err != nil {
		return 0, s.readError(err)
	}
	var end int64
	if it.Last() {
		end = recordLog(it.Key()) + 1
	}
	if err := it.Close(); err != nil {
		return 0, s.readError(err)
	}
	floor, _, err := s.getNumber(keyNextLog)
	return max(end, int64(floor)), err
}
