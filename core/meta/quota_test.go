package meta

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/meta/metatest"
)

// eachOf100 runs a test like each, on backends that accept 100 keys.
func eachOf100(t *testing.T, f func(t *testing.T, b *metatest.Backend)) {
	for name, traits := range flavours {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				of := traits()
				of.MaxKeys = 100
				b := metatest.New(of)
				t.Cleanup(b.Close)
				f(t, b)
			})
		})
	}
}

// counted starts a node and waits until it has counted the existing keys.
func counted(t *testing.T, b *metatest.Backend, node string) *Meta {
	t.Helper()
	m := start(t, b, node)
	eventually(t, func() bool {
		m.ledger.mu.Lock()
		defer m.ledger.mu.Unlock()
		return !m.ledger.census.IsZero()
	})
	return m
}

func user(name string) Owner { return Owner{Name: name, Plugin: "auth"} }

// begin records new sessions of an owner until one is refused.
func begin(t *testing.T, m *Meta, owner Owner, from, to int) error {
	t.Helper()
	for i := from; i < to; i++ {
		s := &Session{ClientID: fmt.Sprintf("%s-%d", owner.Name, i), Epoch: 1, Expiry: time.Hour}
		s.SetOwner(owner)
		if err := m.SaveSession(t.Context(), s); err != nil {
			return err
		}
	}
	return nil
}

// fill records new sessions until an owner has exactly most of them. A session may be counted twice for a moment, so fill retries refused
// sessions.
func fill(t *testing.T, b *metatest.Backend, m *Meta, owner Owner, most int) {
	t.Helper()
	have := func() (n int) {
		for _, key := range b.Keys(NamespaceSessions) {
			if strings.HasPrefix(key, owner.Name+"-") {
				n++
			}
		}
		return n
	}
	eventually(t, func() bool { _ = begin(t, m, owner, have(), most); return have() == most })
	require.ErrorIs(t, begin(t, m, owner, most, most+1), ErrLimit)
}

func TestAnIdentityHasItsShareOfTheBackendAndOthersTheRest(t *testing.T) {
	eachOf100(t, func(t *testing.T, b *metatest.Backend) {
		ctx := context.Background()
		m := counted(t, b, "one")
		var names []string
		for i := range 60 {
			names = append(names, fmt.Sprintf("t/%d/+", i))
		}
		r := m.Register(ctx, user("greedy"), "", names)
		require.NoError(t, r.Err("t/49/+"))
		require.ErrorIs(t, r.Err("t/50/+"), ErrLimit)
		require.ErrorContains(t, r.Err("t/50/+"), "limits.identity.share")
		require.False(t, m.HasFilter("t/50/+"), "what is refused leaves nothing behind")
		require.Len(t, b.Keys(NamespaceFilters), 50)
		require.ErrorIs(t, begin(t, m, user("greedy"), 0, 1), ErrLimit, "its share is used up, whatever it is used for")
		require.ErrorIs(t, m.SetRetained(ctx, of(value("t/r", "x", 1), user("greedy"), "c")), ErrLimit)
		require.NoError(t, m.Register(ctx, user("greedy"), "", names[:1]).Err("t/0/+"), "what is registered already")
		require.NoError(t, m.Register(ctx, user("other"), "", []string{"u/+"}).Err("u/+"))
		fill(t, b, m, user("other"), 39) // a tenth of the keys is reserved
	})
}

func TestTheShareOfAnIdentityKeepsNobodyFromASessionThatIsThere(t *testing.T) {
	eachOf100(t, func(t *testing.T, b *metatest.Backend) {
		ctx := context.Background()
		m := counted(t, b, "one")
		fill(t, b, m, user("fleet"), 50)
		w := &Will{ClientID: "fleet-1", Owner: user("fleet").Mark(), Message: value("w", "x", 1).Message}
		require.ErrorIs(t, m.SaveWill(ctx, w), ErrLimit, "a session that ends with its connection")
		w.SessionExpiry = time.Hour
		require.NoError(t, m.SaveWill(ctx, w))
	})
}

// of sets who published a value.
func of(v *Retained, owner Owner, client string) *Retained {
	v.Message.Identity, v.Message.Publisher = owner.Mark(), client
	return v
}

func TestSessionsThatThereAreGoOnWhenTheMetadataIsFull(t *testing.T) {
	eachOf100(t, func(t *testing.T, b *metatest.Backend) {
		ctx := context.Background()
		m := counted(t, b, "one")
		fill(t, b, m, user("a"), 50)
		fill(t, b, m, user("b"), 40)
		require.ErrorIs(t, begin(t, m, user("c"), 0, 1), ErrLimit)
		s, err := m.LoadSession(ctx, "a-7")
		require.NoError(t, err)
		s.Epoch, s.Subscriptions = 2, []Subscription{{Filter: "t/+", QoS: 1}}
		require.NoError(t, m.SaveSession(ctx, s))
		require.NoError(t, m.SaveWill(ctx, &Will{ClientID: "b-7", Owner: user("b").Mark(), Message: value("w", "x", 1).Message}))
		require.ErrorIs(t, m.SaveWill(ctx, &Will{ClientID: "a-7", Owner: user("a").Mark(), Message: value("w", "x", 1).Message}), ErrLimit)
		require.NoError(t, m.DropSession(ctx, s))
		require.NoError(t, m.SaveSession(ctx, &Session{ClientID: "a-7", Epoch: 3, Replaces: true}), "one that replaces it has its room")
		s, err = m.LoadSession(ctx, "a-7")
		require.NoError(t, err)
		require.False(t, s.Replaces, "it is there now")
		require.ErrorIs(t, begin(t, m, user("c"), 0, 1), ErrLimit, "it counts")
		require.NoError(t, m.DropSession(ctx, s))
		require.NoError(t, m.DeleteWill(ctx, "b-7"))
		eventually(t, func() bool { return begin(t, m, user("c"), 0, 1) == nil })
	})
}

