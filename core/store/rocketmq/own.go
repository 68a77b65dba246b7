package rocketmq

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/remoting"
)

const (
	// hotFor is how long a partition's tail waits, after an own append, for the next one before it asks the broker. Records of other
	// producers are delayed by up to this time while own ones keep coming.
	hotFor = 5 * time.Millisecond
	// gapFor is how long it waits for an own record missing before those that it has: answers to sends may overtake one another.
	gapFor = time.Millisecond
	// ownRecords bounds the records kept for one partition of one tail. Records beyond it are pulled.
	ownRecords = 1024
	// visibleFor is how long Bounds waits for a broker to index what this node appended, which normally takes milliseconds.
	visibleFor = time.Second
)

// own holds what this node appended and the brokers confirmed. A tail takes such records from here instead of pulling back what the node
// has in memory. That saves the broker most of the tail's pulls, and saves subscribers the time that the broker takes to index a record.
// Only records without queues are passed on, because brokers do not report the offsets in those queues.
//
// It also tracks a lower bound for the ends of the brokers' logs. Indexes follow the logs with a delay of milliseconds, and a record
// acknowledged before a tail or a subscription began does not belong to that tail or subscription.
type own struct {
	mu      sync.Mutex
	ends    map[ownPartition]*ownEnd
	indexed map[string]*indexedUpTo // by broker
}

type ownPartition struct {
	topic string
	store.Partition
}

// ownEnd is the end of one physical queue as far as own appends show, with the tails that want own records.
type ownEnd struct {
	mu     sync.Mutex
	next   int64 // offset after the last own record
	relays []*relay
}

// indexedUpTo is the newest own record with queues on a broker, and how much the broker is known to have indexed.
type indexedUpTo struct {
	mu      sync.Mutex
	topic   string
	at      store.Position
	checked int64 // log offset up to which everything is known to be indexed
}

func (o *own) end(p ownPartition) *ownEnd {
	o.mu.Lock()
	defer o.mu.Unlock()
	e := o.ends[p]
	if e == nil {
		if o.ends == nil {
			o.ends = make(map[ownPartition]*ownEnd)
		}
		e = &ownEnd{}
		o.ends[p] = e
	}
	return e
}

func (o *own) mark(broker string) *indexedUpTo {
	o.mu.Lock()
	defer o.mu.Unlock()
	m := o.indexed[broker]
	if m == nil {
		if o.indexed == nil {
			o.indexed = make(map[string]*indexedUpTo)
		}
		m = &indexedUpTo{checked: -1}
		o.indexed[broker] = m
	}
	return m
}

// forget drops what is known about a topic that was deleted.
func (o *own) forget(topic string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for p, e := range o.ends {
		if p.topic == topic {
			e.distrust()
		}
	}
}

// interrupted records that the connection to a broker broke. A broker that crashed may have lost confirmed records and may assign the same
// offsets again. So nothing counts as stored there until the broker confirms more.
func (o *own) interrupted(broker string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for p, e := range o.ends {
		if p.Broker == broker {
			e.distrust()
		}
	}
	delete(o.indexed, broker)
}

// distrust forgets the end of the queue and what the relays hold; their tails ask the broker.
func (e *ownEnd) distrust() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.next = 0
	for _, r := range e.relays {
		r.mu.Lock()
		clear(r.records)
		r.last = time.Time{}
		r.mu.Unlock()
	}
}

// stored records a message that a broker confirmed.
func (o *own) stored(id string, a *store.Append, at store.Position) {
	if len(a.Queues) > 0 && at.Log >= 0 {
		m := o.mark(at.Broker)
		m.mu.Lock()
		if at.Log > m.at.Log || m.topic == "" {
			m.topic, m.at = a.Topic, at
		}
		m.mu.Unlock()
	}
	e := o.end(ownPartition{a.Topic, store.Partition{Broker: at.Broker, ID: at.Partition}})
	e.mu.Lock()
	defer e.mu.Unlock()
	e.next = max(e.next, at.Offset+1)
	if len(e.relays) == 0 || len(a.Queues) > 0 {
		return
	}
	rec := &store.Record{Message: *a.Message, ID: id, Position: at}
	for _, r := range e.relays {
		r.offer(at.Offset, rec)
	}
}

