package local

import (
	"encoding/binary"
	"strconv"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/lmqgate/lmqgate/core/store"
)

const (
	// A group commit ends at this many bytes or appends.
	commitBytes = 2 << 20
	commitOps   = 4096
	// queueCache is the least number of queues whose ids and next offsets the committer remembers. It remembers at most twice as many, plus
	// those of one group.
	queueCache = 32 << 10
)

// committer is the state of the committer goroutine. After load, no other goroutine touches it.
type committer struct {
	nextLog   int64
	lastTime  int64
	lastQueue uint64 // the highest queue id assigned

	// recently used queues in two generations: when young is full, it replaces old.
	young, old map[string]*queueState
	remember   int // capacity of young

	value []byte // scratch
	key   []byte // scratch
}

// queueState is what an append needs to know about a queue.
type queueState struct {
	id   uint64
	next int64
}

func (c *committer) load(s *Store, nextLog, end int64) error {
	c.nextLog = nextLog
	s.reserved.begin(nextLog)
	c.young = map[string]*queueState{}
	c.remember = queueCache
	last, _, err := s.getNumber(keyLastQueue)
	c.lastQueue = last
	if err != nil || end == 0 {
		return err
	}
	value, err := s.get(appendNumber(nil, kindRecord, uint64(end-1)))
	if err == nil && value != nil {
		h, err := decodeHead(value)
		c.lastTime = h.time
		return err
	}
	return err
}

// commitLoop gathers appends and commits them until the queue is closed, when take returns false.
func (s *Store) commitLoop() {
	defer close(s.sealed)
	var spare []*appendOp
	var groups []*sealedBatch
	for {
		ops, heavy, ok := s.append.take(spare[:0], s.pressed)
		if !ok {
			return
		}
		groups = groups[:0]
		for rest := ops; len(rest) > 0; {
			n := groupSize(rest)
			// The batch owns its slice; ops is reused for gathering.
			groups = append(groups, &sealedBatch{ops: append([]*appendOp(nil), rest[:n]...)})
			rest = rest[n:]
		}
		groups[len(groups)-1].heavy = heavy
		clear(ops)
		spare = ops
		s.flight.add(groups)
		for i, b := range groups {
			b.err = s.seal(b)
			s.sealed <- b
			groups[i] = nil
		}
	}
}

// groupSize returns how many of ops go into one batch.
func groupSize(ops []*appendOp) int {
	bytes := 0
	for i, op := range ops {
		bytes += op.size
		if i > 0 && (bytes > commitBytes || i == commitOps) {
			return i
		}
	}
	return len(ops)
}

// seal assigns log places and offsets to the appends and passes them to pebble in one batch.
func (s *Store) seal(b *sealedBatch) error {
	if err := s.build(b); err != nil || b.batch == nil {
		return err
	}
	var err error
	if b.synced {
		err = s.db.ApplyNoSyncWait(b.batch, pebble.Sync)
	} else {
		err = s.db.Apply(b.batch, pebble.NoSync)
	}
	if err == nil && b.ahead > 0 {
		s.reserved.written.Store(b.ahead)
	}
	c := &s.commits
	if len(c.young) > c.remember { // only here: a queue in a batch that is not applied yet could not be loaded again
		c.old, c.young = c.young, make(map[string]*queueState, c.remember)
	}
	return s.writableAfter(err)
}

// build makes the pebble batch. It makes none if the appends have failed meanwhile.
func (s *Store) build(b *sealedBatch) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.answered {
		return nil
	}
	if failure := s.failure.Load(); failure != nil {
		return *failure
	}
	c := &s.commits
	c.lastTime = max(c.lastTime, s.opts.now().UnixMilli())
	b.batch = s.db.NewBatch()
	b.shown = make([]shown, 0, len(b.ops))
	queues := c.lastQueue
	for _, op := range b.ops {
		if op.topic == nil || op.topic.deleted.Load() {
			continue
		}
		if err := c.add(s, b.batch, op); err != nil {
			return s.writableAfter(err) // the counters are ahead of the log: nothing more may be written
		}
		b.shown = append(b.shown, shown{op.topic, op.record})
	}
	b.synced = s.opts.Sync == SyncAlways
	if c.lastQueue != queues {
		b.synced = true // see gaps.go
		if err := b.batch.Set(keyLastQueue, binary.BigEndian.AppendUint64(nil, c.lastQueue), nil); err != nil {
			return err
		}
	}
	if s.opts.Sync == SyncInterval {
		ahead, synced, err := s.reserved.reserve(c.nextLog, b.batch)
		b.ahead, b.synced = ahead, b.synced || synced
		return err
	}
	return nil
}

// add puts one record and its index entries into the batch.
func (c *committer) add(s *Store, batch *pebble.Batch, op *appendOp) error {
	partition, err := c.queue(s, batch, op.topic.partition)
	if err != nil {
		return err
	}
	entries := make([]store.Entry, len(op.queues))
	logPlace := c.nextLog
	for i, name := range op.queues {
		q, err := c.queue(s, batch, name)
		if err != nil {
			return err
		}
		entries[i] = store.Entry{Queue: name, Offset: q.next}
		c.index(batch, q, logPlace)
	}
	offset := partition.next
	c.index(batch, partition, logPlace)
	c.nextLog++

	c.value = appendHead(c.value[:0], head{time: c.lastTime, partition: partition.id, offset: offset})
	c.value = appendEntries(c.value, entries)
	c.value = appendMessage(c.value, op.msg)
	c.key = appendNumber(c.key[:0], kindRecord, uint64(logPlace))
	if err := batch.Set(c.key, c.value, nil); err != nil {
		return err
	}
	if cap(c.value) > commitBytes {
		c.value = nil // do not keep the buffer of a rare large record
	}

	r := &store.Record{Message: *op.msg, Entries: entries}
	r.Created, r.Expires = millis(r.Created), millis(r.Expires) // as a reader from disk sees them
	r.Position.Offset, r.Position.Time = offset, c.lastTime
	s.place(r, logPlace)
	op.record = r
	return nil
}

// place sets the fields of a record that follow from its place in the log.
func (s *Store) place(r *store.Record, logPlace int64) {
	var buf [32]byte
	r.ID = string(strconv.AppendInt(append(append(buf[:0], s.id...), '-'), logPlace, 36))
	r.Position.Broker = Broker
	r.Position.Log = logPlace
}

// index adds a record's entry to a queue.
func (c *committer) index(batch *pebble.Batch, q *queueState, logPlace int64) {
	op := batch.SetDeferred(17, 8)
	key := appendIndex(op.Key[:0], q.id, q.next)
	op.Key = key[:17]
	binary.BigEndian.PutUint64(op.Value, uint64(logPlace))
	_ = op.Finish()
	q.next++
}

// queue returns a queue's state. It loads or creates the queue if necessary.
func (c *committer) queue(s *Store, batch *pebble.Batch, name string) (*queueState, error) {
	if q := c.young[name]; q != nil {
		return q, nil
	}
	q := c.old[name]
	if q == nil {
		c.key = appendName(c.key[:0], kindName, name)
		id, found, err := s.getNumber(c.key)
		if err != nil {
			return nil, err
		}
		q = &queueState{id: id}
		if found {
			if q.next, err = s.nextOffset(id); err != nil {
				return nil, err
			}
		} else {
			c.lastQueue++
			q.id = c.lastQueue
			if err := batch.Set(c.key, binary.BigEndian.AppendUint64(nil, q.id), nil); err != nil {
				return nil, err
			}
		}
	}
	c.young[name] = q
	return q, nil
}

func millis(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return time.UnixMilli(t.UnixMilli())
}
