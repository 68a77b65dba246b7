package session

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/publish"
	"github.com/lmqgate/lmqgate/core/session/journal"
	"github.com/lmqgate/lmqgate/core/session/record"
	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/topic"
)

// recall reads the journal of a session that this node does not have in memory. If one of several brokers does not answer, it is skipped,
// because the client is waiting: messages noted there may then be delivered or stored twice. If none answers, recall fails.
//
// A skipped broker may have the newest state. An older one does not tell which packet ids the client has released and used again. No
// message from the client is taken for one that is stored already then: rather twice than not at all.
func (s *Session) recall(ctx context.Context, rec *meta.Session) error {
	topics, journaled := record.QoS2Topics(rec)
	if !journaled {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, recallTimeout)
	defer cancel()
	created := rec.Created.UnixMilli()
	var st journal.State
	ours := func(rec *store.Record) bool { return rec.Topic == publish.SessionTopic } // anybody can publish to a queue of this name
	answered, err := s.eachQueue(ctx, "", topic.SessionQueue(s.id), ours, func(records journal.Records) (err error) {
		st, err = journal.Newest(st, created, rec.Epoch, records)
		return err
	})
	if err != nil && !answered {
		return fmt.Errorf("reading the state of the session's QoS 2 messages: %w", err)
	}
	outdated := err != nil
	if outdated {
		s.m.log.Warn("reading the state of a session's QoS 2 messages failed; they may come twice", "client", s.id, "error", err)
	}
	held := make(map[uint16]journal.Stored)
	for physical := range topics {
		ours := func(rec *store.Record) bool {
			at, err := s.m.o.Catalog.Physical(ctx, rec.Topic, topic.Maker{})
			return err != nil || at == physical
		}
		answered, err := s.eachQueue(ctx, physical, topic.ExchangeQueue(physical, s.id), ours, func(records journal.Records) error {
			return journal.Unreleased(&st, created, records, held)
		})
		if err != nil && !answered {
			return fmt.Errorf("reading the session's QoS 2 messages to topic %q: %w", physical, err)
		}
		if err != nil {
			s.m.log.Warn("reading a session's QoS 2 messages failed; they may be stored twice",
				"client", s.id, "topic", physical, "error", err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.journal.Restore(topics, &st, held, &s.inbound, &s.out)
	if outdated {
		s.inbound.Doubt()
	}
	return nil
}

// recallTimeout is how long CONNECT waits for the journal.
const recallTimeout = 5 * time.Second

// eachQueue calls f with the records of a queue on each broker for which ours returns true. It continues after an error and returns the
// first one. answered says that it succeeded on some broker.
func (s *Session) eachQueue(
	ctx context.Context, physical, queue string, ours func(*store.Record) bool, f func(journal.Records) error,
) (answered bool, err error) {
	refs, err := s.m.onBrokers(ctx, physical, queue)
	if errors.Is(err, store.ErrUnknownTopic) {
		return true, nil // deleted, with its records
	}
	for _, ref := range refs {
		failed := f(s.backwards(ctx, ref, ours))
		answered = answered || failed == nil
		if err == nil {
			err = failed
		}
	}
	return answered, err
}

const (
	// backStep is how many offsets of a queue are read at a time when going backwards. Where no offset has a record, because a crash took
	// them, the step grows up to backLeap. backReads is how many reads are made in all; some stores return up to 32 records each time.
	backStep  = 64
	backLeap  = 2048
	backReads = 256
)

// backwards iterates over the records of a queue for which ours returns true, newest first.
func (s *Session) backwards(ctx context.Context, ref store.QueueRef, ours func(*store.Record) bool) journal.Records {
	return func(yield func(*store.Record, error) bool) {
		b, err := s.m.o.Store.Bounds(ctx, ref)
		if err != nil {
			yield(nil, err)
			return
		}
		step, left := int64(backStep), backReads
		for end := b.Max; end > b.Min && left > 0; {
			from := max(b.Min, end-step)
			records, reads, err := s.between(ctx, ref, from, end)
			if err != nil {
				yield(nil, err)
				return
			}
			if left -= reads; len(records) > 0 {
				step = backStep
			} else {
				step = min(2*step, backLeap)
			}
			for _, rec := range slices.Backward(records) {
				if ours(rec) && !yield(rec, nil) {
					return
				}
			}
			end = from
		}
	}
}

// between reads the records of a queue in the offsets from, inclusive, to end, exclusive. It also returns how many reads that took.
func (s *Session) between(ctx context.Context, ref store.QueueRef, from, end int64) (records []*store.Record, reads int, err error) {
	for at := from; at < end; reads++ {
		batch, err := s.m.o.Store.Read(ctx, ref, at, int(end-at))
		if err != nil {
			return nil, reads, err
		}
		for i, rec := range batch.Records {
			if batch.Offsets[i] < end {
				records = append(records, rec)
			}
		}
		if batch.Next <= at {
			break
		}
		at = batch.Next
	}
	return records, reads, nil
}
