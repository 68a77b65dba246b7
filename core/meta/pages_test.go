package meta

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/meta/metatest"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

func subscriptions(from, to int) []Subscription {
	subs := make([]Subscription, 0, to-from)
	for i := from; i < to; i++ {
		subs = append(subs, Subscription{Filter: fmt.Sprintf("t/%05d/+", i), QoS: 1, Created: time.UnixMilli(1700000000000 + int64(i)),
			Start: map[string]int64{"broker-a": int64(i)}})
	}
	return subs
}

// many is a number of subscriptions that do not fit into a record.
const many = 300

// eachPaged runs a test against both kinds of backend, with records that hold few subscriptions.
func eachPaged(t *testing.T, f func(t *testing.T, b *metatest.Backend)) {
	for name, traits := range flavours {
		t.Run(name, func(t *testing.T) {
			few := traits()
			few.MaxValueBytes = 16 << 10
			on(t, few, f)
		})
	}
}

// reload reads a session on another node and checks that it is the same.
func reload(t *testing.T, m *Meta, want *Session) *Session {
	t.Helper()
	got, err := m.LoadSession(t.Context(), want.ClientID)
	require.NoError(t, err)
	require.Equal(t, want.Subscriptions, got.Subscriptions)
	require.Equal(t, want.Epoch, got.Epoch)
	return got
}

func TestASessionWithManySubscriptionsComesBackWholeWhateverChanges(t *testing.T) {
	eachPaged(t, func(t *testing.T, b *metatest.Backend) {
		ctx := context.Background()
		one, two := start(t, b, "one"), start(t, b, "two")
		s := &Session{ClientID: "c", Epoch: 1, Expiry: time.Hour, Subscriptions: subscriptions(0, 3)}
		require.NoError(t, one.SaveSession(ctx, s))
		require.Empty(t, b.Keys(NamespaceSubscriptions), "a few are in the record")
		for _, subs := range [][]Subscription{
			subscriptions(0, many), subscriptions(0, 2*many), subscriptions(many, 2*many+1), slices.Concat(subscriptions(0, 10), subscriptions(many, many+150)),
			subscriptions(240, 241), subscriptions(0, many), nil,
		} {
			s.Subscriptions = subs
			require.NoError(t, one.SaveSession(ctx, s))
			got := reload(t, two, s)
			got.Username = "from two"
			if len(got.Subscriptions) > 0 {
				got.Subscriptions[len(got.Subscriptions)-1].QoS = 2
			}
			require.NoError(t, two.SaveSession(ctx, got))
			s = reload(t, one, got)
		}
		require.Empty(t, b.Keys(NamespaceSubscriptions))
		s.Subscriptions = subscriptions(0, many)
		require.NoError(t, one.SaveSession(ctx, s))
		require.NotEmpty(t, b.Keys(NamespaceSubscriptions))
		n := 0
		require.NoError(t, two.EachSession(ctx, func(s *Session) error { n += len(s.Subscriptions); return nil }))
		require.Equal(t, many, n)
		require.NoError(t, two.EachSessionState(ctx, func(s *Session) error {
			n++
			require.Equal(t, time.Hour, s.Expiry)
			return nil
		}))
		require.Equal(t, many+1, n)
		require.NoError(t, two.DeleteSession(ctx, "c"))
		require.Empty(t, b.Keys(NamespaceSubscriptions))
		require.Empty(t, b.Keys(NamespaceSessions))
	})
}

func TestASuccessorOfWhatWasWrittenGoesOnFromThere(t *testing.T) {
	eachPaged(t, func(t *testing.T, b *metatest.Backend) {
		m := start(t, b, "one")
		state := &Session{ClientID: "c", Epoch: 1}
		for _, n := range []int{1, many, many + 1, 2} {
			state.Subscriptions = subscriptions(0, n)
			copied := state.Clone()
			require.NoError(t, m.SaveSession(t.Context(), copied))
			state.Succeed(copied)
			reload(t, m, state)
		}
		require.Empty(t, b.Keys(NamespaceSubscriptions))
	})
}

func TestAChangeOfOneSubscriptionWritesOnePage(t *testing.T) {
	on(t, metatest.Full(), func(t *testing.T, b *metatest.Backend) {
		ctx := context.Background()
		m := start(t, b, "one", func(o *Options) { o.HeartbeatInterval = time.Hour })
		s := &Session{ClientID: "c", Epoch: 1, Subscriptions: subscriptions(0, 3_000)}
		require.NoError(t, m.SaveSession(ctx, s))
		pages := len(b.Keys(NamespaceSubscriptions))
		require.InDelta(t, 90, pages, 30)

		written := b.Written()
		require.NoError(t, m.SaveSession(ctx, s))
		require.Equal(t, written, b.Written(), "nothing changed")
		change := func(f func()) int64 {
			written := b.Written()
			f()
			require.NoError(t, m.SaveSession(ctx, s))
			reload(t, m, s)
			return b.Written() - written
		}
		require.Less(t, change(func() { s.Subscriptions[1500].QoS = 2 }), int64(9000))
		require.Less(t, change(func() { s.Subscriptions = append(s.Subscriptions, subscriptions(3_000, 3_001)...) }), int64(9000))
		require.Less(t, change(func() { s.Subscriptions = slices.Delete(s.Subscriptions, 77, 78) }), int64(9000))
		require.Less(t, change(func() { s.Disconnected = time.UnixMilli(5) }), int64(500), "the record alone")
	})
}

