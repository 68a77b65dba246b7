package rocketmq

import (
	"bytes"
	"errors"
	"sync"

	"github.com/lmqgate/lmqgate/remoting"
)

const (
	// defaultMaxMessage is the largest message, before compression, that RocketMQ's brokers accept by default and its clients send, in
	// bytes. No body is inflated to more than this or the broker's maxMessageSize, whichever is larger.
	defaultMaxMessage = 4 << 20
	// mostMessage is the limit for inflated bodies, in bytes, whatever a broker is configured to.
	mostMessage = 64 << 20
	// answerBudget is the number of inflated bytes after which the rest of a broker's answer is left for the next read. Brokers bound their
	// answers to 256 KiB of stored (compressed) bytes.
	answerBudget = 1 << 20
)

// inflating inflates one body at a time and remembers the bodies that were too large, because every reader of a queue with such a body
// meets it again.
type inflating struct {
	mu    sync.Mutex
	large map[place]int64 // the limit that each body exceeded
}

// place identifies a message in a broker's log.
type place struct {
	broker string
	log    int64
	bytes  int // of the body; a broker that lost its log stores other messages at the same offsets
}

// maxLarge bounds the bodies remembered.
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

// body returns a message's body for a record to keep. A compressed body that cannot be read, or that inflates to more bytes than a message
// may have, is counted and logged, and its record is skipped.
func (s *Store) body(broker string, m *remoting.Message) ([]byte, bool) {
	if !m.Compressed() {
		return bytes.Clone(m.Body), true // clone: a slice of the answer's buffer would keep the whole buffer alive
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
