package session

import (
	"context"
	"errors"

	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/core/session/journal"
	"github.com/lmqgate/lmqgate/core/session/record"
)

// keeper stores the session's states; see package journal. Note may be called with mu held: the writer's mutex is a leaf, and it
// works in a goroutine of its own.
type keeper struct{ s *Session }

var _ journal.Keeper = keeper{}

// keepsJournal makes the session's record say that there is a journal, and that messages to a topic of the store are in it.
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

// manyFinished is from how many finished records on progress is committed before a state is stored, which then leaves them out.
const manyFinished = 64

// Run implements journal.Keeper.
func (k keeper) Run(f func()) { k.s.m.run(f) }

// Prepare makes the record say that there is a journal, and a state small.
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
		_ = s.commitOffsets(ctx) // tried again by the commit loop; the state is larger meanwhile
	}
	return nil
}

// Store implements journal.Keeper.
func (k keeper) Store() error {
	s := k.s
	if err := s.awaitHeld(s.m.ctx); err != nil {
		return err
	}
	s.mu.Lock()
	state := s.journal.State(s.created.UnixMilli(), s.epoch, &s.inbound, &s.out)
	s.mu.Unlock()
	return s.m.o.Publisher.SaveSession(s.id, state.Encode())
}

// Failed closes the connection, whose client then sends again what it waits for.
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

// settleJournal stores a state if the newest one names what is over, so that whoever resumes the session has little to clear up.
// It goes before each commit of progress, the last one when the client leaves included.
func (s *Session) settleJournal(ctx context.Context) {
	s.mu.Lock()
	stale := s.journal.Stale()
	s.mu.Unlock()
	if !stale {
		return
	}
	done := make(chan struct{})
	s.states.Note(func(error) { close(done) }) // where it fails the client is asked again for what it has
	select {
	case <-done:
	case <-ctx.Done():
	case <-s.m.ctx.Done():
	}
}
