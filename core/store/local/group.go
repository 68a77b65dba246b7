package local

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/lmqgate/lmqgate/core/store"
)

// A group has a floor, below which everything is acknowledged, and spans of acknowledged offsets above it. Both are on disk. The records
// handed out, and their visibility timeouts, are in memory only: after a restart nobody holds a record any more, so records are handed out
// again.

// groups are the groups that were used since the store was started.
type groups struct {
	mu     sync.Mutex
	byName map[store.Group]*groupProgress
	queues map[string][]*groupProgress
}

// groupProgress is one group's state.
type groupProgress struct {
	g   store.Group
	key []byte // its key on disk, without the kind

	mu      sync.Mutex // held during reads of the database, never while waiting
	loaded  bool
	floor   int64              // everything below is acknowledged
	acked   spans              // acknowledged, above floor
	touched map[int64]struct{} // first offsets of spans that differ from those on disk
	next    int64              // the first offset that was never handed out
	out     map[int64]handedOut
	back    []int64            // to be handed out again
	again   map[int64]struct{} // offsets in out or back that were handed out before
	serial  uint64             // of the last lease
	soonest time.Time          // no lease ends earlier

	wakeMu sync.Mutex
	more   chan struct{} // closed when there may be more to hand out
}

// handedOut is the lease of a record.
type handedOut struct {
	serial uint64
	until  time.Time
}

// of returns the state of a group. It creates the state if necessary.
func (gs *groups) of(g store.Group) *groupProgress {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	if have := gs.byName[g]; have != nil {
		return have
	}
	if gs.byName == nil {
		gs.byName, gs.queues = make(map[store.Group]*groupProgress), make(map[string][]*groupProgress)
	}
	n := newGroupProgress(g)
	gs.byName[g] = n
	gs.queues[g.Queue] = append(gs.queues[g.Queue], n)
	return n
}

func newGroupProgress(g store.Group) *groupProgress {
	return &groupProgress{
		g:       g,
		key:     groupKey(g),
		out:     map[int64]handedOut{},
		again:   map[int64]struct{}{},
		touched: map[int64]struct{}{},
		more:    make(chan struct{}),
		// Receipts from before a restart must not match.
		serial: uint64(time.Now().UnixNano()),
	}
}

// peek returns the state of a group for reading only. State of a group that was not used since the start is not kept.
func (gs *groups) peek(g store.Group) *groupProgress {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	if have := gs.byName[g]; have != nil {
		return have
	}
	return newGroupProgress(g)
}

// forget drops the state of a group.
func (gs *groups) forget(n *groupProgress) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	if gs.byName[n.g] != n {
		return
	}
	delete(gs.byName, n.g)
	rest := make([]*groupProgress, 0, len(gs.queues[n.g.Queue]))
	for _, other := range gs.queues[n.g.Queue] {
		if other != n {
			rest = append(rest, other)
		}
	}
	if gs.queues[n.g.Queue] = rest; len(rest) == 0 {
		delete(gs.queues, n.g.Queue)
	}
}

// offer wakes the groups of a record's queues. It is called when the record becomes visible.
func (gs *groups) offer(r *store.Record) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	if len(gs.queues) == 0 {
		return
	}
	for i := range r.Entries {
		for _, n := range gs.queues[r.Entries[i].Queue] {
			n.wake()
		}
	}
}

func (n *groupProgress) wake() {
	n.wakeMu.Lock()
	defer n.wakeMu.Unlock()
	close(n.more)
	n.more = make(chan struct{})
}

func (n *groupProgress) waiter() <-chan struct{} {
	n.wakeMu.Lock()
	defer n.wakeMu.Unlock()
	return n.more
}

// begin drops all leases and starts at an offset. Called with mu held.
func (n *groupProgress) begin(at int64) {
	n.floor, n.next, n.acked, n.back, n.loaded = at, at, nil, nil, true
	n.soonest = time.Time{}
	clear(n.out)
	clear(n.again)
	clear(n.touched)
}

// PlaceGroup makes a group begin at an offset. See store.Store.
func (s *Store) PlaceGroup(ctx context.Context, g store.Group, offset int64) error {
	if err := s.checkBroker(g.Broker, 0); err != nil {
		return err
	}
	n := s.groups.of(g)
	defer n.wake()
	return s.changeGroup(ctx, n, func(b *groupBatch) error {
		if err := b.clear(); err != nil {
			return err
		}
		n.begin(offset)
		return b.setFloor()
	})
}

