package local

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
)

// With SyncInterval a crash takes the end of the log. Others may know of what is lost: the metadata has the beginnings of subscriptions and
// the positions of retained messages, and clients have messages. So the places in the log and the offsets of lost records are not given
// again. Two facts on disk ensure that:
//
//   - keyAhead is an upper bound of the places in the log that were given so far. It is on disk before a place behind it is acknowledged.
//   - keyGaps is the places that a start found between the end of the log and keyAhead.
//
// A queue lost at most as many offsets as the log lost places. So each queue skips as many offsets as a gap has places, behind its last
// entry before the gap. A batch that names a new queue is synced, so that a queue with lost entries never vanishes itself.

// leastAhead is half of the fewest places in the log that are reserved together. More are reserved if more come: four times as many as came
// between the last two syncs. The largest gap of a crash is as large, and a sleeping session's backlog may seem larger by as much.
const leastAhead = 8 << 10

// reservation is how far places in the log are reserved. The committer reserves places before they run out, so that the periodic sync takes
// the reservation to the disk. Only if places come quicker than before, a batch is synced for it.
type reservation struct {
	// ahead and safe belong to the committer. The places up to ahead are reserved; those up to safe are so on disk before anything further
	// is acknowledged.
	ahead, safe int64

	written atomic.Int64 // the places up to here are reserved in the log
	synced  atomic.Int64 // the same, on disk
	recent  atomic.Int64 // how many places were given between the last two syncs
}

// gap is a run of places in the log that have no record because of a crash.
type gap struct{ at, places int64 }

// gaps are all gaps of a log, in its order.
type gaps []gap

// behind returns how many offsets a queue skips behind an entry whose record is at a place in the log; -1 is a place before every gap.
func (g gaps) behind(logPlace int64) (n int64) {
	for i := len(g) - 1; i >= 0 && g[i].at > logPlace; i-- {
		n += g[i].places
	}
	return n
}

// add adds a gap behind the others.
func (g gaps) add(at, places int64) gaps {
	if n := len(g); n > 0 && g[n-1].at+g[n-1].places == at { // nothing was stored in between
		g[n-1].places += places
		return g
	}
	return append(g, gap{at, places})
}

func (g gaps) encode() []byte {
	b := make([]byte, 0, 16*len(g))
	for _, gap := range g {
		b = binary.BigEndian.AppendUint64(b, uint64(gap.at))
		b = binary.BigEndian.AppendUint64(b, uint64(gap.places))
	}
	return b
}

// loadGaps reads the gaps. If the log ends before the places that were given, that is a new one. It returns the next place in the log.
func (s *Store) loadGaps(end int64) (next int64, err error) {
	value, err := s.get(keyGaps)
	if err == nil && len(value)%16 != 0 {
		err = s.readError(fmt.Errorf("key %q: %w", keyGaps, errCorrupt))
	}
	if err != nil {
		return 0, err
	}
	for ; len(value) > 0; value = value[16:] {
		s.gaps = append(s.gaps, gap{int64(binary.BigEndian.Uint64(value)), int64(binary.BigEndian.Uint64(value[8:]))})
	}
	given, _, err := s.getNumber(keyAhead)
	ahead := int64(given)
	if err != nil || ahead <= end {
		return end, err
	}
	s.opts.Log.Warn("the store was not closed: what was acknowledged in the last interval may be lost", "path", s.opts.Path)
	s.gaps = s.gaps.add(end, ahead-end)
	b := s.db.NewBatch()
	defer func() { _ = b.Close() }()
	_ = b.Set(keyGaps, s.gaps.encode(), nil)
	_ = b.Set(keyNextLog, binary.BigEndian.AppendUint64(nil, given), nil)
	return ahead, s.apply(b, pebble.Sync)
}

// begin sets the next place in the log when the store opens.
func (r *reservation) begin(next int64) { r.ahead, r.safe = next, next }

// reserve reserves places in the log if few are left behind next. It returns up to where; 0: it reserved none. If a batch uses up the last
// places, it must be synced before it is acknowledged. Called by the committer.
func (r *reservation) reserve(next int64, batch *pebble.Batch) (ahead int64, synced bool, err error) {
	r.safe = max(r.safe, r.synced.Load())
	need := max(leastAhead, 2*r.recent.Load())
	synced = next > r.safe
	if !synced && next+need <= r.ahead {
		return 0, false, nil
	}
	r.ahead = next + 2*need
	if synced {
		r.safe = r.ahead // no later batch is acknowledged before this one
	}
	return r.ahead, synced, batch.Set(keyAhead, binary.BigEndian.AppendUint64(nil, uint64(r.ahead)), nil)
}

// sync syncs the log, which had given places so far, and was last synced at a number of places.
func (s *Store) sync(given, last int64) error {
	written := s.reserved.written.Load()
	if err := s.writableAfter(s.db.LogData(nil, pebble.Sync)); err != nil {
		return err
	}
	s.reserved.synced.Store(written)
	s.reserved.recent.Store(given - last)
	return nil
}

// closeLog syncs the log at a close, and notes that it is complete.
func (s *Store) closeLog() error {
	b := s.db.NewBatch()
	defer func() { _ = b.Close() }()
	if err := b.Set(keyAhead, binary.BigEndian.AppendUint64(nil, uint64(s.commits.nextLog)), nil); err != nil {
		return err
	}
	return s.apply(b, pebble.Sync)
}
