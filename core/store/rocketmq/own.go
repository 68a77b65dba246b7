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
	// hotFor is how long after an own append a partition's tail waits for the next one before it asks the broker. Records of
	// other producers are late by up to this while own ones keep coming.
	hotFor = 5 * time.Millisecond
	// gapFor is how long it waits for an own record before those it has: answers to sends overtake one another.
	gapFor = time.Millisecond
	// ownRecords bounds what is kept for one partition of one tail. What does not fit is pulled.
	ownRecords = 1024
	// visibleFor is how long Bounds waits for a broker to index what this node appended; it takes milliseconds.
	visibleFor = time.Second
)

// own knows what this node appended and the brokers confirmed. A tail takes such records from here instead of pulling back what
// the node has in memory: that spares the broker most of its pulls, and the subscriber the time until the broker has indexed
// the record. Only records without queues are handed over, because brokers do not tell the offsets in those.
//
// It also knows where the brokers' logs end at least: their indexes follow their logs with a delay of milliseconds, and what was
// acknowledged before a tail or a subscription began is not theirs.
type own struct {
	mu      sync.Mutex
	ends    map[ownPartition]*ownEnd
	indexed map[string]*indexedUpTo // by broker
}

type ownPartition struct {
	topic string
	store.Partition
}

// ownEnd is the end of one physical queue as far as own appends tell, with the tails that want own records.
type ownEnd struct {
	mu     sync.Mutex
	next   int64 // after the last own record
	relays []*relay
}

// indexedUpTo is the newest own record with queues on a broker, and whether the broker is known to have indexed it.
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

// forget drops what is known of a topic that was deleted.
func (o *own) forget(topic string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for p, e := range o.ends {
		if p.topic == topic {
			e.distrust()
		}
	}
}

// interrupted notes that the connection to a broker broke. A broker that crashed may have lost what it confirmed and give the same
// offsets again, so nothing is believed to be stored there until it confirms more.
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

// distrust forgets the end of the queue, and what the relays hold: their tails ask the broker.
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

// stored notes a record that a broker confirmed.
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

// relay hands the own records of one physical queue to one tail.
type relay struct {
	end  *ownEnd
	wake chan struct{} // one token: there is something to take

	mu      sync.Mutex
	records map[int64]*store.Record // nil until open
	next    int64                   // what the tail wants next
	last    time.Time               // when the last record came
}

// watch begins a relay that takes nothing yet.
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

// known is the end of the physical queue as far as own appends tell.
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

// take returns the own records from offset on, as far as there is no gap. The tail has everything before offset. wait is how long
// it should wait for more before it asks the broker.
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

// awaitIndex waits until a broker has indexed what this node appended, so that the end of a light message queue is after all that
// was acknowledged here. Brokers index records in the order of their log, and the queues of a record in the order of its dispatch
// set, so the last queue of the newest record tells. A broker that takes too long is not waited for: what it indexes later then
// counts as new.
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
	if err == nil { // else it is gone, with its topic or by retention
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
		if end > last.Offset {
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
