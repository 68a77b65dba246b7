package local

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

const (
	// removeRecords is how many records one removal removes.
	removeRecords = 1024
	// removeRange is the number of entries of one queue from which on a range is deleted instead of single entries.
	removeRange = 16
)

// removal is the removal of some records, in log order, with their index entries. It records the next offset of each queue, so that the
// offsets of a queue do not restart when its last entry is removed.
type removal struct {
	s       *Store
	batch   *pebble.Batch
	ids     map[string]uint64
	queues  map[uint64][]int64 // offsets to remove, ascending, by queue id
	records int
	first   int64 // first and last place in the log
	last    int64
}

func (s *Store) newRemoval() *removal {
	return &removal{s: s, batch: s.db.NewBatch(), ids: map[string]uint64{}, queues: map[uint64][]int64{}}
}

// add adds an encoded record to the removal.
func (m *removal) add(logPlace int64, value []byte) error {
	r, h, err := decodeRecord(value)
	if err != nil {
		return m.s.readError(fmt.Errorf("record %d: %w", logPlace, err))
	}
	m.queues[h.partition] = append(m.queues[h.partition], h.offset)
	for i := range r.Entries {
		e := &r.Entries[i]
		id, ok := m.ids[e.Queue]
		if !ok {
			var found bool
			if id, found, err = m.s.queueID(e.Queue); err != nil {
				return err
			}
			if !found {
				continue
			}
			m.ids[string([]byte(e.Queue))] = id // copy: the string shares memory with value
		}
		m.queues[id] = append(m.queues[id], e.Offset)
	}
	if m.records == 0 {
		m.first = logPlace
	}
	m.last = logPlace
	m.records++
	return nil
}

// addEntries adds the removal of the index entries to the batch. all says that every earlier entry of the queues is removed as well.
func (m *removal) addEntries(all bool) error {
	var key []byte
	for id, offsets := range m.queues {
		last := offsets[len(offsets)-1]
		if all && len(offsets) >= removeRange {
			if err := m.batch.DeleteRange(appendIndex(nil, id, 0), appendIndex(nil, id, last+1), nil); err != nil {
				return err
			}
		} else {
			for _, offset := range offsets {
				key = appendIndex(key[:0], id, offset)
				if err := m.batch.Delete(key, nil); err != nil {
					return err
				}
			}
		}
		if err := m.raise(appendNumber(nil, kindNext, id), uint64(last+1)); err != nil {
			return err
		}
	}
	return m.raise(keyNextLog, uint64(m.last+1))
}

// raise stores a lower bound, unless the stored bound is at least as high.
func (m *removal) raise(key []byte, bound uint64) error {
	present, found, err := m.s.getNumber(key)
	if err != nil || found && present >= bound {
		return err
	}
	return m.batch.Set(key, binary.BigEndian.AppendUint64(nil, bound), nil)
}

func (m *removal) deleteRecord(logPlace int64) error {
	return m.batch.Delete(appendNumber(nil, kindRecord, uint64(logPlace)), nil)
}

// removeTopic removes, in steps, a topic that no longer receives appends. If a crash or ctx interrupts it, the topic remains with fewer
// records.
func (s *Store) removeTopic(ctx context.Context, t *topicState) error {
	s.removeMu.Lock()
	defer s.removeMu.Unlock()
	for {
		more, err := s.removeSome(ctx, t)
		if err != nil {
			return err
		}
		if !more {
			break
		}
	}
	b := s.db.NewBatch()
	defer func() { _ = b.Close() }()
	if err := b.Delete(appendName(nil, kindTopic, t.name), nil); err != nil {
		return err
	}
	return s.apply(b, s.writeOptions())
}

func (s *Store) removeSome(ctx context.Context, t *topicState) (more bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	id, found, err := s.queueID(t.partition)
	if err != nil || !found {
		return false, err
	}
	it, err := s.indexIter(id)
	if err != nil {
		return false, err
	}
	m := s.newRemoval()
	defer func() { _ = m.batch.Close() }()
	for ok := it.First(); ok && m.records < removeRecords; ok = it.Next() {
		logPlace, err := s.indexLog(it)
		if err == nil {
			err = m.addAt(logPlace, id, indexOffset(it.Key()))
		}
		if err != nil {
			_ = it.Close()
			return false, err
		}
	}
	if err := it.Close(); err != nil {
		return false, s.readError(err)
	}
	if m.records == 0 {
		return false, nil
	}
	if err := m.addEntries(false); err != nil {
		return false, err
	}
	return true, s.apply(m.batch, pebble.NoSync)
}

// addAt adds the record at a place in the log, and its deletion, to the removal.
func (m *removal) addAt(logPlace int64, partition uint64, offset int64) error {
	value, err := m.s.get(appendNumber(nil, kindRecord, uint64(logPlace)))
	if err != nil {
		return err
	}
	if value == nil { // only the index entry is left
		m.queues[partition] = append(m.queues[partition], offset)
		m.last = logPlace
		m.records++
		return nil
	}
	if err := m.add(logPlace, value); err != nil {
		return err
	}
	return m.deleteRecord(logPlace)
}
