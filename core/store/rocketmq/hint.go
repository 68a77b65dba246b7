package rocketmq

import (
	"context"
	"sync"
	"time"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/remoting"
)

// hints tell waiting groups that their queue has new records. Brokers of 5.1.4 hold a pop of a light message queue and then never answer
// it. So a long-polling pull of one record at the queue's end does the waiting, once for all groups of a queue.
type hints struct {
	mu     sync.Mutex
	queues map[store.QueueRef]*hint
}

const (
	// hintPause is the least time between two hints of a queue; hintLinger is how long an unused hint is kept.
	hintPause  = 2 * time.Millisecond
	hintLinger = time.Minute
	// checkEvery is the interval at which a group's progress is compared with its queue's end.
	checkEvery = time.Minute
)

// noHint makes hint.wait only pause.
const noHint = -1

// hint watches one queue while anyone waits for it.
type hint struct {
	s   *Store
	ref store.QueueRef

	// Guarded by hints.mu.
	refs    int
	checked map[string]time.Time // when each group's progress was last compared with the queue's end

	mu      sync.Mutex
	n       int           // number of hints given
	more    chan struct{} // closed with the next hint
	waiting int
	running bool
	end     int64 // offset at which the next pull waits; unknownOffset at first
	resets  int   // how often the queue has begun again
	small   int   // how many records a pop may ask for, because compressed ones are large lately; 0: no limit
}

// of returns the hint of a queue. The caller must call leave.
func (hs *hints) of(s *Store, ref store.QueueRef) *hint {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	h := hs.queues[ref]
	if h == nil {
		if hs.queues == nil {
			hs.queues = make(map[store.QueueRef]*hint)
		}
		h = &hint{s: s, ref: ref, more: make(chan struct{}), end: unknownOffset}
		hs.queues[ref] = h
	}
	h.refs++
	return h
}

func (h *hint) leave() {
	h.s.hints.mu.Lock()
	defer h.s.hints.mu.Unlock()
	if h.refs--; h.refs == 0 {
		time.AfterFunc(hintLinger, func() {
			h.s.hints.mu.Lock()
			defer h.s.hints.mu.Unlock()
			if h.refs == 0 && h.s.hints.queues[h.ref] == h {
				delete(h.s.hints.queues, h.ref)
			}
		})
	}
}

// due reports whether it is time to compare a group's progress with the queue's end, and records that this was done.
func (h *hint) due(group string) bool {
	h.s.hints.mu.Lock()
	defer h.s.hints.mu.Unlock()
	if time.Since(h.checked[group]) < checkEvery {
		return false
	}
	if h.checked == nil {
		h.checked = make(map[string]time.Time, 1)
	}
	h.checked[group] = time.Now()
	return true
}

// seen returns how many hints were given so far, and how often the queue has begun again.
func (h *hint) seen() (n, resets int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.n, h.resets
}

// room returns how many records a pop may ask for, at most n.
func (h *hint) room(n int) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.small > 0 {
		return min(n, h.small)
	}
	return n
}

// sized adapts the size of the next pop to what this one brought: records that exceed the budget of inflated bytes must be given back,
// which costs the broker more than another pop.
func (h *hint) sized(handed []store.Handout) {
	if len(handed) == 0 {
		return
	}
	bytes := 0
	for i := range handed {
		bytes += len(handed[i].Record.Payload)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	switch fit := answerBudget / max(bytes/len(handed), 1); {
	case fit < remoting.MaxPop:
		h.small = max(fit, 1)
	default:
		h.small = 0
	}
}

// wait returns at the first hint after hint number seen, or after d. With noHint it only pauses.
func (h *hint) wait(ctx context.Context, seen int, d time.Duration) error {
	h.mu.Lock()
	more := h.more
	if seen != noHint {
		if h.n != seen {
			h.mu.Unlock()
			return nil
		}
		h.waiting++
		if !h.running {
			h.running = true
			h.s.wg.Go(h.run)
		}
		defer func() {
			h.mu.Lock()
			h.waiting--
			h.mu.Unlock()
		}()
	} else {
		more = nil
	}
	h.mu.Unlock()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-h.s.base.Done():
		return store.ErrClosed
	case <-more:
	case <-t.C:
	}
	return nil
}

// run pulls while anyone waits.
func (h *hint) run() {
	fails := 0
	for h.wanted() {
		moved, err := h.pull()
		switch {
		case h.s.base.Err() != nil:
		case err != nil:
			fails++
			h.pause(min(firstBackoff<<min(fails, 10), lastBackoff))
			continue
		case moved:
			h.give()
		}
		fails = 0
		h.pause(hintPause)
	}
}

// wanted reports whether run must continue.
func (h *hint) wanted() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.waiting == 0 || h.s.base.Err() != nil {
		h.running = false
		return false
	}
	return true
}

// pull waits at the broker for a record at the queue's end, and reports whether there may be one.
func (h *hint) pull() (bool, error) {
	h.mu.Lock()
	end := h.end
	h.mu.Unlock()
	ctx := h.s.base
	if end == unknownOffset {
		err := h.s.atQueue(ctx, h.ref.Broker, func(addr string) (err error) {
			end, err = h.s.client.MaxOffset(ctx, addr, lmqPrefix+h.ref.Queue, 0)
			return err
		})
		if err != nil {
			return false, err
		}
		h.set(end, false) // a record may have come since the caller looked
		return true, nil
	}
	pull, err := h.s.pull(ctx, h.ref.Broker, remoting.PullRequest{
		Group: pullGroup, Topic: lmqPrefix + h.ref.Queue, Offset: end, Max: 1, Suspend: tailSuspend,
	})
	if err != nil {
		return false, err
	}
	anew := pull.Code == remoting.PullOffsetMoved && end > pull.Max
	h.set(pull.Max, anew)
	return anew || pull.Max > end || pull.Code == remoting.Success, nil
}

func (h *hint) set(end int64, anew bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.end = end
	if anew {
		h.resets++
	}
}

// give wakes all waiters.
func (h *hint) give() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.n++
	close(h.more)
	h.more = make(chan struct{})
}

func (h *hint) pause(d time.Duration) {
	select {
	case <-h.s.base.Done():
	case <-time.After(d):
	}
}
