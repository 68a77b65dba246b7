package session

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/core/session/flight"
	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/internal/repeat"
)

// commits is the set of sessions with progress to commit.
type commits struct {
	mu  sync.Mutex
	set map[*Session]struct{}
}

func (c *commits) add(s *Session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.set == nil {
		c.set = make(map[*Session]struct{})
	}
	c.set[s] = struct{}{}
}

func (c *commits) remove(s *Session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.set, s)
}

// take empties the set and returns its former contents.
func (c *commits) take() map[*Session]struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	set := c.set
	c.set = nil
	return set
}

// commitParallel bounds the number of concurrent commits.
const commitParallel = 16

// commitLoop commits progress every CommitInterval until the manager closes.
func (m *Manager) commitLoop() {
	defer m.wg.Done()
	failures := repeat.New(m.log, 0) // while a broker is down, every session on it fails
	defer failures.Close()
	limit := make(chan struct{}, commitParallel)
	for {
		select {
		case <-m.ctx.Done():
			return
		case <-time.After(m.o.CommitInterval):
		}
		if m.o.Cluster.Fenced() {
			continue // another node may own the sessions
		}
		var wg sync.WaitGroup
		for s := range m.commits.take() {
			limit <- struct{}{}
			wg.Go(func() {
				defer func() { <-limit }()
				if err := s.commit(m.ctx); err != nil && m.ctx.Err() == nil {
					failures.Warn(store.BrokerOf(err), "committing sessions' progress failed; trying again", "broker", store.BrokerOf(err),
						"client", s.id, "error", err)
					m.commits.add(s)
				}
			})
		}
		wg.Wait()
	}
}

// commit settles the journal, then commits the session's progress.
func (s *Session) commit(ctx context.Context) error {
	if s.Held() {
		s.later()
		return nil
	}
	settling, cancel := context.WithTimeout(ctx, fetchTimeout)
	s.settleJournal(settling)
	cancel()
	return s.commitOffsets(ctx)
}

// commitOffsets commits the session's progress. If another node has taken the session over, its connection here is closed.
func (s *Session) commitOffsets(ctx context.Context) error {
	if !s.durable() {
		return nil
	}
	select {
	case s.committing <- struct{}{}:
		defer func() { <-s.committing }()
	case <-ctx.Done():
		return fmt.Errorf("waiting for another commit: %w", ctx.Err())
	}
	if s.Held() {
		s.later()
		return nil
	}
	s.mu.Lock()
	commits, epoch := s.uncommitted(), s.epoch
	s.mu.Unlock()
	for some := range slices.Chunk(commits, askedTogether) {
		err := s.commitSome(ctx, epoch, some)
		if errors.Is(err, store.ErrStaleEpoch) {
			s.mu.Lock()
			if s.conn != nil {
				s.conn.Close(packet.SessionTakenOver, "another connection uses this client id")
			}
			s.mu.Unlock()
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// commitSome commits progress in one call. If a session has many queues and the store is slow, each call brings it forward. A call ends
// before the node is fenced: the store would try once more when another node may have committed already.
func (s *Session) commitSome(ctx context.Context, epoch int64, commits []flight.Commit) error {
	end := time.Now().Add(fetchTimeout)
	if at, ok := s.m.o.Cluster.FencedAt(); ok && at.Before(end) {
		end = at
	}
	ctx, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	offsets := make([]store.Offset, len(commits))
	for i, c := range commits {
		offsets[i] = store.Offset{QueueRef: c.Ref, Next: c.Next}
	}
	if err := s.m.o.Store.Commit(ctx, s.id, epoch, offsets); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range commits {
		c.Done()
	}
	return nil
}

// later leaves the progress to the next round, in case the session still belongs to this node then.
func (s *Session) later() {
	if !s.Lost() {
		s.dirty()
	}
}

// uncommitted returns the offsets to commit. Called with mu held.
func (s *Session) uncommitted() []flight.Commit { return flight.Commits(s.valid()) }

// valid is progress without that of feeds which have to go back first, because the broker's log was cut. Their pump does it. Called with mu
// held.
func (s *Session) valid() (all []*flight.Progress) {
	s.eachFeed(func(f *feed) {
		switch {
		case f.at.Ref.Queue == "":
		case !f.at.Placed || f.cuts == s.m.o.Store.Cuts(f.at.Ref.Broker):
			all = append(all, &f.at)
		case f.queue != nil:
			s.feedReady(f)
		}
	})
	return all
}

// progress returns the session's progress in each queue. Called with mu held.
func (s *Session) progress() (all []*flight.Progress) {
	s.eachFeed(func(f *feed) {
		if f.at.Ref.Queue != "" {
			all = append(all, &f.at)
		}
	})
	return all
}
