package meta

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/meta/metatest"
	"github.com/lmqgate/lmqgate/core/topic"
)

func TestFiltersAreListedForUpstreamsGateways(t *testing.T) {
	each(t, func(t *testing.T, b *metatest.Backend) {
		ctx := context.Background()
		b.Edit(NamespaceUpstream, "t", "t/old/+")
		m := start(t, b, "one", func(o *Options) { o.ListedFilters = 3 })
		require.True(t, m.HasFilter("t/old/+"))
		require.NoError(t, m.RegisterFilters(ctx, "t/+", "t/plain", "+/x", "/t/+", "t/a,b/+", "$x/+"))
		eventually(t, func() bool { return b.Value(NamespaceUpstream, "t") == "t/old/+,t/+" })
		require.NoError(t, m.RegisterFilters(ctx, "t/1/#"))
		eventually(t, func() bool { return b.Value(NamespaceUpstream, "t") == "t/old/+,t/+,t/1/#" })
		require.NoError(t, m.RegisterFilters(ctx, "t/2/#"))
		require.True(t, m.HasFilter("t/2/#"))
		require.Never(t, func() bool { return b.Value(NamespaceUpstream, "t") != "t/old/+,t/+,t/1/#" }, 150*time.Millisecond, 10*time.Millisecond)
		require.Equal(t, []string{"t"}, b.Keys(NamespaceUpstream))
	})
}

func TestAListThatAnOperatorReplacesIsCompletedAgain(t *testing.T) {
	each(t, func(t *testing.T, b *metatest.Backend) {
		ctx := context.Background()
		one := start(t, b, "one")
		start(t, b, "two")
		require.NoError(t, one.RegisterFilters(ctx, "t/+", "t/1/#"))
		eventually(t, func() bool { return len(b.Value(NamespaceUpstream, "t")) == len("t/+,t/1/#") })
		b.Edit(NamespaceUpstream, "t", "t/theirs/#")
		eventually(t, func() bool { return b.Value(NamespaceUpstream, "t") == "t/theirs/#,t/+,t/1/#" })
		b.Edit(NamespaceUpstream, "t", "")
		eventually(t, func() bool { return b.Value(NamespaceUpstream, "t") == "t/+,t/1/#" })
	})
}

func TestWhatAnOperatorListsIsRegisteredHoweverItIsWritten(t *testing.T) {
	each(t, func(t *testing.T, b *metatest.Backend) {
		m := start(t, b, "one")
		b.Edit(NamespaceUpstream, "t", " t/+/ ,,t/#/, other/+, t/#/x,t/a")
		eventually(t, func() bool { return m.HasFilter("t/#") })
		require.True(t, m.HasFilter("t/+"))
		require.True(t, m.HasFilter("t/a"))
		require.False(t, m.HasFilter("other/+"))
		require.Contains(t, queues(m, "t/b"), topic.Queue("t/+"))
		b.Edit(NamespaceUpstream, "t", "")
		eventually(t, func() bool { return !m.HasFilter("t/+") && len(queues(m, "t/b")) == 0 })
	})
}

func TestAFilterListedAndRecordedStaysUntilBothAreGone(t *testing.T) {
	on(t, metatest.Full(), func(t *testing.T, b *metatest.Backend) {
		m := start(t, b, "one")
		require.NoError(t, m.PinFilter(context.Background(), "t/+"))
		eventually(t, func() bool { return b.Value(NamespaceUpstream, "t") == "t/+" })
		b.Edit(NamespaceUpstream, "t", "")
		require.Never(t, func() bool { return !m.HasFilter("t/+") }, 50*time.Millisecond, 5*time.Millisecond)
		b.Edit(NamespaceFilters, "t/+", "")
		eventually(t, func() bool { return !m.HasFilter("t/+") })
		require.Empty(t, queues(m, "t/x"))
	})
}

