package publish

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/stretchr/testify/require"
)

// answering is a store that answers about topics with err; it is asked for nothing else.
type answering struct {
	store.Store
	err error
}

func (*answering) ValidTopic(string) error { return nil }

func (s *answering) Topic(context.Context, string) (store.TopicInfo, error) {
	return store.TopicInfo{}, s.err
}

// registered is metadata that knows every topic.
type registered struct{ Metadata }

func (registered) HasTopic(string) bool { return true }

func TestAKnownTopicStaysKnownWhileTheStoreIsUnavailable(t *testing.T) {
	st := &answering{}
	p := New(Options{Store: st, Meta: registered{}})
	defer p.Close()
	expire := func() {
		k, ok := p.known.Load("sensors")
		require.True(t, ok)
		k.(*knownTopic).until = time.Now().Add(-time.Second)
	}
	_, err := p.Ensure(t.Context(), "sensors")
	require.NoError(t, err)
	expire()
	st.err = fmt.Errorf("%w: no broker is registered", store.ErrUnavailable)
	physical, err := p.Ensure(t.Context(), "sensors")
	require.NoError(t, err, "the append waits for the store, and must get the chance to")
	require.Equal(t, "sensors", physical)
	_, err = p.Ensure(t.Context(), "other")
	require.ErrorIs(t, err, store.ErrUnavailable)
	st.err = store.ErrUnknownTopic
	_, err = p.Ensure(t.Context(), "sensors")
	require.ErrorIs(t, err, store.ErrUnknownTopic, "a topic that is gone is not taken for known")
}
