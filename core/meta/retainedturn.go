package meta

import (
	"context"
	"errors"
	"sync"
)

// retainedTurns let one value of a topic be written at a time. Of those that come meanwhile the newest is written for all of them: the
// others were retained for no longer than until it was published. The zero value is ready.
type retainedTurns struct {
	mu sync.Mutex
	of map[string][]*retainedCall // by topic with a write under way: who waits
}

// retainedCall is one caller of SetRetained.
type retainedCall struct {
	v    *Retained
	done chan error           // what became of it, where another caller wrote
	turn chan []*retainedCall // it is to write, and for these as well
	// taken and left are guarded by the lock of the turns: it was chosen to write, or its caller has gone.
	taken, left bool
}

// set calls write for a value, or waits until that was done for a newer one.
func (t *retainedTurns) set(ctx context.Context, v *Retained, write func() error) error {
	c := &retainedCall{v: v, done: make(chan error, 1), turn: make(chan []*retainedCall, 1)}
	var others []*retainedCall
	if !t.begin(c) {
		select {
		case err := <-c.done:
			return err
		case others = <-c.turn:
		case <-ctx.Done():
			if t.leave(c) {
				return ctx.Err()
			}
			others = <-c.turn
		}
	}
	err := write()
	if err != nil && (errors.Is(err, ErrLimit) || ctx.Err() != nil) {
		t.pass(v.Message.Topic, others) // what is wrong is this value's alone
		return err
	}
	for _, o := range others {
		o.done <- err
	}
	t.pass(v.Message.Topic, nil)
	return err
}

// begin reports whether nobody writes to the topic, so that the caller does; else it waits.
func (t *retainedTurns) begin(c *retainedCall) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	name := c.v.Message.Topic
	waiting, busy := t.of[name]
	if !busy {
		if t.of == nil {
			t.of = make(map[string][]*retainedCall)
		}
		t.of[name] = nil
		return true
	}
	t.of[name] = append(waiting, c)
	return false
}

// leave takes back a call whose caller waits no more; false where it is its turn.
func (t *retainedTurns) leave(c *retainedCall) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	c.left = !c.taken
	return c.left
}

// pass lets the newest of those that wait write, and of some that were to be served and were not.
func (t *retainedTurns) pass(name string, back []*retainedCall) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var newest *retainedCall
	var others []*retainedCall
	for _, c := range append(back, t.of[name]...) {
		switch {
		case c.left:
		case newest == nil:
			newest = c
		case newest.v.Position.Before(c.v.Position):
			newest, others = c, append(others, newest)
		default:
			others = append(others, c)
		}
	}
	if newest == nil {
		delete(t.of, name)
		return
	}
	t.of[name], newest.taken = nil, true
	newest.turn <- others
}