// relay passes the own records of one physical queue to one tail.
type relay struct {
	end  *ownEnd
	wake chan struct{} // one token: there are records to take

	mu      sync.Mutex
	records map[int64]*store.Record // nil until the first take
	next    int64                   // the offset that the tail wants next
	last    time.Time               // when the latest record came
}

// watch makes a relay. It accepts nothing until the first take.
func (o *own) watch(topic string, p store.Partition) *relay {
	r := &relay{end: o.end(ownPartition{topic, p}), wake: make(chan struct{}, 1)}
	r.end.mu.Lock()
	defer r.end.mu.Unlock()
	r.end.relays = append(r.end.relays, r)
	return r
}

// close ends the relay.
func (r *relay) close() {
	r.end.mu.Lock()
	defer r.end.mu.Unlock()
	for i, other := range r.end.relays {
		if other == r {
			r.end.relays = append(r.end.relays[:i:i], r.end.relays[i+1:]...)
			return
		}
	}
}

// known returns the end of the physical queue as far as own appends show.
func (r *relay) known() int64 { return r.end.known() }

func (e *ownEnd) known() int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.next
}

func (r *relay) offer(offset int64, rec *store.Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.records == nil || offset < r.next || offset >= r.next+ownRecords {
		return
	}
	r.records[offset] = rec
	r.last = time.Now()
	if offset == r.next {
		select {
		case r.wake <- struct{}{}:
		default:
		}
	}
}

// take returns the own records from offset on, up to the first gap. The tail must have everything before offset. wait is how long the tail
// should wait for more before it asks the broker.
func (r *relay) take(offset int64) (records []*store.Record, wait time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.records == nil {
		r.records = make(map[int64]*store.Record)
	}
	for ; r.next < offset && len(r.records) > 0; r.next++ {
		delete(r.records, r.next)
	}
	r.next = offset
	for rec := r.records[r.next]; rec != nil; rec = r.records[r.next] {
		delete(r.records, r.next)
		r.next++
		records = append(records, rec)
	}
	wait = hotFor
	if len(r.records) > 0 {
		wait = gapFor
	}
	return records, max(0, wait-time.Since(r.last))
}

// awaitIndex waits until a broker has indexed what this node appended, so that the end of a light message queue lies behind everything
// acknowledged here. Brokers index records in log order, and the queues of a record in the order of its dispatch set, so the last queue of
// the newest record shows the progress. It waits at most visibleFor; records that are indexed later then count as new.
func (s *Store) awaitIndex(ctx context.Context, broker, addr string) error {
	m := s.own.mark(broker)
	m.mu.Lock()
	topic, at, checked := m.topic, m.at, m.checked
	m.mu.Unlock()
	if topic == "" || checked >= at.Log {
		return nil
	}
	msg, err := s.client.ViewMessage(ctx, addr, topic, at.Log)
	var refused *remoting.Error
	if err != nil && !errors.As(err, &refused) {
		return err
	}
	var last store.Entry
	if err == nil { // else the record is gone, with its topic or by retention
		if rec, _ := decode(broker, msg); len(rec.Entries) > 0 {
			last = rec.Entries[len(rec.Entries)-1]
		}
	}
	giveUp := time.Now().Add(visibleFor)
	for wait := time.Millisecond; last.Queue != "" && time.Now().Before(giveUp); wait = min(2*wait, 50*time.Millisecond) {
		end, err := s.client.MaxOffset(ctx, addr, lmqPrefix+last.Queue, 0)
		if err != nil {
			return err
		}
		if end > last.Offset || wait >= statedFor && s.indexed(ctx, addr, last.Queue, end-1, at.Log) {
			break
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.checked = max(m.checked, at.Log)
	return nil
}

// statedFor is how long the offset that a record states for a queue is believed to be its place. It lies beyond the place if a producer
// named the queue twice in an earlier record.
const statedFor = 8 * time.Millisecond

// indexed reports whether the record at a place of a queue was stored no earlier than what lies at log in the broker's log.
func (s *Store) indexed(ctx context.Context, addr, queue string, place, log int64) bool {
	if place < 0 {
		return false
	}
	pull, err := s.client.PullMessage(ctx, addr, remoting.PullRequest{Group: pullGroup, Topic: lmqPrefix + queue, Offset: place, Max: 1})
	return err == nil && len(pull.Messages) > 0 && pull.Messages[0].LogOffset >= log
}
