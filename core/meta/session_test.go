package meta

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/meta/metatest"
	"github.com/lmqgate/lmqgate/core/store"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

func entryOf(key string, data []byte) *pluginv1.Entry {
	return &pluginv1.Entry{Key: key, Value: data, Revision: 1}
}

func TestSessionsComeBackWhole(t *testing.T) {
	each(t, func(t *testing.T, b *metatest.Backend) {
		ctx := context.Background()
		one, two := start(t, b, "one"), start(t, b, "two")
		none, err := one.LoadSession(ctx, "c")
		require.NoError(t, err)
		require.Nil(t, none)
		at := time.UnixMilli(1700000000123)
		s := &Session{ClientID: "c/ü", Username: "u", ProtocolVersion: 5, Epoch: 1 << 60, Node: "one", Expiry: 72 * time.Hour, Created: at,
			Connected: at, Disconnected: at.Add(time.Second), Attributes: map[string]string{"k": "v"},
			Subscriptions: []Subscription{{Filter: "$share/g/a/#", QoS: 2, NoLocal: true, RetainAsPublished: true, RetainHandling: 2, ID: 7,
				Created: at, Start: map[string]int64{"broker-a": 12}}}}
		require.NoError(t, one.SaveSession(ctx, s))
		got, err := two.LoadSession(ctx, "c/ü")
		require.NoError(t, err)
		require.Equal(t, s, got)
		require.Equal(t, at.Add(time.Second).Add(72*time.Hour), got.ExpiresAt())
		s.Expiry = NeverExpires
		require.NoError(t, one.SaveSession(ctx, s))
		got, err = two.LoadSession(ctx, "c/ü")
		require.NoError(t, err)
		require.Equal(t, NeverExpires, got.Expiry)
		require.True(t, got.ExpiresAt().IsZero())
	})
}

func TestTheSecondOfTwoWritersOfASessionIsRefused(t *testing.T) {
	each(t, func(t *testing.T, b *metatest.Backend) {
		ctx := context.Background()
		one, two := start(t, b, "one"), start(t, b, "two")
		require.NoError(t, one.SaveSession(ctx, &Session{ClientID: "c", Epoch: 1}))
		require.ErrorIs(t, two.SaveSession(ctx, &Session{ClientID: "c", Epoch: 2}), ErrConflict)
		a, err := one.LoadSession(ctx, "c")
		require.NoError(t, err)
		z, err := two.LoadSession(ctx, "c")
		require.NoError(t, err)
		z.Epoch = 2
		require.NoError(t, two.SaveSession(ctx, z))
		require.NoError(t, two.SaveSession(ctx, z))
		a.Username = "late"
		require.ErrorIs(t, one.SaveSession(ctx, a), ErrSuperseded)
		require.ErrorIs(t, one.DropSession(ctx, a), ErrSuperseded)
		got, err := one.LoadSession(ctx, "c")
		require.NoError(t, err)
		require.Equal(t, z, got, "what a superseded connection writes leaves nothing behind")
		require.NoError(t, two.DropSession(ctx, z))
		require.NoError(t, one.DeleteSession(ctx, "c"))
	})
}

func TestEachSessionPassesOverWhatCannotBeRead(t *testing.T) {
	each(t, func(t *testing.T, b *metatest.Backend) {
		ctx := context.Background()
		m := start(t, b, "one")
		for i := range 10 {
			require.NoError(t, m.SaveSession(ctx, &Session{ClientID: fmt.Sprint("c", i)}))
		}
		b.Edit(NamespaceSessions, "c5x", "{broken")
		b.Edit(NamespaceSessions, "c6x", `{"v":3}`)
		var ids []string
		require.NoError(t, m.EachSession(ctx, func(s *Session) error { ids = append(ids, s.ClientID); return nil }))
		require.Len(t, ids, 10)
		require.IsIncreasing(t, ids)
		require.ErrorIs(t, m.EachSession(ctx, func(*Session) error { return ErrClosed }), ErrClosed)
		_, err := m.LoadSession(ctx, "c6x")
		require.ErrorContains(t, err, "newer lmqgate")
	})
}

func TestAWillHasOneTaker(t *testing.T) {
	each(t, func(t *testing.T, b *metatest.Backend) {
		ctx := context.Background()
		nodes := []*Meta{start(t, b, "one"), start(t, b, "two")}
		w := &Will{ClientID: "c", Node: "one", Epoch: 3, Delay: time.Minute, SessionExpiry: time.Hour, DueAt: time.UnixMilli(1700000000000),
			Message: &store.Message{Topic: "w", Payload: []byte("bye"), QoS: 1, Retain: true}}
		require.NoError(t, nodes[0].SaveWill(ctx, w))
		var all []*Will
		require.NoError(t, nodes[1].EachWill(ctx, func(w *Will) error { all = append(all, w); return nil }))
		require.Equal(t, []*Will{w}, all)

		w2 := *w
		w2.Epoch = 4
		require.NoError(t, nodes[1].SaveWill(ctx, &w2))
		taken, err := nodes[0].TakeThisWill(ctx, w)
		require.NoError(t, err)
		require.False(t, taken, "the will was replaced")

		var takers atomic.Int32
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() {
				got, err := nodes[i%2].TakeWill(ctx, "c")
				require.NoError(t, err)
				if got != nil {
					takers.Add(1)
				}
			})
		}
		wg.Wait()
		require.Positive(t, takers.Load())
		if b.Traits().GetCompareAndSet() {
			require.EqualValues(t, 1, takers.Load())
		}
		got, err := nodes[0].TakeWill(ctx, "c")
		require.NoError(t, err)
		require.Nil(t, got)
		require.NoError(t, nodes[0].DeleteWill(ctx, "c"))
	})
}
