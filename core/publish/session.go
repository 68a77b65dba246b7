package publish

import (
	"time"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/topic"
)

// SessionTopic is the topic for the state of durable sessions that is kept in the store.
const SessionTopic = store.OwnPrefix + "sessions"

const sessionTopicQueues = 8

// SaveSession stores the state that a durable session needs after a crash, and waits until it is stored. The newest record of
// topic.SessionQueue counts. While the holder holds it, a failure is not tried again, and wraps store.ErrUnavailable.
func (p *Publisher) SaveSession(client string, state []byte, h store.Holder) error {
	ctx := p.deadline()
	if err := p.o.Catalog.EnsureOwn(ctx, SessionTopic, sessionTopicQueues); err != nil {
		return err
	}
	m := &store.Message{Topic: SessionTopic, Payload: state, Publisher: client, Created: time.Now()}
	a := store.Append{Message: m, Topic: SessionTopic, Key: client, Queues: []string{topic.SessionQueue(client)}, Holder: h}
	result := make(chan error, 1)
	p.o.Store.Append(ctx, a, func(_ store.Position, err error) { result <- err })
	return <-result
}