func TestWhatOtherNodesHaveAndWhatWasThereBeforeTheStartCounts(t *testing.T) {
	eachOf100(t, func(t *testing.T, b *metatest.Backend) {
		one := counted(t, b, "one")
		require.NoError(t, begin(t, one, user("a"), 0, 30))
		two := counted(t, b, "two")
		r := two.Register(t.Context(), user("a"), "", []string{"t/+"})
		require.NoError(t, r.Err("t/+"))
		eventually(t, func() bool { return one.HasFilter("t/+") })
		for i := range 25 {
			_ = one.Register(t.Context(), user("a"), "", []string{fmt.Sprintf("t/%d/+", i)})
		}
		require.Len(t, b.Keys(NamespaceFilters), 20)
	})
}

func TestAClientRetainsNoMoreThanItsShare(t *testing.T) {
	eachOf100(t, func(t *testing.T, b *metatest.Backend) {
		ctx := context.Background()
		m := counted(t, b, "one")
		retain := func(i int, client string, payload string) error {
			return m.SetRetained(ctx, of(value(fmt.Sprintf("t/%d", i), payload, int64(100+i)), user("u"), client))
		}
		for i := range 10 {
			require.NoError(t, retain(i, "c", "x"))
		}
		require.ErrorContains(t, retain(10, "c", "x"), "limits.client.share")
		require.Len(t, matched(m, "#"), 10, "nothing is left of what was refused")
		require.NoError(t, retain(10, "d", "x"))
		require.NoError(t, m.SetRetained(ctx, of(value("t/1", "y", 200), user("u"), "c")), "another value of its own topic")
		require.NoError(t, m.SetRetained(ctx, of(value("t/1", "", 201), user("u"), "c")))
		require.NoError(t, retain(11, "c", "x"))
		m.SetQuotas(Quotas{Retained: 11})
		require.ErrorContains(t, retain(12, "e", "x"), "limits.cluster.retained_messages")
		require.NoError(t, m.SetRetained(ctx, of(value("t/2", "y", 300), user("v"), "f")), "the next value of another client's topic")
	})
}

func TestAValueOfAnEarlierReleaseMakesRoomForItsClientsNext(t *testing.T) {
	eachOf100(t, func(t *testing.T, b *metatest.Backend) {
		ctx := context.Background()
		m := counted(t, b, "one")
		for i := range 10 {
			require.NoError(t, m.SetRetained(ctx, of(value(fmt.Sprintf("t/%d", i), "x", int64(100+i)), Owner{}, "c")), "whose it was is not known")
		}
		for i := range 10 {
			require.NoError(t, m.SetRetained(ctx, of(value(fmt.Sprintf("t/%d", i), "y", int64(200+i)), user("u"), "c")))
		}
		require.ErrorIs(t, m.SetRetained(ctx, of(value("t/10", "x", 300), user("u"), "c")), ErrLimit)
	})
}

func TestRetainedMemoryIsSharedOutToIdentitiesAndClients(t *testing.T) {
	each(t, func(t *testing.T, b *metatest.Backend) {
		ctx := context.Background()
		m := start(t, b, "one", func(o *Options) { o.MaxRetainedBytes = 100_000 })
		large := strings.Repeat("x", 1000)
		n := 0
		for _, client := range []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"} {
			for before := n; ; n++ {
				err := m.SetRetained(ctx, of(value(fmt.Sprintf("t/%d", n), large, int64(10+n)), user("greedy"), client))
				if err != nil {
					require.ErrorIs(t, err, ErrLimit)
					require.Less(t, n-before, 10)
					break
				}
			}
		}
		require.Less(t, n, 50)
		require.Greater(t, n, 10)
		require.NoError(t, m.SetRetained(ctx, of(value("u/1", large, 1000), user("other"), "z")))
	})
}

func TestFiltersTakeNoMoreMemoryThanTheyMay(t *testing.T) {
	each(t, func(t *testing.T, b *metatest.Backend) {
		m := start(t, b, "one", func(o *Options) { o.Quotas = Quotas{FilterMemory: 100_000} })
		refused := func(owner Owner, from, to int) (n int) {
			var names []string
			for i := from; i < to; i++ {
				names = append(names, fmt.Sprintf("t/%s/%d", strings.Repeat("x", 2000), i))
			}
			r := m.Register(context.Background(), owner, "", names)
			for _, name := range names {
				if r.Err(name) != nil {
					n++
				}
			}
			return n
		}
		require.InDelta(t, 89, refused(user("greedy"), 0, 100), 3)
		require.Zero(t, refused(user("other"), 100, 110))
		require.Zero(t, refused(user("greedy"), 100, 110), "what is registered already")
	})
}

func TestTheMetadataTellsHowFullItIs(t *testing.T) {
	eachOf100(t, func(t *testing.T, b *metatest.Backend) {
		m := counted(t, b, "one")
		m.SetQuotas(Quotas{Sessions: 200})
		require.NoError(t, begin(t, m, user("a"), 0, 45))
		fills := map[string]Fill{}
		for _, f := range m.Fills() {
			fills[f.Resource] = f
		}
		require.Equal(t, map[string]Fill{"sessions": {"sessions", 45, 200}, "keys": {"keys", 45, 90}}, fills)
		require.InDelta(t, 0.5, fills["keys"].Ratio(), 0)
		require.Equal(t, map[string]int64{"sessions": 45, "filters": 0, "retained_messages": 0}, m.ledger.items())
	})
}
