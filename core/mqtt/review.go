package mqtt

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lmqgate/lmqgate/core/auth"
	"github.com/lmqgate/lmqgate/core/session"
	"github.com/lmqgate/lmqgate/core/topic"
)

// A subscription is authorised when the client asks for it. It is reviewed, together with the client's other subscriptions, when that
// decision may be outdated: when its session is resumed, when decisions are in doubt (after a revocation, or with another plugin or plugin
// process), and when the validity stated by the plugin has expired. In between nothing is asked. A subscription that is no longer allowed
// ends. If the plugin does not answer, everything stays as it is and is reviewed again soon.

const (
	// reviewLeast is the default of Options.ReviewLeast.
	reviewLeast = 30 * time.Second
	// reviewers bounds how many clients are reviewed at the same time.
	reviewers = 16
	// reviewTimeout bounds one review.
	reviewTimeout = 10 * time.Second
)

// rights is the review state of a connection.
type rights struct {
	// session and owns are set once the session is attached.
	session atomic.Pointer[session.Session]
	owns    atomic.Pointer[session.Ownership]
	doubts  atomic.Uint64 // how often decisions came into doubt
	due     atomic.Int64  // time of the next review, in Unix nanoseconds; 0: none is due
	queued  bool          // in reviews.queue; guarded by reviews.mu
}

// goodUntil schedules the next review for the time when the answers about a client's subscriptions expire, but not sooner than least from
// now.
func (r *rights) goodUntil(until time.Time, least time.Duration) {
	if until.IsZero() {
		return
	}
	if soonest := time.Now().Add(least); until.Before(soonest) {
		until = soonest
	}
	at := until.UnixNano()
	for {
		now := r.due.Load()
		if now != 0 && now <= at || r.due.CompareAndSwap(now, at) {
			return
		}
	}
}

// reviews is the queue of connections to review.
type reviews struct {
	mu      sync.Mutex
	queue   []*conn
	workers int
}

// Review reviews the subscriptions of the clients that match r. Reviews and subscriptions under way are repeated.
func (s *Server) Review(r auth.Revocation) {
	s.mu.Lock()
	var hit []*conn
	for c := range s.conns {
		if p := c.admitted.Load(); p != nil && p.Matches(r) {
			hit = append(hit, c)
		}
	}
	s.mu.Unlock()
	for _, c := range hit {
		c.rights.doubts.Add(1)
	}
	s.queueReviews(hit...)
}

// reviewLoop queues the clients whose review is due.
func (s *Server) reviewLoop() {
	defer s.wg.Done()
	tick := time.NewTicker(s.o.ReviewLeast / 6)
	defer tick.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case now := <-tick.C:
			at := now.UnixNano()
			var hit []*conn
			s.mu.Lock()
			for c := range s.conns {
				if due := c.rights.due.Load(); due != 0 && due <= at {
					hit = append(hit, c)
				}
			}
			s.mu.Unlock()
			s.queueReviews(hit...)
		}
	}
}

// queueReviews puts connections in the queue, and starts goroutines that review them.
func (s *Server) queueReviews(conns ...*conn) {
	q := &s.reviews
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, c := range conns {
		if !c.rights.queued {
			c.rights.queued = true
			q.queue = append(q.queue, c)
		}
	}
	for q.workers < min(reviewers, len(q.queue)) && s.enter() {
		q.workers++
		go s.reviewQueued()
	}
}

// reviewQueued reviews connections until the queue is empty.
func (s *Server) reviewQueued() {
	defer s.wg.Done()
	q := &s.reviews
	for {
		q.mu.Lock()
		if len(q.queue) == 0 || s.ctx.Err() != nil {
			q.queue = nil
			q.workers--
			q.mu.Unlock()
			return
		}
		c := q.queue[0]
		q.queue = q.queue[1:]
		c.rights.queued = false
		q.mu.Unlock()
		c.review(s.ctx)
	}
}

// review reviews the client's subscriptions, and ends those that are no longer allowed.
func (c *conn) review(ctx context.Context) {
	for range reviewTries {
		if !c.reviewOnce(ctx) {
			return
		}
	}
	c.srv.queueReviews(c)
}

// reviewTries bounds how often a review starts over before it gives way to other clients.
const reviewTries = 3

// reviewOnce is one attempt of review. It returns true if the decisions came into doubt during the attempt.
func (c *conn) reviewOnce(ctx context.Context) (again bool) {
	s, p := c.rights.session.Load(), c.admitted.Load()
	if s == nil || p == nil || c.out.closed() {
		return false // attaching the session reviews it
	}
	doubts := c.rights.doubts.Load()
	c.rights.due.Store(0)
	subscriptions := c.endHidden(ctx, s, s.Rights())
	if len(subscriptions) == 0 {
		return false
	}
	actions := make([]auth.Action, len(subscriptions))
	for i, r := range subscriptions {
		actions[i] = auth.Action{Kind: auth.Subscribe, Topic: r.Reads, ShareGroup: r.Group, QoS: r.QoS}
	}
	ctx, cancel := context.WithTimeout(ctx, reviewTimeout)
	defer cancel()
	allowed, until, err := c.srv.o.Authority.AuthorizeAll(ctx, p, actions)
	switch at := p.ExpiresAt(); {
	case c.out.closed():
		return false // a newer connection may have the session
	case err != nil:
		c.log.Warn("subscriptions cannot be judged now; the client keeps them, and they are judged again", "client", c.clientID,
			"count", len(subscriptions), "error", err)
		c.rights.goodUntil(time.Now(), c.srv.o.ReviewLeast/6)
		return false
	case !at.IsZero() && !time.Now().Before(at):
		return false // the connection is about to end; the next one is judged on its own
	case c.admitted.Load() != p || c.rights.doubts.Load() != doubts:
		return true
	}
	c.rights.goodUntil(until, c.srv.o.ReviewLeast)
	var ended []string
	for i, ok := range allowed {
		if !ok {
			ended = append(ended, subscriptions[i].Filter)
		}
	}
	if len(ended) > 0 {
		c.srv.metrics.withdrawn.Add(float64(len(ended)))
		s.Withdraw(ctx, c, ended)
	}
	return false
}

// endHidden ends subscriptions to events where clients may not have any, and returns the others. A session can have one from a time when
// they were permitted.
func (c *conn) endHidden(ctx context.Context, s *session.Session, subscriptions []session.Right) []session.Right {
	var hidden []string
	kept := subscriptions[:0]
	for _, r := range subscriptions {
		if c.srv.hides(r.Reads) {
			hidden = append(hidden, r.Filter)
		} else {
			kept = append(kept, r)
		}
	}
	if len(hidden) > 0 {
		c.srv.metrics.withdrawn.Add(float64(len(hidden)))
		s.Withdraw(ctx, c, hidden)
	}
	return kept
}

// hides reports whether clients may not subscribe to a filter, because it is below $events.
func (s *Server) hides(filter string) bool {
	return s.o.EventsHidden && topic.First(filter) == topic.Events
}
