package rocketmq

import (
	"bytes"
	"errors"
	"sync"

	"github.com/lmqgate/lmqgate/remoting"
)

const (
	// defaultMaxMessage is how large a message brokers take unless configured otherwise, and RocketMQ's clients send, before they
	// compress it. No body is inflated to more, or to more than a broker's maxMessageSize where that is larger.
	defaultMaxMessage = 4 << 20
	// mostMessage bounds that, whatever a broker is configured to.
	mostMessage = 64 << 20
	// answerBudget is from how many inflated bytes on the rest of a broker's answer is left for the next one. Brokers bound their answers
	// to 256 KiB as they are stored.
	answerBudget = 1 << 20
)

// inflating lets one body be inflated at a time, and remembers those that were too large: every reader of the queues that hold one meets
// it.
type inflating struct {
	mu    sync.Mutex
	large map[place]int64 // the limits that they were over
}

// place is where a broker keeps a message.
type place struct {
	broker string
	log    int64
	bytes  int // of the body, as a broker that has begun anew keeps others at the same places
}

// maxLarge bounds what is remembered.
const maxLarge = 4096

func (i *inflating) inflate(broker string, m *remoting.Message, limit int64) ([]byte, error) {
	at := place{broker, m.LogOffset, len(m.Body)}
	i.mu.Lock()
	defer i.mu.Unlock()
	if was, known := i.large[at]; known && limit <= was {
		return nil, remoting.ErrInflated
	}
	body, err := m.Inflate(limit)
	if errors.Is(err, remoting.ErrInflated) {
		if i.large == nil || len(i.large) >= maxLarge {
			i.large = make(map[place]int64)
		}
		i.large[at] = limit
	}
	return body, err
}

// body returns a message's body for a record to keep. A compressed one that cannot be read, or has more bytes than a message may
// have, is counted and logged; the record is skipped.
func (s *Store) body(broker string, m *remoting.Message) ([]byte, bool) {
	if !m.Compressed() {
		return bytes.Clone(m.Body), true // not a part of the answer's buffer, which would live as long as the record
	}
	limit := s.routes.maxMessage(broker)
	body, err := s.inflating.inflate(broker, m, limit)
	switch {
	case err == nil:
		return body, true
	case errors.Is(err, remoting.ErrInflated):
		s.metrics.broken.WithLabelValues("too_large").Inc()
		s.repeat.Error("too large "+broker, "a record's compressed body is larger than a message may be; it is skipped", "topic", clip(m.Topic),
			"broker", broker, "log offset", m.LogOffset, "bytes", len(m.Body), "limit", limit)
	default:
		s.metrics.broken.WithLabelValues("malformed").Inc()
		s.repeat.Error("malformed "+broker, "a record's compressed body cannot be read; it is skipped", "topic", clip(m.Topic), "broker", broker,
			"log offset", m.LogOffset, "error", err)
	}
	return nil, false
}
