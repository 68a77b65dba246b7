package coordinator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/meta/metatest"
	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/internal/leftover"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(leftover.Patient(m)) }

// testLease lasts for several polls. These tests run in virtual time, so that a node does not lose its lease on a busy machine.
const testLease = 500 * time.Millisecond

// cluster is two backends and the nodes that use them.
type cluster struct {
	t    *testing.T
	a, b *metatest.Backend

	mu    sync.Mutex
	acked map[string]bool // filters whose registration was confirmed
}

func newCluster(t *testing.T, a, b *pluginv1.MetaTraits) *cluster {
	c := &cluster{t: t, a: metatest.New(a), b: metatest.New(b), acked: map[string]bool{}}
	t.Cleanup(c.a.Close)
	t.Cleanup(c.b.Close)
	return c
}

// options returns the options of a node that can migrate from one backend to another.
func (c *cluster) options(id string, from, to *metatest.Backend) meta.Options {
	o := meta.Options{
		Client:               from.Client(),
		Traits:               from.Traits,
		NodeID:               id,
		MigrationLease:       testLease,
		CallTimeout:          time.Second,
		WriteTimeout:         5 * time.Second,
		PollInterval:         20 * time.Millisecond,
		UpstreamPollInterval: 50 * time.Millisecond,
		HeartbeatInterval:    100 * time.Millisecond,
		LostAfter:            2 * time.Second,
		Stage: func(context.Context, string) (*meta.Target, error) {
			return &meta.Target{Client: to.Client(), Traits: to.Traits, Adopt: func() {}, Drop: func() {}}, nil
		},
	}
	if os.Getenv("META_TEST_LOG") != "" {
		o.Log = slog.New(slog.NewTextHandler(os.Stderr, nil)).With("node", id)
	}
	return o
}

// node runs a node until the test ends.
func (c *cluster) node(id string, change ...func(*meta.Options)) *meta.Meta {
	c.t.Helper()
	return c.nodeOn(id, c.a, change...)
}

func (c *cluster) nodeOn(id string, b *metatest.Backend, change ...func(*meta.Options)) *meta.Meta {
	c.t.Helper()
	o := c.options(id, b, c.b)
	for _, f := range change {
		f(&o)
	}
	m, err := meta.New(o)
	require.NoError(c.t, err)
	require.NoError(c.t, m.Start(c.t.Context()))
	c.t.Cleanup(func() { require.NoError(c.t, m.Close()) })
	eventually(c.t, func() bool { return m.Ready() == nil && m.LeaseValid() })
	return m
}

// load registers filters through a node, one after another, until stop is called.
func (c *cluster) load(m *meta.Meta, prefix string) (stop func()) {
	ctx, cancel := context.WithCancel(c.t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			filter := fmt.Sprintf("t/%s/%d/#", prefix, i)
			if m.RegisterFilters(ctx, filter) == nil {
				c.mu.Lock()
				c.acked[filter] = true
				c.mu.Unlock()
			}
			time.Sleep(20 * time.Millisecond)
		}
	})
	return func() { cancel(); wg.Wait() }
}

// complete requires that a backend has every filter whose registration was confirmed.
func (c *cluster) complete(b *metatest.Backend) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	require.NotEmpty(c.t, c.acked)
	for filter := range c.acked {
		require.NotEmpty(c.t, b.Value(meta.NamespaceFilters, filter), "filter %q was acknowledged and is lost", filter)
	}
}

// forward returns the options of a command that migrates the cluster from its first backend to its second.
func (c *cluster) forward() Options {
	return Options{From: side("first", c.a), To: side("second", c.b), Wait: 20 * time.Second, Hold: 8 * time.Second, Say: c.t.Logf,
		lease: testLease, silence: 3 * time.Second, poll: 20 * time.Millisecond, aborting: 2 * time.Second, finishing: 20 * time.Second}
}

func side(name string, b *metatest.Backend) Side {
	return Side{Name: name, Client: b.Client(), Traits: b.Traits()}
}

func eventually(t *testing.T, cond func() bool, about ...any) {
	t.Helper()
	require.Eventually(t, cond, time.Minute, 20*time.Millisecond, about...)
}

