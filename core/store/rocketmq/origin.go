package rocketmq

import (
	"context"
	"slices"
	"strings"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/remoting"
)

// A message that is handed out to a group again comes from the group's retry topic, and the broker gives the light message queue as its
// topic. The real topic is that of the queue's entry. It has to be checked again: a message that does not count may have reached the retry
// topic because its acknowledgement was lost.

// origins are the known entries of the queue, by offset.
type origins struct {
	entries map[int64]origin
	// err says why the other entries are unknown.
	err error
}

type origin struct{ topic, id string }

// origins reads the queue's entries of the messages that are handed out again.
func (s *Store) origins(ctx context.Context, g store.Group, messages []remoting.Popped) origins {
	var wanted []int64
	for i := range messages {
		if at, ok := entryOf(&messages[i].Message, g.Queue); ok && messages[i].Receipt.Again() {
			wanted = append(wanted, at)
		}
	}
	found := origins{entries: make(map[int64]origin, len(wanted))}
	slices.Sort(wanted)
	for len(wanted) > 0 {
		at := wanted[0]
		pull, err := s.pull(ctx, g.Broker, remoting.PullRequest{Group: pullGroup, Topic: lmqPrefix + g.Queue, Offset: at, Max: burstSize})
		if err != nil {
			found.err = err
			return found
		}
		for i := range pull.Messages {
			m := &pull.Messages[i]
			if own, ok := entryOf(m, g.Queue); ok {
				found.entries[own] = origin{m.Topic, m.Property(propID)}
			}
		}
		next := max(at+1, pull.Next)
		for len(wanted) > 0 && wanted[0] < next {
			wanted = wanted[1:]
		}
	}
	return found
}

// decodePopped decodes a message handed out to a group. For a message that is handed out again, the queue's entry decides whether it
// counts. If retention has removed the entry, nobody can tell any more, and the message counts. ok is false if the entry cannot be read
// now.
func (s *Store) decodePopped(g store.Group, m *remoting.Popped, o origins) (r *store.Record, d decoding, ok bool) {
	if !m.Receipt.Again() {
		r, d = s.decode(g.Broker, &m.Message)
		return r, d, true
	}
	if at, has := entryOf(&m.Message, g.Queue); has {
		from, there := o.entries[at]
		switch {
		case there && from.id == m.Property(propID):
			m.Topic = from.topic
			r, d = s.decode(g.Broker, &m.Message)
			return r, d, true
		case !there && o.err != nil:
			return nil, d, false
		}
	}
	// The message itself does not tell its topic, so use the first level of the queue.
	m.Topic, _, _ = strings.Cut(strings.TrimPrefix(g.Queue, "%"), "%")
	r, d = decode(g.Broker, &m.Message)
	return r, d, true
}
