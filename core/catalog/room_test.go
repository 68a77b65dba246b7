package catalog

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/topic"
)

func TestATopicWithoutRoomIsNotCreatedAndCostsTheStoreNothing(t *testing.T) {
	p := newPlace("a")
	p.most = 2
	c := newCatalog(p, Options{AutoCreate: true})
	_, err := c.Ensure(t.Context(), "b", client)
	require.NoError(t, err)
	asked, made := p.counts()
	for range 3 {
		_, err = c.Ensure(t.Context(), "c", client)
		require.ErrorIs(t, err, ErrTooManyTopics)
		require.ErrorIs(t, err, errFull)
		require.ErrorIs(t, c.Check(t.Context(), "c", client), ErrTooManyTopics)
	}
	askedThen, madeThen := p.counts()
	require.Equal(t, []int{asked, made}, []int{askedThen, madeThen})
	require.Equal(t, []string{"a", "b"}, p.Topics())
	require.NoError(t, c.Create(t.Context(), "c", 1), "an operator's")
	_, err = c.Ensure(t.Context(), "c", client)
	require.NoError(t, err, "what is there needs no room")
	require.Zero(t, p.claimed)
}

func TestATopicThatIsCheckedIsNotCreated(t *testing.T) {
	p := newPlace("a")
	c := newCatalog(p, Options{AutoCreate: true})
	require.NoError(t, c.Check(t.Context(), "a", client))
	require.NoError(t, c.Check(t.Context(), "b", client))
	require.ErrorIs(t, c.Check(t.Context(), "x.y", client), store.ErrInvalidTopic)
	require.Equal(t, []string{"a"}, p.Topics())
	_, err := c.Resolve("b")
	require.ErrorIs(t, err, store.ErrUnknownTopic)
	_, made := p.counts()
	require.Zero(t, made)
	require.Zero(t, p.claimed)
}

func TestATopicThatNobodyUsesIsNotCreatedAndTheNextClientCreatesIt(t *testing.T) {
	p := newPlace()
	c := newCatalog(p, Options{AutoCreate: true})
	_, err := c.Ensure(t.Context(), "a", topic.Maker{})
	require.ErrorIs(t, err, store.ErrUnknownTopic)
	require.Empty(t, p.Topics())
	_, err = c.Ensure(t.Context(), "a", client)
	require.NoError(t, err)
	_, err = c.Ensure(t.Context(), "a", topic.Maker{})
	require.NoError(t, err)
}

func TestALongNameIsNotMadeOnFirstUse(t *testing.T) {
	p := newPlace("rest")
	c := newCatalog(p, Options{AutoCreate: true})
	for _, name := range []string{strings.Repeat("x", 127), strings.Repeat("ü", 127)} {
		_, err := c.Ensure(t.Context(), name, client)
		require.NoError(t, err)
	}
	long := strings.Repeat("x", 128)
	_, err := c.Ensure(t.Context(), long, client)
	require.ErrorIs(t, err, store.ErrInvalidTopic)
	require.ErrorContains(t, err, "at most 127 characters")
	got, err := newCatalog(p, Options{AutoCreate: true, Fallback: "rest"}).Ensure(t.Context(), long, client)
	require.NoError(t, err)
	require.Equal(t, "rest", got)
	require.Len(t, p.Topics(), 3)
	require.NoError(t, c.Create(t.Context(), long, 1))
	_, err = c.Ensure(t.Context(), long, client)
	require.NoError(t, err, "an operator has made it")
}
