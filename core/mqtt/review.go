package mqtt

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lmqgate/lmqgate/core/auth"
	"github.com/lmqgate/lmqgate/core/session"
)

// A subscription is judged when the client asks for it, and reviewed, with the client's others, when that may not be right any more: when
// its session is resumed, when decisions are in doubt (a revocation, another plugin or process of it), and when the time is over for
// which the plugin has said that they are good. Nothing is asked meanwhile. A subscription that is not allowed any more ends. Where the
// plugin does not answer, all stays as it is, and is reviewed again soon.

const (
	// reviewLeast is Options.ReviewLeast where it is not set.
	reviewLeast = 30 * time.Second
	// reviewers bounds how many clients are reviewed at a time.
	reviewers = 16
	// reviewTimeout bounds one review.
	reviewTimeout = 10 * time.Second
)

// rights is what a connection has to be reviewed for.
type rights struct {
	session atomic.Pointer[session.Session] // once it is attached
	doubts  atomic.Uint64                   // how often what was decided came into doubt
	due     atomic.Int64                    // when the next review is, in Unix nanoseconds; 0: none is
	queued  bool                            // in reviews.queue; guarded by reviews.mu
}

// goodUntil notes when the answers about a client's subscriptions are not good any more.
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

// reviews is the line of connections that wait to be reviewed.
type reviews struct {
	mu      sync.Mutex
	queue   []*conn
	workers int
}

// Review judges the subscriptions of clients again. Those that are being resumed, or subscribe now, are judged again as well.
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

// reviewLoop reviews clients whose time has come.
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

// queueReviews puts connections in line, and starts who reviews them.
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

// reviewQueued reviews connections until none waits.
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

// review judges the client's subscriptions again, and ends those that it may not have any more.
func (c *conn) review(ctx context.Context) {
	for range reviewTries {
		if !c.reviewOnce(ctx) {
			return
		}
	}
	c.srv.queueReviews(c)
}

// reviewTries bounds how often a review begins anew before others have their turn.
const reviewTries = 3

// reviewOnce is one try of review. It returns true where what it was told came into doubt meanwhile.
func (c *conn) reviewOnce(ctx context.Context) (again bool) {
	s, p := c.rights.session.Load(), c.admitted.Load()
	if s == nil || p == nil || c.out.closed() {
		return false // it is reviewed when it has a session
	}
	doubts := c.rights.doubts.Load()
	c.rights.due.Store(0)
	subscriptions := s.Rights()
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
		return false // the connection ends, and the next one is judged
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
