package session

import (
	"context"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/lmqgate/lmqgate/core/delivery"
	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/topic"
)

// settling is the wait of a subscription's queues for its tail. The tail first hands out the values stored between the lookup of the
// SUBSCRIBE and the start of the queues; live messages from the queues follow. The wait lasts as long as the tail comes forward: a live
// message that went first would leave a gap behind it. If the lookup found nothing, the wait begins with the first such value.
type settling struct {
	tail   settler
	known  delivery.Known
	asked  bool          // known is the store's answer
	mark   int64         // the end of the tail's window when the tail had brought everything
	came   bool          // the tail has brought everything
	least  int64         // the fewest records so far that were still to come; see over
	stalls time.Duration // how long the tail may stand still
	until  time.Time
	pause  time.Duration // the pause before the next look
}

// settler is the reader of the tail that a subscription waits for: a delivery.LiveReader.
type settler interface {
	Passed(known delivery.Known) (mark, missing int64)
	Left(mark int64) int64
}

func newSettling(tail settler, stalls time.Duration) *settling {
	return &settling{tail: tail, least: math.MaxInt64, stalls: stalls, until: time.Now().Add(stalls)}
}

// The pauses between two looks grow from firstSettle to lastSettle.
const (
	firstSettle = 2 * time.Millisecond
	lastSettle  = 64 * time.Millisecond
)

// over reports whether the tail has handed out everything, or has stood still for too long.
func (g *settling) over() bool {
	if g.asked {
		var left int64
		if !g.came {
			g.mark, left = g.tail.Passed(g.known)
			if g.came = left == 0; g.came {
				g.least = math.MaxInt64 // from now on what the reader has to hand out counts
			}
		}
		if g.came {
			if left = g.tail.Left(g.mark); left == 0 {
				return true
			}
		}
		if left < g.least {
			g.least, g.until = left, time.Now().Add(g.stalls)
		}
	}
	return time.Now().After(g.until)
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
	s.sent.begin() // what the tail brings has to be compared with what was sent, however long it takes
	g.pause = min(max(2*g.pause, firstSettle), lastSettle)
	time.AfterFunc(g.pause, func() { s.feedReady(f) })
	return true
}

// settlers are the subscriptions of one SUBSCRIBE whose queues wait until their tails have handed out what is stored.
type settlers struct {
	all    []*settling
	firsts map[string]struct{} // first-level topics of the values in line
}

// add makes the queues of a subscription wait, while its tail stands still for stalls at the longest. Called with mu held.
func (w *settlers) add(sub *subscription, values []*meta.Retained, stalls time.Duration) {
	if !slices.ContainsFunc(sub.feeds, func(f *feed) bool { return f.at.Ref.Queue != "" }) {
		return
	}
	for _, f := range sub.feeds {
		if r, ok := f.reader.(*delivery.LiveReader); ok {
			sub.retains.settling, sub.retains.settled = newSettling(r, stalls), true
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
