package coordinator

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/meta/metatest"
	"github.com/lmqgate/lmqgate/core/meta/migration"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// TestACommandThatDiesAtAnyCallLeavesAllNodesOnOneSide cuts the command off after a given number of calls, as kill -9 would.
func TestACommandThatDiesAtAnyCallLeavesAllNodesOnOneSide(t *testing.T) {
	for name, traits := range map[string][2]*pluginv1.MetaTraits{
		"plain to full": {metatest.Plain(), metatest.Full()},
		"full to plain": {metatest.Full(), metatest.Plain()},
	} {
		// A run with two nodes makes a few dozen calls. Later passes through the loops are like the first, so the steps grow.
		for calls := 1; calls < 150; calls += 1 + calls/5 {
			t.Run(fmt.Sprintf("%s, after %d calls", name, calls), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					ctx := t.Context()
					c := newCluster(t, traits[0], traits[1])
					one, two := c.node("one"), c.node("two")
					stop := []func(){c.load(one, "one"), c.load(two, "two")}
					o := c.forward()
					o.Hold, o.aborting, o.finishing = time.Second, 50*time.Millisecond, 50*time.Millisecond
					dying := &link{limited: true, left: calls}
					o.From.Client = dying.on(c.a.Client())
					o.To.Client = dying.on(c.b.Client())
					_, err := Run(ctx, o)

					// Whatever the outcome, writes succeed again before long, all on one side.
					writable := func(m *meta.Meta, filter string) {
						eventually(t, func() bool { return m.RegisterFilters(ctx, filter) == nil })
					}
					writable(one, "t/after/one")
					writable(two, "t/after/two")
					on := func(b *metatest.Backend) bool {
						return b.Value(meta.NamespaceFilters, "t/after/one") != "" && b.Value(meta.NamespaceFilters, "t/after/two") != ""
					}
					require.NotEqual(t, on(c.a), on(c.b), "the nodes write to one backend")
					if err == nil {
						require.True(t, on(c.b))
					}

					// A second run completes the migration.
					_, err = Run(ctx, c.forward())
					require.NoError(t, err)
					for _, f := range stop {
						f()
					}
					c.complete(c.b)
					writable(one, "t/final")
					require.NotEmpty(t, c.b.Value(meta.NamespaceFilters, "t/final"))
					require.Empty(t, c.a.Value(meta.NamespaceFilters, "t/final"))
				})
			})
		}
	}
}

func TestANodeThatDoesNotAnswerTheFenceAbortsIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		c := newCluster(t, metatest.Plain(), metatest.Full())
		one := c.node("one")
		paused := &link{}
		two := c.node("two", func(o *meta.Options) { o.Client = paused.on(o.Client) })
		o := c.forward()
		o.Hold = 2 * time.Second
		board := migration.Board{Client: c.a.Client()}
		frozen := make(chan func(), 1)
		go func() {
			for ctx.Err() == nil {
				answers, err := board.AllAnswers(ctx)
				if err == nil && answers["two"].State == migration.Ready {
					frozen <- paused.freeze()
					return
				}
				time.Sleep(time.Millisecond)
			}
			frozen <- func() {}
		}()
		_, err := Run(ctx, o)
		thaw := <-frozen
		require.ErrorContains(t, err, "two did not answer")
		require.ErrorContains(t, err, "everything stays on first")
		eventually(t, func() bool { return one.RegisterFilters(ctx, "t/one") == nil })
		thaw()
		eventually(t, func() bool { return two.RegisterFilters(ctx, "t/two") == nil })
		require.Subset(t, c.a.Keys(meta.NamespaceFilters), []string{"t/one", "t/two"})
		require.Empty(t, c.b.Value(meta.NamespaceFilters, "t/one"))
	})
}