func TestTooManyFiltersAreRefusedAndNoneOfThemRegistered(t *testing.T) {
	each(t, func(t *testing.T, b *metatest.Backend) {
		ctx := context.Background()
		m := start(t, b, "one", func(o *Options) { o.MaxFilters = 10 })
		var wg sync.WaitGroup
		var refused atomic.Int32
		for i := range 30 {
			wg.Go(func() {
				if err := m.RegisterFilters(ctx, fmt.Sprintf("t/%d/#", i)); err != nil {
					require.ErrorIs(t, err, ErrTooManyFilters)
					refused.Add(1)
				}
			})
		}
		wg.Wait()
		require.EqualValues(t, 20, refused.Load())
		require.Equal(t, 10, m.FilterCount("t"))
		require.ErrorIs(t, m.RegisterFilters(ctx, "u/#", "t/x/#"), ErrTooManyFilters)
		require.False(t, m.HasFilter("u/#"))
		require.NoError(t, m.RegisterFilters(ctx, "u/#"))
		require.Error(t, m.RegisterFilters(ctx, "a/#/b"))
	})
}

func TestARegisteredFilterCostsNoWrite(t *testing.T) {
	on(t, metatest.Full(), func(t *testing.T, b *metatest.Backend) {
		m := start(t, b, "one", func(o *Options) { o.HeartbeatInterval = time.Hour })
		require.NoError(t, m.RegisterFilters(context.Background(), "a/+"))
		eventually(t, func() bool { return b.Value(NamespaceUpstream, "a") != "" })
		before := b.Calls("Batch")
		for range 10 {
			require.NoError(t, m.RegisterFilters(context.Background(), "a/+"))
		}
		require.Equal(t, before, b.Calls("Batch"))
	})
}

// reads is a set of filters for which GroupReads reports true.
type reads []string

func (r reads) GroupReads(filter string) bool { return slices.Contains(r, filter) }

func TestUnusedFiltersAreRetiredAndUsedOnesKept(t *testing.T) {
	each(t, func(t *testing.T, b *metatest.Backend) {
		ctx := context.Background()
		var lost sync.Map
		m := start(t, b, "one", func(o *Options) {
			o.FilterGrace = 200 * time.Millisecond
		})
		m.ReadBy(reads{"t/inuse/#"})
		m.OnFilterLost(func(f string) { lost.Store(f, true) })
		b.Edit(NamespaceUpstream, "t", "t/operator/#")
		eventually(t, func() bool { return m.HasFilter("t/operator/#") })
		require.NoError(t, m.RegisterFilters(ctx, "t/unused/#", "t/session/#", "t/shared/#", "t/inuse/#", "t/plain",
			"$share/g/t/shared/#", "$share/gone/t/session/#"))
		m.MatchFilters("$share/g/t/shared/x", func(queue string) { t.Errorf("a group has queue %q", queue) })
		require.NoError(t, m.PinFilter(ctx, "t/pinned/#"))
		require.NoError(t, m.SaveSession(ctx, &Session{ClientID: "c", Subscriptions: []Subscription{
			{Filter: "t/session/#"}, {Filter: "$share/g/t/shared/#"}}}))
		eventually(t, func() bool {
			return !m.HasFilter("t/unused/#") && !m.HasFilter("t/plain") && !m.HasFilter("$share/gone/t/session/#")
		})
		for _, f := range []string{"t/session/#", "t/shared/#", "$share/g/t/shared/#", "t/inuse/#", "t/operator/#", "t/pinned/#"} {
			require.True(t, m.HasFilter(f), f)
		}
		require.NotContains(t, b.Value(NamespaceUpstream, "t"), "unused")
		eventually(t, func() bool { _, ok := lost.Load("t/unused/#"); return ok })
		eventually(t, func() bool { _, ok := lost.Load("$share/gone/t/session/#"); return ok })
		require.NoError(t, m.UnpinFilter(ctx, "t/pinned/#"))
		require.NoError(t, m.DeleteSession(ctx, "c"))
		eventually(t, func() bool {
			return !m.HasFilter("t/pinned/#") && !m.HasFilter("t/shared/#") && !m.HasFilter("$share/g/t/shared/#")
		})
		require.True(t, m.HasFilter("t/inuse/#"))
	})
}