// EndGroup removes a group. See store.Store.
func (s *Store) EndGroup(ctx context.Context, g store.Group) error {
	if err := s.checkBroker(g.Broker, 0); err != nil {
		return err
	}
	n := s.groups.of(g)
	err := s.changeGroup(ctx, n, func(b *groupBatch) error {
		n.begin(0)
		n.loaded = false
		return b.clear()
	})
	if err == nil {
		s.groups.forget(n)
	}
	return err
}

// GroupLeft returns how many records a group has still to handle. See store.Store.
func (s *Store) GroupLeft(ctx context.Context, g store.Group) (int64, error) {
	if err := s.checkBroker(g.Broker, 0); err != nil {
		return 0, err
	}
	if err := s.enter(ctx); err != nil {
		return 0, err
	}
	defer s.life.RUnlock()
	b, err := s.bounds(g.Queue)
	if err != nil {
		return 0, err
	}
	n := s.groups.peek(g)
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.load(s); err != nil {
		return 0, err
	}
	if n.floor > b.Max { // the queue was recreated
		return b.Max - b.Min, nil
	}
	from := max(n.floor, b.Min)
	left := b.Max - from
	for _, p := range n.acked {
		left -= max(0, min(p.end, b.Max)-max(p.first, from))
	}
	return max(0, left), nil
}

// Pop hands out records of a group. See store.Store.
func (s *Store) Pop(ctx context.Context, g store.Group, limit int, hidden, wait time.Duration) ([]store.Handout, error) {
	if err := s.checkBroker(g.Broker, 0); err != nil {
		return nil, err
	}
	n := s.groups.of(g)
	deadline := time.Now().Add(wait)
	for {
		more := n.waiter()
		out, soonest, err := s.pop(ctx, n, limit, hidden)
		left := time.Until(deadline)
		if err != nil || len(out) > 0 || left <= 0 {
			return out, err
		}
		if !soonest.IsZero() {
			left = min(left, max(time.Until(soonest), time.Millisecond))
		}
		t := time.NewTimer(left)
		select {
		case <-more:
		case <-t.C:
		case <-ctx.Done():
			err = ctx.Err()
		case <-s.stop:
			err = store.ErrClosed
		}
		t.Stop()
		if err != nil {
			return nil, err
		}
	}
}

// pop hands out the available records, and returns when the first lease ends.
func (s *Store) pop(ctx context.Context, n *groupProgress, limit int, hidden time.Duration) ([]store.Handout, time.Time, error) {
	if err := s.enter(ctx); err != nil {
		return nil, time.Time{}, err
	}
	defer s.life.RUnlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.load(s); err != nil {
		return nil, time.Time{}, err
	}
	now := time.Now()
	n.expire(now)
	id, found, err := s.queueID(n.g.Queue)
	if err != nil || !found {
		return nil, time.Time{}, err
	}
	limit = max(limit, 1)
	out := make([]store.Handout, 0, min(limit, 64))
	hand := func(at int64, r *store.Record) {
		n.serial++
		_, again := n.again[at]
		n.again[at] = struct{}{}
		until := now.Add(hidden)
		n.out[at] = handedOut{n.serial, until}
		if n.soonest.IsZero() || until.Before(n.soonest) {
			n.soonest = until
		}
		out = append(out, store.Handout{Record: r, Receipt: receipt(at, n.serial), Again: again})
	}
	for len(n.back) > 0 && len(out) < limit {
		at := n.back[0]
		batch, err := s.readQueue(ctx, id, at, 1)
		if err != nil {
			return out, n.soonest, nonEmpty(out, err)
		}
		n.back = n.back[1:]
		if len(batch.Records) == 0 || batch.Offsets[0] != at {
			n.gone(span{at, at + 1})
			delete(n.again, at)
			continue
		}
		hand(at, batch.Records[0])
	}
	for len(out) < limit {
		n.next = n.acked.skip(n.next)
		batch, err := s.readQueue(ctx, id, n.next, limit-len(out))
		if err != nil {
			return out, n.soonest, nonEmpty(out, err)
		}
		if batch.Next == n.next {
			break
		}
		if batch.Next < n.next { // the queue was recreated
			n.begin(batch.Next)
			continue
		}
		from := n.next
		for i, r := range batch.Records {
			at := batch.Offsets[i]
			n.gone(span{from, at})
			from = at + 1
			if !n.acked.has(at) && at >= n.floor {
				hand(at, r)
			}
		}
		n.gone(span{from, batch.Next})
		n.next = batch.Next
	}
	return out, n.soonest, nil
}

