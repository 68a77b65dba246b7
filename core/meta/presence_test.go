package meta

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/meta/metatest"
	"github.com/lmqgate/lmqgate/core/store"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// alone returns a backend that only one node writes to.
func alone(t *testing.T) *metatest.Backend {
	t.Helper()
	traits := metatest.Full()
	traits.Shared = false
	b := metatest.New(traits)
	t.Cleanup(b.Close)
	return b
}

func testWill(id string) *Will {
	return &Will{ClientID: id, Message: &store.Message{Topic: "gone/" + id, Created: time.Now()}}
}

func TestWhatANodeAloneNeverStoredIsNotAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, b := t.Context(), alone(t)
		before := start(t, b, "one")
		require.NoError(t, before.SaveWill(ctx, testWill("kept")))
		require.NoError(t, before.SaveSession(ctx, &Session{ClientID: "kept"}))
		require.NoError(t, before.Close())

		m := start(t, b, "one")
		eventually(t, func() bool { return m.present.absent(NamespaceSessions, "x") && m.present.absent(NamespaceWills, "x") })
		gets := b.Calls("Get")
		for _, id := range []string{"x", "y"} {
			s, err := m.LoadSession(ctx, id)
			require.NoError(t, err)
			require.Nil(t, s)
			w, err := m.LoadWill(ctx, id)
			require.NoError(t, err)
			require.Nil(t, w)
		}
		require.Equal(t, gets, b.Calls("Get"))

		for _, id := range []string{"kept", "new"} {
			if id == "new" {
				require.NoError(t, m.SaveWill(ctx, testWill(id)))
				require.NoError(t, m.SaveSession(ctx, &Session{ClientID: id}))
			}
			s, err := m.LoadSession(ctx, id)
			require.NoError(t, err)
			require.Equal(t, id, s.ClientID)
			require.NoError(t, m.DeleteSession(ctx, id))
			w, err := m.TakeWill(ctx, id)
			require.NoError(t, err)
			require.Equal(t, "gone/"+id, w.Message.Topic)
			require.True(t, m.present.absent(NamespaceSessions, id))
			require.True(t, m.present.absent(NamespaceWills, id))
		}

		m.Switched() // to another backend with the same contents
		require.False(t, m.present.absent(NamespaceSessions, "x"), "it is not known yet")
		eventually(t, func() bool { return m.present.absent(NamespaceSessions, "x") })
	})
}

func TestASharedBackendIsAlwaysAsked(t *testing.T) {
	each(t, func(t *testing.T, b *metatest.Backend) {
		m, other := start(t, b, "one"), start(t, b, "two")
		s, err := m.LoadSession(t.Context(), "x")
		require.NoError(t, err)
		require.Nil(t, s)
		require.NoError(t, other.SaveSession(t.Context(), &Session{ClientID: "x"}))
		s, err = m.LoadSession(t.Context(), "x")
		require.NoError(t, err)
		require.NotNil(t, s)
	})
}

func TestAPutThatMayTakeEffectLaterKeepsItsKeyPresent(t *testing.T) {
	p := newPresence(&Meta{backend: &backend{}})
	p.m.backend.link.Store(&link{traits: func() *pluginv1.MetaTraits { return nil }})
	for _, n := range p.of {
		n.whole = true
	}
	key := func(do string) *pluginv1.Operation {
		if do == "put" {
			return put(NamespaceWills, "k", nil, 0)
		}
		return remove(NamespaceWills, "k")
	}
	absent := func() bool { return p.absent(NamespaceWills, "k") }
	do := func(what string, certain bool) { p.begin(key(what))(certain) }

	require.True(t, absent())
	do("put", true)
	require.False(t, absent())
	do("remove", false)
	require.False(t, absent(), "the removal may have failed")
	do("remove", true)
	require.True(t, absent())

	ended := p.begin(key("put"))
	do("remove", true)
	require.False(t, absent(), "the put is under way")
	ended(true)
	require.False(t, absent())

	removed := p.begin(key("remove"))
	do("put", true)
	removed(true)
	require.False(t, absent(), "a put was begun after the removal")

	do("put", false)
	do("remove", true)
	require.False(t, absent(), "the put that failed may take effect yet")
	require.False(t, p.absent(NamespaceRetained, "k"), "of other namespaces nothing is known")
}

func TestOfASharedBackendNothingIsKept(t *testing.T) {
	p := newPresence(&Meta{backend: &backend{}})
	p.m.backend.link.Store(&link{traits: metatest.Full})
	for _, certain := range []bool{true, false} {
		ended := p.begin(put(NamespaceSessions, "k", nil, 0), put(NamespaceWills, "k", nil, 0))
		require.Len(t, p.of[NamespaceSessions].keys, 1, "the backend may be another one before it ends")
		ended(certain)
		require.Empty(t, p.of[NamespaceSessions].keys)
		require.Empty(t, p.of[NamespaceWills].keys)
	}
}

func TestALateRemovalDoesNotHideWhatWasPutSince(t *testing.T) {
	p := newPresence(&Meta{backend: &backend{}})
	p.m.backend.link.Store(&link{traits: func() *pluginv1.MetaTraits { return nil }})
	p.of[NamespaceWills].whole = true
	p.begin(put(NamespaceWills, "k", nil, 0))(true)
	first, second := p.begin(remove(NamespaceWills, "k")), p.begin(remove(NamespaceWills, "k"))
	second(true)
	p.begin(put(NamespaceWills, "k", nil, 0))(true)
	first(true)
	require.False(t, p.absent(NamespaceWills, "k"))
}