func TestOnlyOneNodeSweepsAndItSparesWhatOthersNeed(t *testing.T) {
	each(t, func(t *testing.T, b *metatest.Backend) {
		short := func(o *Options) { o.FilterGrace = 300 * time.Millisecond }
		one := start(t, b, "one", short)
		two := start(t, b, "two", short)
		two.ReadBy(reads{"t/two/#"})
		eventually(t, func() bool { return len(one.Nodes()) == 2 && len(two.Nodes()) == 2 })
		require.NoError(t, two.RegisterFilters(context.Background(), "t/two/#", "t/nobody/#"))
		eventually(t, func() bool { return one.HasFilter("t/two/#") })
		eventually(t, func() bool { return !one.HasFilter("t/nobody/#") && !two.HasFilter("t/nobody/#") })
		require.True(t, one.HasFilter("t/two/#"))
		require.True(t, one.nodes.leads())
		require.False(t, two.nodes.leads())
	})
}

func TestAFilterInUseThatVanishesComesBack(t *testing.T) {
	each(t, func(t *testing.T, b *metatest.Backend) {
		m := start(t, b, "one", func(o *Options) {
			o.ResyncInterval = 30 * time.Millisecond
		})
		m.ReadBy(reads{"t/+"})
		require.NoError(t, m.RegisterFilters(context.Background(), "t/+"))
		b.Edit(NamespaceFilters, "t/+", "")
		b.Edit(NamespaceUpstream, "t", "")
		eventually(t, func() bool { return b.Value(NamespaceFilters, "t/+") != "" && m.HasFilter("t/+") })
	})
}

func TestARecordThatCannotBeReadKeepsItsFilter(t *testing.T) {
	on(t, metatest.Full(), func(t *testing.T, b *metatest.Backend) {
		b.Edit(NamespaceFilters, "t/+", "not json")
		b.Edit(NamespaceFilters, "t/#", `{"v":99}`)
		b.Edit(NamespaceFilters, "t/#/bad", `{"v":1}`)
		m := start(t, b, "one")
		require.Len(t, queues(m, "t/x"), 2)
	})
}

func TestMatchingAllocatesNothing(t *testing.T) {
	on(t, metatest.Full(), func(t *testing.T, b *metatest.Backend) {
		m := start(t, b, "one")
		require.NoError(t, m.RegisterFilters(context.Background(), "a/+/c", "a/#", "#", "x/y"))
		n := 0
		count := func(string) { n++ }
		require.Zero(t, testing.AllocsPerRun(100, func() { m.MatchFilters("a/b/c", count); m.HasTopic("a") }))
		require.Positive(t, n)
	})
}

func BenchmarkMatchAmongFilters(b *testing.B) {
	for _, all := range []int{1000, 100_000, 1_000_000} {
		b.Run(strconv.Itoa(all), func(b *testing.B) {
			m, err := New(Options{Client: metatest.New(metatest.Full()).Client(), Traits: metatest.Full, NodeID: "n"})
			require.NoError(b, err)
			for i := range all {
				m.filters.edit(fmt.Sprintf("cmd/%d/#", i), func(f *filter) { f.recorded = true })
			}
			n := 0
			count := func(string) { n++ }
			b.ReportAllocs()
			for b.Loop() {
				m.MatchFilters("cmd/777/reboot", count)
			}
		})
	}
}

func TestOfFiltersThatDoNotDependOnOneAnotherThoseThatFitAreRegistered(t *testing.T) {
	each(t, func(t *testing.T, b *metatest.Backend) {
		ctx := context.Background()
		m := start(t, b, "one", func(o *Options) { o.MaxFilters = 3 })
		names := []string{"t/0", "u/0", "t/1", "t/1", "a/#/b", "t/2", "t/3", "u/1"}
		r := m.Register(ctx, Owner{}, "", names)
		for _, name := range []string{"t/0", "t/1", "t/2", "u/0", "u/1"} {
			require.NoError(t, r.Err(name))
			require.True(t, m.HasFilter(name))
		}
		require.ErrorIs(t, r.Err("t/3"), ErrTooManyFilters)
		require.Error(t, r.Err("a/#/b"))
		require.Equal(t, 3, m.FilterCount("t"))
	})
}

