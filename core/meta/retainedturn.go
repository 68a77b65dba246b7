package meta

import (
	"context"
	"errors"
	"sync"
)

// retainedTurns serialize the writes to each topic. Of the values that arrive during a write, only the newest is written, on behalf of all
// of them: the newer value has already superseded the others. The zero value is ready.
type retainedTurns struct {
	mu sync.Mutex
	of map[string][]*retainedCall // by topic with a write under way: the waiting callers
}

// retainedCall is one caller of SetRetained.
type retainedCall struct {
	v    *Retained
	done chan error           // the outcome, if another caller wrote
	turn chan []*retainedCall // this caller has to write, also on behalf of these callers
	// taken: the call was chosen to write. left: its caller is gone. The lock of the turns guards both.
	taken, left bool
}

// set calls write for a value, or waits until a newer value was written.
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
		t.pass(v.Message.Topic, others) // the failure concerns this value alone
		return err
	}
	for _, o := range others {
		o.done <- err
	}
	t.pass(v.Message.Topic, nil)
	return err
}

// begin reports whether the caller may write now. If a write to the topic is under way, it adds the caller to those that wait.
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

// leave withdraws a call whose caller no longer waits; it returns false if the call was already chosen to write.
func (t *retainedTurns) leave(c *retainedCall) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	c.left = !c.taken
	return c.left
}

// pass chooses the newest of the waiting calls to write. back are calls that were to be served by another one but were not.
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