// TestAWriteThatWasUnderWayWhileItsNodeWasPausedIsNotLost pauses a node after its last check of the plan and before its write. The pause is
// longer than the whole migration.
func TestAWriteThatWasUnderWayWhileItsNodeWasPausedIsNotLost(t *testing.T) {
	for name, traits := range map[string][2]*pluginv1.MetaTraits{
		"plain to full": {metatest.Plain(), metatest.Full()},
		"full to full":  {metatest.Full(), metatest.Full()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx := t.Context()
				c := newCluster(t, traits[0], traits[1])
				one := c.node("one")
				paused := &link{}
				two := c.node("two", func(o *meta.Options) { o.Client = paused.on(o.Client); o.WriteTimeout = time.Minute })
				thaw := paused.freeze()
				written := make(chan error, 2)
				go func() { written <- two.RegisterFilters(ctx, "t/paused") }()
				go func() { written <- two.SaveSession(ctx, &meta.Session{ClientID: "paused", Epoch: 1}) }()

				done, err := Run(ctx, c.forward())
				require.NoError(t, err, "a node that is silent is taken for lost")
				require.Equal(t, []string{"one"}, done.Nodes)
				require.NoError(t, one.RegisterFilters(ctx, "t/meanwhile"))
				thaw()
				for range 2 {
					require.NoError(t, <-written)
				}
				require.NotEmpty(t, c.b.Value(meta.NamespaceFilters, "t/paused"), "what was acknowledged is where everybody is")
				require.NotEmpty(t, c.b.Value(meta.NamespaceSessions, "paused"))
				eventually(t, func() bool { return two.HasFilter("t/meanwhile") && two.Ready() == nil })
				eventually(t, func() bool { return len(one.Nodes()) == 2 })
			})
		})
	}
}

func TestANodeThatStartsWhileWritesAreHeldWaitsAndFollows(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		c := newCluster(t, metatest.Plain(), metatest.Full())
		c.node("one")
		board := migration.Board{Client: c.a.Client()}
		o := c.forward()
		slow := &link{} // the command hangs while the nodes hold back their writes
		o.To.Client = slow.on(o.To.Client)
		fenced := make(chan func(), 1)
		o.From.Client = &planned{o.From.Client, migration.Fence, func() { fenced <- slow.freeze() }}
		result := make(chan error, 1)
		go func() {
			_, err := Run(ctx, o)
			result <- err
		}()
		thaw := <-fenced
		eventually(t, func() bool {
			answers, err := board.AllAnswers(ctx)
			return err == nil && answers["one"].State == migration.Held
		})
		two, err := meta.New(c.options("two", c.a, c.b))
		require.NoError(t, err)
		require.NoError(t, two.Start(ctx))
		defer func() { require.NoError(t, two.Close()) }()
		written := make(chan error, 1)
		go func() {
			for {
				err := two.RegisterFilters(ctx, "t/new")
				if err == nil || ctx.Err() != nil {
					written <- err
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
		}()
		time.Sleep(300 * time.Millisecond) // time for a write to go wrong
		require.Empty(t, c.a.Value(meta.NamespaceFilters, "t/new"))
		thaw()
		require.NoError(t, <-result)
		require.NoError(t, <-written)
		require.NotEmpty(t, c.b.Value(meta.NamespaceFilters, "t/new"))
		require.Empty(t, c.a.Value(meta.NamespaceFilters, "t/new"))
		eventually(t, func() bool { return two.Ready() == nil })
	})
}

func TestWritesStayHeldWhileTheArbiterIsDownAndGoOnWhenItIsBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		c := newCluster(t, metatest.Plain(), metatest.Full())
		one := c.node("one")
		o := c.forward()
		o.Hold = time.Second
		// The command dies when it has announced the fence, so that it cannot abort the migration; the target fails at the same moment.
		dying := &link{}
		o.From.Client = &planned{dying.on(o.From.Client), migration.Fence, func() {
			c.b.Fail(true)
			dying.limit(2) // the call that writes the plan, and its answer
		}}
		_, err := Run(ctx, o)
		require.Error(t, err)
		eventually(t, func() bool { return one.Ready() != nil })
		require.ErrorContains(t, one.Ready(), "does not answer")
		require.ErrorIs(t, one.RegisterFilters(ctx, "t/held"), meta.ErrUnavailable)
		c.b.Fail(false)
		eventually(t, func() bool { return one.RegisterFilters(ctx, "t/on") == nil && one.Ready() == nil })
		require.NotEmpty(t, c.a.Value(meta.NamespaceFilters, "t/on"))
		_, err = Run(context.WithoutCancel(ctx), c.forward())
		require.NoError(t, err)
		require.NotEmpty(t, c.b.Value(meta.NamespaceFilters, "t/on"))
	})
}
