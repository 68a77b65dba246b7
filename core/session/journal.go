package session

import (
	"context"
	"errors"

	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/core/session/journal"
	"github.com/lmqgate/lmqgate/core/session/record"
	"github.com/lmqgate/lmqgate/core/store"
)

// keeper stores the states of a session's QoS 2 messages; see package journal. Note may be called with mu held: the writer's mutex is a
// leaf lock, and the writer does its work in a goroutine of its own.
type keeper struct{ s *Session }

var _ journal.Keeper = keeper{}

// keepsJournal makes sure the session's record says that there is a journal and that the journal covers a topic of the store.
func (s *Session) keepsJournal(ctx context.Context, physical string) error {
	s.mu.Lock()
	known := s.journal.Recorded(physical)
	s.mu.Unlock()
	if known {
		return nil
	}
	var topics map[string]bool
	s.rec.Update(func(r *meta.Session) { topics = record.AddQoS2Topic(r, physical) })
	if err := s.save(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.journal.SetRecorded(topics)
	return nil
}

// manyFinished: with more finished records than this, progress is committed before a state is stored, so that the state omits them.
const manyFinished = 64

// Run implements journal.Keeper.
func (k keeper) Run(f func()) { k.s.m.run(f) }

// Prepare makes sure the record says that there is a journal, and keeps the next state small.
func (k keeper) Prepare() error {
	s := k.s
	ctx, cancel := context.WithTimeout(s.m.ctx, fetchTimeout)
	defer cancel()
	if err := s.keepsJournal(ctx, ""); err != nil {
		return err
	}
	s.mu.Lock()
	many := s.journal.Finished() > manyFinished
	s.mu.Unlock()
	if many {
		_ = s.commitOffsets(ctx) // the commit loop tries again; until then the state is larger
	}
	return nil
}

// Store implements journal.Keeper.
func (k keeper) Store() error {
	s := k.s
	for {
		if err := s.awaitHeld(s.m.ctx); err != nil {
			return err
		}
		s.mu.Lock()
		state := s.journal.State(s.created.UnixMilli(), s.epoch, &s.inbound, &s.out)
		s.mu.Unlock()
		err := s.m.o.Publisher.SaveSession(s.id, state.Encode(), s)
		if !s.Held() || !errors.Is(err, store.ErrUnavailable) {
			return err
		}
	}
}

// Failed closes the connection. The client reconnects and sends again what it waits for.
func (k keeper) Failed(err error) {
	s := k.s
	if errors.Is(err, errLost) {
		return // the connection is being closed
	}
	s.m.log.Warn("storing the state of a session's QoS 2 messages failed; closing its connection", "client", s.id, "error", err)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil {
		s.conn.Close(packet.ImplementationSpecificError, "the state of QoS 2 messages could not be stored")
	}
}

// settleJournal stores a new state if the newest one names exchanges that are over, so that the next node to resume the session has little
// to clear up. It runs before each commit of progress, including the last one when the client leaves.
func (s *Session) settleJournal(ctx context.Context) {
	s.mu.Lock()
	stale := s.journal.Stale()
	s.mu.Unlock()
	if !stale {
		return
	}
	done := make(chan struct{})
	s.states.Note(func(error) { close(done) }) // if it fails, the client is asked again for messages that it has
	select {
	case <-done:
	case <-ctx.Done():
	case <-s.m.ctx.Done():
	}
}
