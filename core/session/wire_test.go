package session

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/lmqgate/lmqgate/core/store"
)

// gate is what calls pass on their way. Once it is dead it stays so.
type gate struct {
	mu      sync.Mutex
	state   linkState
	changed chan struct{} // closed at each change of state
}

type linkState int

const (
	linkWhole   linkState = iota
	linkHangs             // calls wait
	linkRefuses           // calls fail
	linkDead              // calls fail for good
)

func newGate() gate { return gate{changed: make(chan struct{})} }

// set changes the state. It returns false if the gate is dead.
func (g *gate) set(to linkState) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.state == linkDead {
		return false
	}
	g.state = to
	close(g.changed)
	g.changed = make(chan struct{})
	return true
}

func (g *gate) at() linkState {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.state
}

var errShut = errors.New("calls fail")

// pass waits while calls have to wait. It returns errShut where they fail.
func (g *gate) pass(ctx context.Context) error {
	for {
		g.mu.Lock()
		state, changed := g.state, g.changed
		g.mu.Unlock()
		switch state {
		case linkWhole:
			return nil
		case linkHangs:
		default:
			return errShut
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// wire is a node's way to a store that other nodes use as well. It can be cut and mended. While it is cut, requests and answers wait; an
// append that meets the cut is lost. Once the wire is dead, as after a crash, nothing passes any more.
type wire struct {
	store.Store
	gate gate
}

var _ store.Store = (*wire)(nil)

func newWire(s store.Store) *wire { return &wire{Store: s, gate: newGate()} }

func (l *wire) cut() { l.gate.set(linkHangs) }

func (l *wire) mend() { l.gate.set(linkWhole) }

func (l *wire) kill() { l.gate.set(linkDead) }

var errCut = fmt.Errorf("the link is cut: %w", store.ErrUnavailable)

// now reports whether the wire is whole, without waiting.
func (l *wire) now() bool { return l.gate.at() == linkWhole }

// pass waits until the wire is whole.
func (l *wire) pass(ctx context.Context) error {
	err := l.gate.pass(ctx)
	if errors.Is(err, errShut) {
		return errCut
	}
	return err
}

// Limits says that others append as well.
func (l *wire) Limits() store.Limits {
	limits := l.Store.Limits()
	limits.Exclusive = false
	return limits
}

func (l *wire) Append(ctx context.Context, a store.Append, done func(store.Position, error)) {
	if !l.now() {
		go func() { done(store.Position{}, l.lost(ctx)) }()
		return
	}
	l.Store.Append(ctx, a, func(p store.Position, err error) { l.answer(ctx, err, func(err error) { done(p, err) }) })
}

func (l *wire) AppendBatch(ctx context.Context, batch []store.Append, done func(int, store.Position, error)) {
	if !l.now() {
		go func() { done(1, store.Position{}, l.lost(ctx)) }()
		return
	}
	l.Store.AppendBatch(ctx, batch, func(n int, p store.Position, err error) {
		l.answer(ctx, err, func(err error) { done(n, p, err) })
	})
}

// lost waits until a request that was lost is known to be lost.
func (l *wire) lost(ctx context.Context) error {
	if err := l.pass(ctx); err != nil {
		return err
	}
	return errCut
}

// answer passes an answer on once the link is whole. The process of a dead link learns nothing.
func (l *wire) answer(ctx context.Context, err error, done func(error)) {
	if l.now() {
		done(err)
		return
	}
	go func() {
		if late := l.pass(ctx); late != nil {
			err = late
		}
		done(err)
	}()
}

// through calls f while the link is whole, and returns when the answer could pass as well.
func through[T any](ctx context.Context, l *wire, f func() (T, error)) (T, error) {
	var none T
	if err := l.pass(ctx); err != nil {
		return none, err
	}
	v, err := f()
	if late := l.pass(ctx); late != nil {
		return none, late
	}
	return v, err
}

func (l *wire) only(ctx context.Context, f func() error) error {
	_, err := through(ctx, l, func() (struct{}, error) { return struct{}{}, f() })
	return err
}

func (l *wire) Read(ctx context.Context, q store.QueueRef, offset int64, n int) (store.Batch, error) {
	return through(ctx, l, func() (store.Batch, error) { return l.Store.Read(ctx, q, offset, n) })
}

func (l *wire) ReadPartition(ctx context.Context, topic string, p store.Partition, offset int64, n int) (store.Batch, error) {
	return through(ctx, l, func() (store.Batch, error) { return l.Store.ReadPartition(ctx, topic, p, offset, n) })
}

func (l *wire) Bounds(ctx context.Context, q store.QueueRef) (store.Bounds, error) {
	return through(ctx, l, func() (store.Bounds, error) { return l.Store.Bounds(ctx, q) })
}

func (l *wire) BoundsOn(ctx context.Context, broker string, queues []string) ([]store.Bounds, error) {
	return through(ctx, l, func() ([]store.Bounds, error) { return l.Store.BoundsOn(ctx, broker, queues) })
}

func (l *wire) Commit(ctx context.Context, client string, epoch int64, offsets []store.Offset) error {
	return l.only(ctx, func() error { return l.Store.Commit(ctx, client, epoch, offsets) })
}

func (l *wire) Committed(ctx context.Context, client string, queues []store.QueueRef) ([]store.Offset, error) {
	return through(ctx, l, func() ([]store.Offset, error) { return l.Store.Committed(ctx, client, queues) })
}

func (l *wire) Forget(ctx context.Context, client string, queues []store.QueueRef) error {
	return l.only(ctx, func() error { return l.Store.Forget(ctx, client, queues) })
}

func (l *wire) PlaceGroup(ctx context.Context, g store.Group, offset int64) error {
	return l.only(ctx, func() error { return l.Store.PlaceGroup(ctx, g, offset) })
}

func (l *wire) Pop(ctx context.Context, g store.Group, n int, hidden, wait time.Duration) ([]store.Handout, error) {
	return through(ctx, l, func() ([]store.Handout, error) { return l.Store.Pop(ctx, g, n, hidden, wait) })
}

func (l *wire) PopAck(ctx context.Context, g store.Group, receipts []string) error {
	return l.only(ctx, func() error { return l.Store.PopAck(ctx, g, receipts) })
}

func (l *wire) PopHide(ctx context.Context, g store.Group, receipts []string, hidden time.Duration) ([]string, error) {
	return through(ctx, l, func() ([]string, error) { return l.Store.PopHide(ctx, g, receipts, hidden) })
}

func (l *wire) Tail(ctx context.Context, topic string, f store.TailFunc) (store.Tail, error) {
	return l.tail(ctx, f, func(f store.TailFunc) (store.Tail, error) { return l.Store.Tail(ctx, topic, f) })
}

func (l *wire) TailQueue(ctx context.Context, queue string, f store.TailFunc) (store.Tail, error) {
	return l.tail(ctx, f, func(f store.TailFunc) (store.Tail, error) { return l.Store.TailQueue(ctx, queue, f) })
}

// linkedTail is a tail whose records wait while the link is cut.
type linkedTail struct {
	store.Tail
	l    *wire
	stop context.CancelFunc
}

func (l *wire) tail(ctx context.Context, f store.TailFunc, open func(store.TailFunc) (store.Tail, error)) (store.Tail, error) {
	if err := l.pass(ctx); err != nil {
		return nil, err
	}
	closed, stop := context.WithCancel(context.Background())
	t, err := open(func(p store.Partition, records []*store.Record) {
		if l.pass(closed) == nil {
			f(p, records)
		}
	})
	if err != nil {
		stop()
		return nil, err
	}
	return linkedTail{t, l, stop}, nil
}

func (t linkedTail) Latest(ctx context.Context, f func(p store.Partition, begin, end int64)) {
	if t.l.pass(ctx) != nil {
		t.Ends(f)
		return
	}
	t.Tail.Latest(ctx, f)
}

func (t linkedTail) Close() {
	t.stop()
	t.Tail.Close()
}

// later is a random time up to a bound.
func later(most time.Duration, n func(int64) int64) time.Duration {
	return time.Duration(n(int64(most)))
}
