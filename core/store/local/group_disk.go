package local

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/lmqgate/lmqgate/core/store"
)

// groupKey is a group's key on disk, without the kind. The lengths prevent one group's key from being a prefix of another's.
func groupKey(g store.Group) []byte {
	key := binary.AppendUvarint(nil, uint64(len(g.Name)))
	key = append(key, g.Name...)
	key = binary.AppendUvarint(key, uint64(len(g.Queue)))
	return append(key, g.Queue...)
}

func (n *groupProgress) floorKey() []byte { return append([]byte{kindGroup}, n.key...) }

func (n *groupProgress) spanPrefix() []byte { return append([]byte{kindSpan}, n.key...) }

func (n *groupProgress) spanKey(first int64) []byte {
	return binary.BigEndian.AppendUint64(n.spanPrefix(), uint64(first))
}

// load reads a group's progress, once. A group without progress begins at the queue's minimum. Called with mu held.
func (n *groupProgress) load(s *Store) error {
	if n.loaded {
		return nil
	}
	floor, _, err := s.getNumber(n.floorKey())
	if err != nil {
		return err
	}
	prefix := n.spanPrefix()
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)})
	if err != nil {
		return s.readError(err)
	}
	var acked spans
	for ok := it.First(); ok; ok = it.Next() {
		value, err := it.ValueAndErr()
		end, good := number(value)
		if err != nil || !good || len(it.Key()) != len(prefix)+8 {
			_ = it.Close()
			return s.readError(fmt.Errorf("progress of group %q: %w", n.g.Name, errCorrupt))
		}
		acked.add(span{int64(binary.BigEndian.Uint64(it.Key()[len(prefix):])), int64(end)}, func(int64) {})
	}
	if err := it.Close(); err != nil {
		return s.readError(err)
	}
	n.begin(int64(floor))
	for _, p := range acked {
		if p.first <= n.floor { // a crash cannot leave such a span; merging it loses nothing
			n.floor, n.next = max(n.floor, p.end), max(n.next, p.end)
			continue
		}
		n.acked = append(n.acked, p)
	}
	return nil
}

// groupBatch is a change of a group on its way to disk.
type groupBatch struct {
	*pebble.Batch
	n *groupProgress
}

// changeGroup makes a change and waits until it is durable or ctx ends. fill is called with the group's mu held and its progress loaded.
func (s *Store) changeGroup(ctx context.Context, n *groupProgress, fill func(*groupBatch) error) error {
	return s.await(ctx, func() error {
		// Changes of one group go to the log in order, like those of one client.
		return s.write(string(n.key), func(b *pebble.Batch) error {
			n.mu.Lock()
			defer n.mu.Unlock()
			if err := n.load(s); err != nil {
				return err
			}
			return fill(&groupBatch{Batch: b, n: n})
		})
	})
}

// setTouched writes the touched spans to disk.
func (b *groupBatch) setTouched() error {
	for first := range b.n.touched {
		key := b.n.spanKey(first)
		var err error
		if i := b.n.acked.find(first); i < len(b.n.acked) && b.n.acked[i].first == first {
			err = b.Set(key, binary.BigEndian.AppendUint64(nil, uint64(b.n.acked[i].end)), nil)
		} else {
			err = b.Delete(key, nil)
		}
		if err != nil {
			return err
		}
	}
	clear(b.n.touched)
	return nil
}

func (b *groupBatch) setFloor() error {
	return b.Set(b.n.floorKey(), binary.BigEndian.AppendUint64(nil, uint64(b.n.floor)), nil)
}

// clear removes the group from disk.
func (b *groupBatch) clear() error {
	prefix := b.n.spanPrefix()
	if err := b.DeleteRange(prefix, after(prefix), nil); err != nil {
		return err
	}
	return b.Delete(b.n.floorKey(), nil)
}