func TestASessionThatGrowsByOneSubscriptionAtATimeIsNotWrittenWholeEachTime(t *testing.T) {
	on(t, metatest.Full(), func(t *testing.T, b *metatest.Backend) {
		ctx := context.Background()
		m := start(t, b, "one", func(o *Options) { o.HeartbeatInterval = time.Hour })
		s := &Session{ClientID: "c", Epoch: 1}
		before := b.Written()
		for i := range 300 {
			s.Subscriptions = append(s.Subscriptions, subscriptions(i, i+1)...)
			require.NoError(t, m.SaveSession(ctx, s))
		}
		require.Less(t, b.Written()-before, int64(300*6000))
		reload(t, m, s)
	})
}

func TestABackendThatWritesKeyByKeyHasOneKeyForASessionOfHundreds(t *testing.T) {
	on(t, metatest.Plain(), func(t *testing.T, b *metatest.Backend) {
		m := start(t, b, "one")
		s := &Session{ClientID: "c", Epoch: 1, Subscriptions: subscriptions(0, 500)}
		require.NoError(t, m.SaveSession(context.Background(), s))
		require.Empty(t, b.Keys(NamespaceSubscriptions))
		reload(t, m, s)
	})
}

func TestAWriteWhoseAnswerWasLostDoesNotHinderTheNext(t *testing.T) {
	eachPaged(t, func(t *testing.T, b *metatest.Backend) {
		m := start(t, b, "one", func(o *Options) { o.HeartbeatInterval = time.Hour })
		for name, n := range map[string]int{"small": 1, "large": many} {
			s := &Session{ClientID: name, Epoch: 1, Subscriptions: subscriptions(0, n)}
			require.NoError(t, m.SaveSession(t.Context(), s))
			// The caller gives up while the write is in progress. The write is applied, but its revision is not learned.
			ctx, cancel := context.WithCancel(t.Context())
			b.Hang(cancel)
			s.Subscriptions = subscriptions(1, n+2)
			require.ErrorIs(t, m.SaveSession(ctx, s), context.Canceled)
			s.Subscriptions = subscriptions(2, n+3)
			require.NoError(t, m.SaveSession(t.Context(), s))
			reload(t, m, s)
			require.NoError(t, m.DropSession(t.Context(), s))
		}
		require.Empty(t, b.Keys(NamespaceSubscriptions))
	})
}

func TestTheNewerEpochWinsAndTheOlderOneChangesNothing(t *testing.T) {
	eachPaged(t, func(t *testing.T, b *metatest.Backend) {
		ctx := context.Background()
		one, two := start(t, b, "one"), start(t, b, "two")
		for name, n := range map[string]int{"small": 1, "large": many} {
			require.NoError(t, one.SaveSession(ctx, &Session{ClientID: name, Epoch: 1, Subscriptions: subscriptions(0, n)}))
			zombie, err := one.LoadSession(ctx, name)
			require.NoError(t, err)
			newer, err := two.LoadSession(ctx, name)
			require.NoError(t, err)

			// The zombie writes after the newer connection has read the session and before it claims the session. The claim has to read again.
			zombie.Subscriptions = subscriptions(0, n+1)
			require.NoError(t, one.SaveSession(ctx, zombie))
			newer.Epoch = 2
			err = two.SaveSession(ctx, newer)
			require.ErrorIs(t, err, ErrConflict)
			require.False(t, errors.Is(err, ErrSuperseded))
			newer, err = two.LoadSession(ctx, name)
			require.NoError(t, err)
			require.Len(t, newer.Subscriptions, n+1)
			newer.Epoch = 2
			require.NoError(t, two.SaveSession(ctx, newer))

			zombie.Subscriptions = subscriptions(0, n+2)
			require.ErrorIs(t, one.SaveSession(ctx, zombie), ErrSuperseded)
			require.ErrorIs(t, one.DropSession(ctx, zombie), ErrSuperseded)
			reload(t, one, newer)
			require.NoError(t, two.DropSession(ctx, newer))
			require.ErrorIs(t, one.SaveSession(ctx, zombie), ErrSuperseded, "an ended session does not come back")
			require.NoError(t, one.DropSession(ctx, zombie), "it is gone already")
		}
	})
}

