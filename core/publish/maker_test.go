package publish

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/topic"
)

// makers is a catalog that notes who asks it for topics, and a retainer that may have no room.
type makers struct {
	flat
	full error

	mu    sync.Mutex
	asked []topic.Maker
}

func (m *makers) Physical(_ context.Context, _ string, by topic.Maker) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked = append(m.asked, by)
	return "T", nil
}

func (m *makers) Room(*store.Message) error { return m.full }

func (m *makers) Retain(context.Context, *store.Message, store.Position) error { return nil }

func newMakers(t *testing.T, full error) (*Publisher, *makers) {
	t.Helper()
	m := &makers{full: full}
	p := New(Options{Store: newNode(t).faults, Catalog: m, Meta: flat{}, Retainer: m})
	t.Cleanup(p.Close)
	return p, m
}

// send publishes a message and returns its outcome.
func send(lanes *Lanes, m *store.Message) error {
	result := make(chan error, 1)
	lanes.Publish(m, func(err error) { result <- err })
	return <-result
}

func TestNoTopicIsMadeForARefusedMessage(t *testing.T) {
	full := errors.New("full")
	p, m := newMakers(t, full)
	lanes := p.Lanes("c", nil)
	err := send(lanes, &store.Message{Topic: "new/a", Payload: []byte("m"), QoS: 1, Retain: true})
	require.ErrorIs(t, err, ErrNoRoom)
	require.ErrorIs(t, err, full)
	require.ErrorIs(t, send(lanes, &store.Message{Topic: "$SYS/broker/a", QoS: 1, Retain: true}), store.ErrInvalidTopic)
	require.Empty(t, m.asked)
	require.NoError(t, send(lanes, &store.Message{Topic: "new/a", QoS: 1}), "it is not retained, and needs no room")
	require.Len(t, m.asked, 1)
}

func TestTheCatalogIsToldForWhomATopicIsMade(t *testing.T) {
	p, m := newMakers(t, nil)
	lanes := p.Lanes("c", nil)
	require.NoError(t, send(lanes, &store.Message{Topic: "new/a", QoS: 1}))
	lanes.By("u")
	require.NoError(t, send(lanes, &store.Message{Topic: "new/a", QoS: 1}))
	require.NoError(t, p.One(t.Context(), "w", &store.Message{Topic: "new/w", Identity: "v"}), "a will")
	require.NoError(t, p.One(t.Context(), "", &store.Message{Topic: "new/o"}))
	require.Equal(t, []topic.Maker{{Client: "c"}, {Client: "c", Identity: "u"}, {Client: "w", Identity: "v"}, {Operator: true}}, m.asked)
}
