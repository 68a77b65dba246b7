package meta

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/meta/metatest"
)

func TestAClientThatChangesItsFiltersKeepsNoMoreOfThemThanItsShare(t *testing.T) {
	eachOf100(t, func(t *testing.T, b *metatest.Backend) {
		ctx := context.Background()
		m := counted(t, b, "one")
		register := func(m *Meta, client string, i int) error {
			name := fmt.Sprintf("t/%s/%d/+", client, i)
			return m.Register(ctx, user("u"), client, []string{name}).Err(name)
		}
		for i := range 10 {
			require.NoError(t, register(m, "c", i))
		}
		require.ErrorContains(t, register(m, "c", 10), "limits.client.share")
		require.ErrorIs(t, m.Room(user("u"), "c", "t/new"), ErrLimit)
		require.False(t, m.HasFilter("t/c/10/+"))
		require.NoError(t, register(m, "c", 3), "it is there already")
		require.NoError(t, register(m, "d", 0))
		for i := range 9 { // a group counts, and the filter that it reads does not
			group, read := fmt.Sprintf("$share/g%d/t/d", i), "t/d"
			require.NoError(t, m.Room(user("v"), "d", read, group))
			require.NoError(t, m.Register(ctx, user("v"), "d", []string{read, group}).Err(group))
		}
		require.ErrorIs(t, m.Room(user("v"), "d", "t/d", "$share/g/t/d"), ErrLimit)
		require.NoError(t, m.RegisterFilters(ctx, "t/gateway/+"), "the gateway's own")

		two := counted(t, b, "two")
		require.ErrorIs(t, register(two, "c", 11), ErrLimit, "other nodes know it from the records")
		require.NoError(t, m.refresh(ctx, []string{"t/c/0/+"}))
		require.ErrorIs(t, register(m, "c", 12), ErrLimit, "a filter that is kept alive still counts")
		_, err := m.removeIf(ctx, NamespaceFilters, "t/c/0/+", m.mirrors[NamespaceFilters].revision("t/c/0/+"))
		require.NoError(t, err)
		eventually(t, func() bool { return register(m, "c", 12) == nil })
	})
}

func TestAnIdentityLeavesOthersHalfOfTheFiltersOfAFirstLevelTopic(t *testing.T) {
	each(t, func(t *testing.T, b *metatest.Backend) {
		m := start(t, b, "one", func(o *Options) { o.MaxFilters = 10 })
		ctx := context.Background()
		register := func(m *Meta, owner Owner, first string, from, to int) (n int) {
			var names []string
			for i := from; i < to; i++ {
				names = append(names, fmt.Sprintf("%s/%s/%d", first, owner.Name, i))
			}
			r := m.Register(ctx, owner, "c", names)
			for _, name := range names {
				if r.Err(name) == nil {
					n++
				} else {
					require.ErrorIs(t, r.Err(name), ErrTooManyFilters)
				}
			}
			return n
		}
		require.Equal(t, 5, register(m, user("greedy"), "t", 0, 8))
		require.Zero(t, register(m, user("greedy"), "t", 8, 9))
		require.Equal(t, 5, register(m, user("greedy"), "other", 0, 8), "another first level")
		require.Equal(t, 3, register(m, user("honest"), "t", 0, 3))
		two := start(t, b, "two", func(o *Options) { o.MaxFilters = 10 })
		eventually(t, func() bool { return two.FilterCount("t") == 8 })
		require.Zero(t, register(two, user("greedy"), "t", 9, 10))
		_, err := m.removeIf(ctx, NamespaceFilters, "t/greedy/0", m.mirrors[NamespaceFilters].revision("t/greedy/0"))
		require.NoError(t, err)
		eventually(t, func() bool { return m.FilterCount("t") == 7 })
		require.Equal(t, 1, register(m, user("greedy"), "t", 10, 12))
		require.Equal(t, 2, register(m, Owner{}, "t", 0, 4), "who has no identity shares with nobody")
		m.filters.mu.RLock()
		defer m.filters.mu.RUnlock()
		require.Equal(t, map[string]int{user("greedy").Mark(): 5, user("honest").Mark(): 3}, m.filters.owned["t"])
	})
}

func TestRemovalsOfRetainedMessagesThatAreNotThereFillNothing(t *testing.T) {
	eachOf100(t, func(t *testing.T, b *metatest.Backend) {
		ctx := context.Background()
		m := counted(t, b, "one")
		require.NoError(t, m.SetRetained(ctx, of(value("t/kept", "x", 1), user("u"), "d")))
		for i := range 60 {
			v := of(value(fmt.Sprintf("t/%d", i), "", int64(100+i)), user("u"), "c")
			require.NoError(t, m.RoomForRetained(v.Message))
			require.NoError(t, m.SetRetained(ctx, v), "the client hears of no trouble: nothing is there to be removed")
		}
		require.Len(t, b.Keys(NamespaceRetained), 11, "its share, and what others have")
		require.NoError(t, m.SetRetained(ctx, of(value("t/kept", "", 300), user("u"), "c")))
		require.Empty(t, matched(m, "#"), "what is there can always be removed")
		require.ErrorIs(t, m.SetRetained(ctx, of(value("t/more", "x", 301), user("u"), "c")), ErrLimit)
		require.NoError(t, m.SetRetained(ctx, of(value("t/more", "x", 302), user("u"), "d")))
	})
}