func TestPagesThatNoSessionNamesAreRemovedAndOthersStay(t *testing.T) {
	eachPaged(t, func(t *testing.T, b *metatest.Backend) {
		ctx := context.Background()
		m := start(t, b, "one", func(o *Options) { o.FilterGrace = 200 * time.Millisecond })
		s := &Session{ClientID: "c", Epoch: 1, Subscriptions: subscriptions(0, many)}
		require.NoError(t, m.SaveSession(ctx, s))
		b.Edit(NamespaceSubscriptions, "strayname/00007", `{"v":1,"client":"x","subscriptions":[{"filter":"a/+","qos":1}]}`)
		eventually(t, func() bool { return b.Value(NamespaceSubscriptions, "strayname/00007") == "" })
		reload(t, m, s)
		b.Edit(NamespaceSessions, "broken", "{")
		b.Edit(NamespaceSubscriptions, "ofbroken/00000", `{"v":1}`)
		require.Never(t, func() bool { return b.Value(NamespaceSubscriptions, "ofbroken/00000") == "" }, 600*time.Millisecond, 20*time.Millisecond)
	})
}

func TestFiltersOfASessionWithManySubscriptionsAreNotRetired(t *testing.T) {
	on(t, metatest.Full(), func(t *testing.T, b *metatest.Backend) {
		ctx := context.Background()
		m := start(t, b, "one", func(o *Options) { o.FilterGrace = 200 * time.Millisecond })
		s := &Session{ClientID: "c", Epoch: 1, Subscriptions: subscriptions(0, 300)}
		require.NoError(t, m.SaveSession(ctx, s))
		require.NoError(t, m.RegisterFilters(ctx, "t/00299/+", "t/unused/+"))
		eventually(t, func() bool { return !m.HasFilter("t/unused/+") })
		require.True(t, m.HasFilter("t/00299/+"))
	})
}

func TestAPageThatCannotBeReadNamesItself(t *testing.T) {
	on(t, metatest.Full(), func(t *testing.T, b *metatest.Backend) {
		ctx := context.Background()
		m := start(t, b, "one")
		require.NoError(t, m.SaveSession(ctx, &Session{ClientID: "c", Epoch: 1, Subscriptions: subscriptions(0, 300)}))
		key := b.Keys(NamespaceSubscriptions)[0]
		b.Edit(NamespaceSubscriptions, key, "{")
		_, err := m.LoadSession(ctx, "c")
		require.ErrorContains(t, err, key)
		require.NoError(t, m.EachSession(ctx, func(*Session) error { return errors.New("it is passed over") }))
		b.Edit(NamespaceSubscriptions, key, "")
		s, err := m.LoadSession(ctx, "c")
		require.NoError(t, err)
		require.NotEmpty(t, s.Subscriptions, "the other pages are there")
	})
}

// BenchmarkSaveSession saves a session of 10,000 subscriptions: with all of them new, with one changed, and with none changed.
func BenchmarkSaveSession(b *testing.B) {
	for name, traits := range map[string]func() *pluginv1.MetaTraits{"full": metatest.Full} {
		backend := metatest.New(traits())
		m, err := New(Options{Client: backend.Client(), Traits: backend.Traits, NodeID: "n"})
		require.NoError(b, err)
		require.NoError(b, m.Start(b.Context()))
		require.Eventually(b, func() bool { return m.Ready() == nil }, time.Minute, time.Millisecond)
		s := &Session{ClientID: "c", Epoch: 1, Subscriptions: subscriptions(0, 10_000)}
		b.Run(name+"/new", func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				fresh := &Session{ClientID: fmt.Sprint("c", i), Epoch: 1, Subscriptions: s.Subscriptions}
				require.NoError(b, m.SaveSession(b.Context(), fresh))
			}
		})
		require.NoError(b, m.SaveSession(b.Context(), s))
		b.Run(name+"/one changed", func(b *testing.B) {
			for b.Loop() {
				s.Subscriptions[77].ID++
				require.NoError(b, m.SaveSession(b.Context(), s))
			}
		})
		b.Run(name+"/unchanged", func(b *testing.B) {
			for b.Loop() {
				require.NoError(b, m.SaveSession(b.Context(), s))
			}
		})
		require.NoError(b, m.Close())
		backend.Close()
	}
}

func TestPagesThatCannotBeAreNamed(t *testing.T) {
	eachPaged(t, func(t *testing.T, b *metatest.Backend) {
		m := start(t, b, "one")
		b.Edit(NamespaceSessions, "c", `{"v":2,"epoch":1,"expiry_ms":1,"created_ms":1,"disconnected_ms":1,"pages":"p"}`)
		for _, key := range []string{"p/-0001", "p/-99999", "p/100000", "p/9223372036854775808", "p/1", "p/", "p/00001/"} {
			b.Edit(NamespaceSubscriptions, key, `{"v":1,"client":"c","subscriptions":[{"filter":"a","qos":1}]}`)
			_, err := m.LoadSession(t.Context(), "c")
			require.ErrorContains(t, err, "remove the key", key)
			require.NoError(t, m.EachSession(t.Context(), func(*Session) error { return nil }), key)
			_, err = b.Client().Delete(t.Context(), &pluginv1.DeleteRequest{Namespace: NamespaceSubscriptions, Key: key})
			require.NoError(t, err)
		}
		b.Edit(NamespaceSubscriptions, "p/00001", `{"v":1,"client":"c","subscriptions":[{"filter":"a","qos":1}]}`)
		s, err := m.LoadSession(t.Context(), "c")
		require.NoError(t, err)
		require.Len(t, s.Subscriptions, 1)
	})
}
