package session

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/lmqgate/lmqgate/core/delivery"
	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/topic"
)

// settling is the wait of a subscription's queues for its tail. The tail first hands out the values stored between the lookup of the
// SUBSCRIBE and the start of the queues; live messages from the queues follow.
type settling struct {
	tail  *delivery.LiveReader
	known delivery.Known
	asked bool  // known is the store's answer
	mark  int64 // the end of the tail's window when the tail had brought everything
	came  bool  // the tail has brought everything
	until time.Time
	pause time.Duration // the pause before the next look
}

// The pauses between two looks grow from firstSettle to lastSettle.
const (
	firstSettle = 2 * time.Millisecond
	lastSettle  = 64 * time.Millisecond
)

// over reports whether the tail has handed out everything, or the wait has timed out.
func (g *settling) over() bool {
	if time.Now().After(g.until) {
		return true
	}
	if g.asked && !g.came {
		g.mark, g.came = g.tail.Passed(g.known)
	}
	return g.came && g.tail.Reached(g.mark)
}

// settles reports whether a queue feed has to wait for its subscription's tail. If it has, it is signalled again after a pause. Called with
// mu held.
func (s *Session) settles(f *feed) bool {
	if f.sub == nil || f.queue == nil || f.sub.retains.settling == nil {
		return false
	}
	g := f.sub.retains.settling
	if g.over() {
		f.sub.retains.settling = nil
		return false
	}
	g.pause = min(max(2*g.pause, firstSettle), lastSettle)
	time.AfterFunc(g.pause, func() { s.feedReady(f) })
	return true
}

// settlers are the subscriptions of one SUBSCRIBE whose queues wait until their tails have handed out what is stored.
type settlers struct {
	all    []*settling
	firsts map[string]struct{} // first-level topics of the values in line
}

// add makes the queues of a subscription wait, for most at the longest. Called with mu held.
func (w *settlers) add(sub *subscription, values []*meta.Retained, most time.Duration) {
	if !slices.ContainsFunc(sub.feeds, func(f *feed) bool { return f.at.Ref.Queue != "" }) {
		return
	}
	for _, f := range sub.feeds {
		if r, ok := f.reader.(*delivery.LiveReader); ok {
			sub.retains.settling = &settling{tail: r, until: time.Now().Add(most)}
			w.all = append(w.all, sub.retains.settling)
		}
	}
	if w.firsts == nil {
		w.firsts = make(map[string]struct{})
	}
	for _, v := range values {
		w.firsts[topic.First(v.Message.Topic)] = struct{}{}
	}
}

// ask asks the store once what the tails have to bring. A record that another node stores at the moment of the SUBSCRIBE is not in the
// lookup, yet lies before the starts of the queues.
func (w *settlers) ask(s *Session) {
	if len(w.all) == 0 {
		return
	}
	firsts := slices.Collect(maps.Keys(w.firsts))
	s.m.run(func() {
		ctx, cancel := context.WithTimeout(s.m.ctx, s.m.o.Settle)
		defer cancel()
		known := s.m.o.Hub.Latest(ctx, firsts)
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, g := range w.all {
			g.known, g.asked = known, true
		}
	})
}