func TestRunningNodesMoveAndNothingAcknowledgedIsLost(t *testing.T) {
	for name, traits := range map[string][2]*pluginv1.MetaTraits{
		"plain to full": {metatest.Plain(), metatest.Full()},
		"full to plain": {metatest.Full(), metatest.Plain()},
		"full to full":  {metatest.Full(), metatest.Full()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx := t.Context()
				c := newCluster(t, traits[0], traits[1])
				for i := range 300 {
					c.a.Edit(meta.NamespaceSessions, fmt.Sprintf("old-%d", i), `{"v":1,"epoch":1}`)
				}
				c.a.Edit(meta.NamespaceUpstream, "LMQ_CONNECT_NODES", "10.0.0.1:1883 , 10.0.0.2:1883")
				for range 40 { // so that the revisions of the two backends differ
					c.b.Edit("other", "k", "v")
				}
				one, two := c.node("one"), c.node("two")
				require.NoError(t, one.AddTopic(ctx, "t"))
				eventually(t, func() bool { return two.HasTopic("t") })
				require.NoError(t, one.SaveSession(ctx, &meta.Session{ClientID: "c", Epoch: 1}))
				held, err := two.LoadSession(ctx, "c")
				require.NoError(t, err)
				stale, err := two.LoadSession(ctx, "old-7")
				require.NoError(t, err)
				fresh, err := one.LoadSession(ctx, "old-7")
				require.NoError(t, err)
				fresh.Epoch = 2
				require.NoError(t, one.SaveSession(ctx, fresh))
				require.NoError(
					t,
					one.SaveWill(ctx, &meta.Will{ClientID: "c", Message: &store.Message{Topic: "t/will", Payload: []byte("w")}}),
				)
				will, err := two.LoadWill(ctx, "c")
				require.NoError(t, err)
				stop := []func(){c.load(one, "one"), c.load(two, "two")}

				done, err := Run(ctx, c.forward())
				require.NoError(t, err)
				require.Equal(t, []string{"one", "two"}, done.Nodes)
				require.Empty(t, done.Late)
				t.Logf("held for %s", done.Held)
				inMoved := len(c.b.Keys(meta.NamespaceFilters))
				eventually(t, func() bool { return len(c.b.Keys(meta.NamespaceFilters)) > inMoved+10 }, "writes go on there")
				before := len(c.a.Keys(meta.NamespaceFilters))
				for _, f := range stop {
					f()
				}
				require.Len(t, c.a.Keys(meta.NamespaceFilters), before, "nobody writes to the old backend")
				c.complete(c.b)
				require.Equal(t, "10.0.0.1:1883 , 10.0.0.2:1883", c.b.Value(meta.NamespaceUpstream, "LMQ_CONNECT_NODES"), "byte for byte")

				// The version of a record that was read before the migration is still valid.
				held.Epoch = 2
				require.NoError(t, two.SaveSession(ctx, held))
				require.ErrorIs(t, two.SaveSession(ctx, stale), meta.ErrConflict)
				taken, err := two.TakeThisWill(ctx, will)
				require.NoError(t, err)
				require.True(t, taken)
				require.NoError(t, two.RegisterFilters(ctx, "t/after"))
				eventually(t, func() bool { return one.HasFilter("t/after") && len(one.Nodes()) == 2 && len(two.Nodes()) == 2 })

				again, err := Run(ctx, c.forward())
				require.NoError(t, err)
				require.True(t, again.Again)
				require.Equal(t, done.ID, again.ID)

				// A node that is configured for the old backend follows before it serves. A node that cannot follow refuses writes and is not
				// ready.
				late := c.node("late")
				require.True(t, late.HasFilter("t/after"))
				require.NoError(t, late.RegisterFilters(ctx, "t/late"))
				require.NotEmpty(t, c.b.Value(meta.NamespaceFilters, "t/late"))
				o := c.options("lost", c.a, c.b)
				o.Stage = func(context.Context, string) (*meta.Target, error) { return nil, errors.New("there is no meta.next") }
				lost, err := meta.New(o)
				require.NoError(t, err)
				require.NoError(t, lost.Start(ctx))
				defer func() { require.NoError(t, lost.Close()) }()
				eventually(t, func() bool { err := lost.RegisterFilters(ctx, "t/lost"); return err != nil && lost.Ready() != nil })
				eventually(t, func() bool {
					err := lost.Ready()
					return err != nil && strings.Contains(err.Error(), "there is no meta.next")
				})
				require.Empty(t, c.a.Value(meta.NamespaceFilters, "t/lost"))
			})
		})
	}
}

