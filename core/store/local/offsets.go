package local

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/maphash"

	"github.com/cockroachdb/pebble/v2"
	"github.com/lmqgate/lmqgate/core/store"
)

var epochSeed = maphash.MakeSeed()

// Commit records a client's progress, as durably as an append. See store.Store.
func (s *Store) Commit(ctx context.Context, client string, epoch int64, offsets []store.Offset) error {
	for i := range offsets {
		if err := s.checkBroker(offsets[i].Broker, 0); err != nil {
			return err
		}
	}
	return s.change(ctx, client, func(b *pebble.Batch) error {
		key := appendName(nil, kindEpoch, client)
		last, found, err := s.getNumber(key)
		if err != nil {
			return err
		}
		if found && epoch < int64(last) {
			return fmt.Errorf(
				"local store: client %q commits with epoch %d, the last was %d: %w",
				client,
				epoch,
				int64(last),
				store.ErrStaleEpoch,
			)
		}
		if !found || epoch != int64(last) {
			_ = b.Set(key, binary.BigEndian.AppendUint64(nil, uint64(epoch)), nil)
		}
		key = appendCommitPrefix(key[:0], client)
		prefix := len(key)
		var value [8]byte
		for i := range offsets {
			key = append(key[:prefix], offsets[i].Queue...)
			binary.BigEndian.PutUint64(value[:], uint64(offsets[i].Next))
			if err := b.Set(key, value[:], nil); err != nil {
				return err
			}
		}
		return nil
	})
}

// change changes one client's offsets and waits until the change is durable or ctx ends.
func (s *Store) change(ctx context.Context, client string, fill func(*pebble.Batch) error) error {
	return s.await(ctx, func() error { return s.write(client, fill) })
}

// write applies a change. Changes of one client exclude each other until they are in the log, so they keep their order; they are synced
// together.
func (s *Store) write(client string, fill func(*pebble.Batch) error) error {
	if failure := s.failure.Load(); failure != nil {
		return *failure
	}
	b := s.db.NewBatch()
	lock := &s.epochs[maphash.String(epochSeed, client)%uint64(len(s.epochs))]
	lock.Lock()
	err := fill(b)
	if err != nil || b.Empty() {
		lock.Unlock()
		_ = b.Close()
		return err
	}
	if s.opts.Sync == SyncAlways {
		err = s.writableAfter(s.db.ApplyNoSyncWait(b, pebble.Sync))
		lock.Unlock()
		if err == nil {
			err = s.writableAfter(b.SyncWait())
		}
	} else {
		err = s.apply(b, pebble.NoSync)
		lock.Unlock()
	}
	if err != nil {
		return err // pebble may still be using the batch
	}
	return inBrief(b.Close())
}

// Committed returns a client's offsets. See store.Store.
func (s *Store) Committed(ctx context.Context, client string, queues []store.QueueRef) ([]store.Offset, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.life.RUnlock()
	key := appendCommitPrefix(nil, client)
	prefix := len(key)
	var offsets []store.Offset
	for _, q := range queues {
		if err := s.checkBroker(q.Broker, 0); err != nil {
			return nil, err
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		key = append(key[:prefix], q.Queue...)
		next, found, err := s.getNumber(key)
		if err != nil {
			return nil, err
		}
		if found {
			offsets = append(offsets, store.Offset{QueueRef: q, Next: int64(next)})
		}
	}
	return offsets, nil
}

// Forget removes a client's offsets of the queues. When the last offset is removed, the client's epoch is removed too. See store.Store.
func (s *Store) Forget(ctx context.Context, client string, queues []store.QueueRef) error {
	forget := make(map[string]struct{}, len(queues))
	for _, q := range queues {
		if err := s.checkBroker(q.Broker, 0); err != nil {
			return err
		}
		forget[q.Queue] = struct{}{}
	}
	return s.change(ctx, client, func(b *pebble.Batch) error {
		prefix := appendCommitPrefix(nil, client)
		it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)})
		if err != nil {
			return s.readError(err)
		}
		others := false
		for ok := it.First(); ok; ok = it.Next() {
			if _, ok := forget[string(it.Key()[len(prefix):])]; !ok {
				others = true
				continue
			}
			if err := b.Delete(it.Key(), nil); err != nil {
				return err
			}
		}
		if err := it.Close(); err != nil {
			return s.readError(err)
		}
		if !others && !b.Empty() {
			return b.Delete(appendName(nil, kindEpoch, client), nil)
		}
		return nil
	})
}

// after returns the smallest key greater than all keys with the prefix. A prefix starts with a kind, so it is never all 0xff.
func after(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; ; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
}