func TestAFilterThatIsAskedForWhileItIsWithdrawnStays(t *testing.T) {
	each(t, func(t *testing.T, b *metatest.Backend) {
		ctx := context.Background()
		m := start(t, b, "one")
		for i := range 100 {
			name := fmt.Sprintf("t/%d/+", i)
			r := m.Register(ctx, Owner{}, "", []string{name})
			require.NoError(t, r.Err(name))
			withdrawn := make(chan struct{})
			go func() { m.Withdraw(ctx, r, []string{name}); close(withdrawn) }()
			require.NoError(t, m.RegisterFilters(ctx, name))
			<-withdrawn
			require.NotEmpty(t, b.Value(NamespaceFilters, name), name)
			require.True(t, m.HasFilter(name))
		}
	})
}

func TestWhatIsWithdrawnIsGoneUnlessSomebodyElseAskedForIt(t *testing.T) {
	each(t, func(t *testing.T, b *metatest.Backend) {
		ctx := context.Background()
		short := func(o *Options) { o.FilterGrace = 2 * time.Second }
		one, two := start(t, b, "one", short), start(t, b, "two", short)
		needed := reads{"t/before/+", "t/here/+", "t/there/+"}
		one.ReadBy(needed)
		two.ReadBy(needed)
		require.NoError(t, one.RegisterFilters(ctx, "t/before/+"))
		var names []string
		for i := range 60 {
			names = append(names, fmt.Sprintf("t/%03d/+", i))
		}
		all := append(names, "t/before/+", "t/here/+", "t/there/+")
		r := one.Register(ctx, Owner{}, "", all)
		eventually(t, func() bool { return two.HasFilter("t/there/+") })
		require.NoError(t, one.RegisterFilters(ctx, "t/here/+"))
		require.NoError(t, two.RegisterFilters(ctx, "t/there/+"))
		eventually(t, func() bool { return b.Value(NamespaceUpstream, "t") != "" })
		gone, cancel := context.WithCancel(ctx)
		cancel()
		one.Withdraw(gone, r, all)
		require.Equal(t, []string{"t/before/+", "t/here/+", "t/there/+"}, b.Keys(NamespaceFilters))
		// The other node may have written the filter into the list for upstream's gateways in the meantime.
		eventually(t, func() bool {
			return !one.HasFilter("t/000/+") && !two.HasFilter("t/000/+") && !strings.Contains(b.Value(NamespaceUpstream, "t"), "t/000/+")
		})
		one.Withdraw(ctx, r, all)
		require.NoError(t, one.RegisterFilters(ctx, names[:2]...))
		require.True(t, one.HasFilter("t/000/+"))
	})
}

func TestThousandsOfFiltersAreWrittenSeveralBatchesAtATime(t *testing.T) {
	on(t, metatest.Full(), func(t *testing.T, b *metatest.Backend) {
		m := start(t, b, "one")
		b.Delay(20 * time.Millisecond)
		var names []string
		for i := range 2_000 {
			names = append(names, fmt.Sprintf("t/%d/#", i))
		}
		r := m.Register(context.Background(), Owner{}, "", names)
		b.Delay(0)
		for _, name := range names {
			require.NoError(t, r.Err(name))
		}
		require.Equal(t, 2_000, m.FilterCount("t"))
		require.Greater(t, b.MostAtATime(), 1)
	})
}

func TestANodeThatCatchesUpKnowsEveryFilterThatWasRegisteredBefore(t *testing.T) {
	each(t, func(t *testing.T, b *metatest.Backend) {
		m := start(t, b, "one", func(o *Options) {
			o.PollInterval, o.ResyncInterval, o.UpstreamPollInterval = time.Hour, time.Hour, time.Hour
		})
		other := start(t, b, "two")
		for i := range 5 {
			filter := fmt.Sprintf("t/%d/#", i)
			require.NoError(t, other.RegisterFilters(t.Context(), filter))
			require.NoError(t, m.CatchUp(t.Context()))
			require.True(t, m.HasFilter(filter))
		}
		b.Fail(true)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, m.CatchUp(ctx), ErrUnavailable)
		b.Fail(false)
	})
}