func TestTheWayBackIsAMigrationAsWell(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		c := newCluster(t, metatest.Plain(), metatest.Full())
		var back atomic.Bool
		one := c.node("one", func(o *meta.Options) {
			o.Stage = func(context.Context, string) (*meta.Target, error) {
				b := c.b
				if back.Load() {
					b = c.a
				}
				return &meta.Target{Client: b.Client(), Traits: b.Traits, Adopt: func() {}, Drop: func() {}}, nil
			}
		})
		stop := c.load(one, "one")
		_, err := Run(ctx, c.forward())
		require.NoError(t, err)
		back.Store(true)
		c.a.Edit(meta.NamespaceRetained, "t/kept", "by hand")
		o := c.forward()
		o.From, o.To = o.To, o.From
		_, err = Run(ctx, o)
		require.ErrorContains(t, err, "not empty", "what has changed since is not thrown away unasked")
		o.Replace = true
		done, err := Run(ctx, o)
		require.NoError(t, err)
		require.Equal(t, []string{"one"}, done.Nodes)
		there := len(c.a.Keys(meta.NamespaceFilters))
		eventually(t, func() bool { return len(c.a.Keys(meta.NamespaceFilters)) > there })
		stop()
		c.complete(c.a)
	})
}

func TestWhatCannotBeMigratedIsRefusedAndEverythingStays(t *testing.T) {
	for name, test := range map[string]struct {
		a, b    *pluginv1.MetaTraits
		arrange func(c *cluster, o *Options)
		node    func(*testing.T, *meta.Options)
		want    string
	}{
		"a target that is not empty": {metatest.Plain(), metatest.Full(), func(c *cluster, _ *Options) {
			c.b.Edit(meta.NamespaceRetained, "somebody/else", "x")
		}, nil, `lmqgate.retained "somebody/else" is there in addition`},
		"a target that gateways use": {metatest.Plain(), metatest.Full(), func(c *cluster, o *Options) {
			c.nodeOn("theirs", c.b)
			c.b.Edit(meta.NamespaceNodes, "gone", `{"v":1}`)
			o.Replace = true
		}, nil, "in use by gateways (theirs)"},
		"a target that somebody uses who was here before": {metatest.Plain(), metatest.Full(), func(c *cluster, _ *Options) {
			c.b.Edit(meta.NamespaceNodes, "gone", `{"v":1}`)
			c.b.Edit(meta.NamespaceFilters, "theirs/#", "x")
		}, nil, "not empty"},
		"source and target are one": {metatest.Full(), metatest.Full(), func(_ *cluster, o *Options) { o.To = o.From },
			nil, "in use by gateways (one)"},
		"no compare-and-set on either side": {metatest.Plain(), metatest.Plain(), nil, nil, "compare-and-set"},
		"a target for one process": {metatest.Plain(), &pluginv1.MetaTraits{CompareAndSet: true, Watch: true}, nil, nil,
			"can be used by one process only"},
		"a node without meta.next": {metatest.Plain(), metatest.Full(), nil, func(_ *testing.T, o *meta.Options) {
			o.Stage = func(context.Context, string) (*meta.Target, error) { return nil, errors.New("there is no meta.next") }
		}, `node "one" cannot follow: there is no meta.next`},
		"a node with another meta.next": {metatest.Plain(), metatest.Full(), nil, func(t *testing.T, o *meta.Options) {
			b := metatest.New(metatest.Full())
			t.Cleanup(b.Close)
			o.Stage = func(context.Context, string) (*meta.Target, error) {
				return &meta.Target{Client: b.Client(), Traits: b.Traits, Adopt: func() {}, Drop: func() {}}, nil
			}
		}, "another backend than the one"},
		"a target that is down": {metatest.Plain(), metatest.Full(), func(c *cluster, _ *Options) { c.b.Fail(true) }, nil, "the backend is down"},
		"a target that is full": {metatest.Plain(), metatest.Full(), func(c *cluster, _ *Options) {
			for i := range 50 {
				c.a.Edit(meta.NamespaceRetained, fmt.Sprintf("t/%d", i), "x")
			}
			c.b.Limit(20)
		}, nil, "full"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, test.a, test.b)
				var change []func(*meta.Options)
				if test.node != nil {
					change = append(change, func(o *meta.Options) { test.node(t, o) })
				}
				one := c.node("one", change...)
				o := c.forward()
				if test.arrange != nil {
					test.arrange(c, &o)
				}
				ctx := t.Context()
				_, err := Run(ctx, o)
				require.ErrorContains(t, err, test.want)
				require.NotContains(t, err.Error(), "\n")
				eventually(t, func() bool { return one.RegisterFilters(ctx, "t/after") == nil })
				require.NotEmpty(t, c.a.Value(meta.NamespaceFilters, "t/after"))
				require.Empty(t, c.b.Value(meta.NamespaceFilters, "t/after"))
				require.NoError(t, one.Ready())
			})
		})
	}
}
