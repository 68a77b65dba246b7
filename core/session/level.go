package session

import (
	"context"

	"github.com/lmqgate/lmqgate/core/session/flight"
	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/topic"
)

// Filters such as "T/a" and "T/a/" share a queue, and with it one committed offset: the lower one. The reader of one filter does not see the
// records of the other, so its offset stays behind while the other's advances. If that were committed, what the client has acknowledged
// would come again.

// levelReads bounds the reads of level for each subscription.
const (
	levelReads = 64
	levelBatch = 32
)

// level moves subscriptions that share a queue over the records that only others of them have received. The session's readers are closed.
func (s *Session) level(ctx context.Context) {
	type lag struct {
		commit flight.Commit
		reads  string
		from   int64
	}
	var lags []lag
	s.mu.Lock()
	reads := make(map[*flight.Progress]string)
	s.eachFeed(func(f *feed) {
		if f.sub != nil && f.sub.group == "" {
			reads[&f.at] = f.sub.reads
		}
	})
	for _, c := range flight.Behind(s.progress()) {
		if filter, ok := reads[c.Progress]; ok {
			lags = append(lags, lag{c, filter, c.Acked()})
		}
	}
	s.mu.Unlock()
	for _, l := range lags {
		to := s.m.unwanted(ctx, l.commit.Ref, l.reads, l.from, l.commit.Next)
		s.mu.Lock()
		l.commit.Skip(to)
		s.mu.Unlock()
	}
}

// unwanted returns the offset of the first record from an offset on that matches a filter, at most upTo. It returns an earlier one if the
// store does not answer, or if there is too much to read.
func (m *Manager) unwanted(ctx context.Context, ref store.QueueRef, filter string, from, upTo int64) int64 {
	for range levelReads {
		if from >= upTo {
			break
		}
		batch, err := m.o.Store.Read(ctx, ref, from, levelBatch)
		if err != nil || batch.Next <= from {
			return from
		}
		for i, rec := range batch.Records {
			if _, p2p := topic.P2PTarget(rec.Topic); !p2p && topic.Match(filter, rec.Topic) {
				return min(batch.Offsets[i], upTo)
			}
		}
		from = batch.Next
	}
	return min(from, upTo)
}