// nonEmpty drops an error if records are handed out, because those must reach the caller.
func nonEmpty(out []store.Handout, err error) error {
	if len(out) > 0 {
		return nil
	}
	return err
}

// expire takes back leases whose visibility timeout has passed. Called with mu held.
func (n *groupProgress) expire(now time.Time) {
	if n.soonest.IsZero() || now.Before(n.soonest) {
		return
	}
	n.soonest = time.Time{}
	for at, l := range n.out {
		switch {
		case !now.Before(l.until):
			delete(n.out, at)
			n.back = append(n.back, at)
		case n.soonest.IsZero() || l.until.Before(n.soonest):
			n.soonest = l.until
		}
	}
}

// gone records offsets that no longer hold a record; they count as acknowledged. This reaches the disk with the next acknowledgement, or is
// found again after a restart. Called with mu held.
func (n *groupProgress) gone(p span) {
	n.acked.add(span{max(p.first, n.floor), p.end}, n.touch)
}

// touch marks a span to be written or removed on disk. Called with mu held.
func (n *groupProgress) touch(first int64) { n.touched[first] = struct{}{} }

// PopAck acknowledges records, as durably as an append. See store.Store.
func (s *Store) PopAck(ctx context.Context, g store.Group, receipts []string) error {
	if err := s.checkBroker(g.Broker, 0); err != nil {
		return err
	}
	n := s.groups.of(g)
	return s.changeGroup(ctx, n, func(b *groupBatch) error {
		for _, text := range receipts {
			at, serial, err := parseReceipt(text)
			if err != nil {
				return err
			}
			if l, ok := n.out[at]; !ok || l.serial != serial {
				continue // its visibility timeout has passed
			}
			delete(n.out, at)
			delete(n.again, at)
			n.acked.add(span{at, at + 1}, n.touch)
		}
		if len(n.acked) > 0 && n.acked[0].first <= n.floor {
			n.touch(n.acked[0].first)
			n.floor = n.acked[0].end
			n.acked = n.acked[1:]
			if err := b.setFloor(); err != nil {
				return err
			}
		}
		return b.setTouched()
	})
}

// PopHide sets the visibility timeout of records. See store.Store.
func (s *Store) PopHide(ctx context.Context, g store.Group, receipts []string, hidden time.Duration) ([]string, error) {
	if err := s.checkBroker(g.Broker, 0); err != nil {
		return nil, err
	}
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.life.RUnlock()
	n := s.groups.of(g)
	n.mu.Lock()
	defer n.mu.Unlock()
	next := make([]string, len(receipts))
	until := time.Now().Add(hidden)
	for i, text := range receipts {
		at, serial, err := parseReceipt(text)
		if err != nil {
			return nil, err
		}
		l, ok := n.out[at]
		switch {
		case !ok || l.serial != serial:
			continue
		case hidden <= 0:
			delete(n.out, at)
			n.back = append(n.back, at)
		default:
			l.until = until
			n.out[at] = l
			next[i] = text
			if n.soonest.IsZero() || until.Before(n.soonest) {
				n.soonest = until
			}
		}
	}
	if len(n.back) > 0 {
		n.wake()
	}
	return next, nil
}

// receipt identifies one handout of a record.
func receipt(at int64, serial uint64) string {
	return strconv.FormatInt(at, 10) + "-" + strconv.FormatUint(serial, 36)
}

var errReceipt = errors.New("not a receipt of this store")

func parseReceipt(text string) (at int64, serial uint64, err error) {
	first, rest, ok := strings.Cut(text, "-")
	at, err = strconv.ParseInt(first, 10, 64)
	if err == nil && ok {
		serial, err = strconv.ParseUint(rest, 36, 64)
	}
	if err != nil || !ok {
		return 0, 0, fmt.Errorf("local store: %q: %w", text, errReceipt)
	}
	return at, serial, nil
}
