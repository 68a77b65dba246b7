package meta

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/meta/metatest"
	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/topic"
)

func value(name, payload string, at int64) *Retained {
	return &Retained{Message: &store.Message{Topic: name, Payload: []byte(payload), QoS: 1, Retain: true, Publisher: "p"},
		Position: store.Position{Broker: "b", Partition: 2, Offset: 7, Log: at, Time: at}}
}

func matched(m *Meta, filter string) []string {
	var got []string
	m.MatchRetained(filter, func(r *Retained) bool {
		got = append(got, r.Message.Topic+"="+string(r.Message.Payload))
		return true
	})
	slices.Sort(got)
	return got
}

func TestTheLaterPositionIsRetained(t *testing.T) {
	each(t, func(t *testing.T, b *metatest.Backend) {
		ctx := context.Background()
		one, two := start(t, b, "one"), start(t, b, "two")
		require.NoError(t, one.SetRetained(ctx, value("a/b", "later", 20)))
		require.NoError(t, one.SetRetained(ctx, value("a/b", "earlier", 10)))
		require.Equal(t, []string{"a/b=later"}, matched(one, "a/b"))
		eventually(t, func() bool { return two.RetainedCount() == 1 })
		require.NoError(t, two.SetRetained(ctx, value("a/b", "earlier", 15)))
		require.NoError(t, two.SetRetained(ctx, value("a/b", "", 30)))
		require.Empty(t, matched(two, "a/b"))
		eventually(t, func() bool { return one.RetainedCount() == 0 })
		require.NoError(t, one.SetRetained(ctx, value("a/b", "resurrected", 25)))
		require.Empty(t, matched(one, "#"))
		require.NoError(t, one.SetRetained(ctx, value("a/b", "new", 40)))
		require.Equal(t, []string{"a/b=new"}, matched(one, "#"))
		three := start(t, b, "three")
		require.Equal(t, []string{"a/b=new"}, matched(three, "a/+"))
	})
}

func TestValuesOfSeveralNodesConverge(t *testing.T) {
	each(t, func(t *testing.T, b *metatest.Backend) {
		nodes := []*Meta{start(t, b, "one"), start(t, b, "two"), start(t, b, "three")}
		var wg sync.WaitGroup
		var want []string
		for topic := range 8 { // each topic is a separate race
			name := fmt.Sprintf("a/%d", topic)
			want = append(want, name+"=59")
			for _, i := range rand.Perm(60) {
				wg.Go(func() {
					require.NoError(t, nodes[i%3].SetRetained(context.Background(), value(name, fmt.Sprint(i), int64(i+1))))
				})
			}
		}
		wg.Wait()
		for _, m := range nodes {
			eventually(t, func() bool { return slices.Equal(matched(m, "a/+"), want) }, m.opts.NodeID)
		}
	})
}

func TestRetainedMessagesComeBackWhole(t *testing.T) {
	each(t, func(t *testing.T, b *metatest.Backend) {
		m := start(t, b, "one")
		v := value("t/ü", "\x00\xff", 1)
		v.Message.Created = time.UnixMilli(1700000000123)
		v.Message.Expires = time.Now().Add(time.Hour).Truncate(time.Millisecond)
		v.Message.Properties = &store.Properties{HasFormat: true, ContentType: "x/y", ResponseTopic: "r", CorrelationData: []byte{0, 1},
			User: []store.UserProperty{{Key: "b", Value: "1"}, {Key: "a", Value: "2"}, {Key: "b", Value: ""}}}
		require.NoError(t, m.SetRetained(context.Background(), v))
		again := start(t, b, "two")
		n := 0
		again.MatchRetained("t/ü", func(r *Retained) bool {
			n++
			require.Equal(t, [2]any{v.Message, v.Position}, [2]any{r.Message, r.Position})
			return true
		})
		require.Equal(t, 1, n)
	})
}

func TestExpiredMessagesAreNotFoundAndSwept(t *testing.T) {
	each(t, func(t *testing.T, b *metatest.Backend) {
		ctx := context.Background()
		m := start(t, b, "one", func(o *Options) { o.TombstoneTTL = 60 * time.Millisecond })
		v := value("a", "x", 1)
		v.Message.Expires = time.Now().Add(30 * time.Millisecond)
		require.NoError(t, m.SetRetained(ctx, v))
		require.NoError(t, m.SetRetained(ctx, value("b", "", 1)))
		require.NoError(t, m.SetRetained(ctx, value("c", "stays", 1)))
		eventually(t, func() bool { return len(matched(m, "#")) == 1 })
		eventually(t, func() bool { return slices.Equal(b.Keys(NamespaceRetained), []string{"c"}) })
		eventually(t, func() bool { return m.RetainedCount() == 1 })
	})
}

func TestTheIndexFindsWhatMatchingEachTopicFinds(t *testing.T) {
	levels := []string{"a", "b", "", "$x", "+", "#"}
	var names, filters []string
	var build func(prefix string, depth int)
	build = func(prefix string, depth int) {
		for _, l := range levels {
			s := l
			if prefix != "\x00" {
				s = prefix + "/" + l
			}
			if topic.ValidateFilter(s) == nil {
				filters = append(filters, s)
			}
			if topic.ValidateName(s) == nil {
				names = append(names, s)
			}
			if depth > 1 {
				build(s, depth-1)
			}
		}
	}
	build("\x00", 3)
	var x retainedIndex
	for _, n := range names {
		x.set(n, value(n, "v", 1))
	}
	check := func() {
		for _, f := range filters {
			var want, got []string
			for n := range x.exact {
				if topic.Match(f, n) {
					want = append(want, n)
				}
			}
			for _, r := range x.match(f) {
				got = append(got, r.Message.Topic)
			}
			slices.Sort(want)
			slices.Sort(got)
			require.Equal(t, want, got, f)
		}
	}
	check()
	for i, n := range names {
		if i%2 == 0 {
			x.remove(n)
		}
	}
	check()
	for _, n := range names {
		x.remove(n)
	}
	require.Empty(t, x.root.children)
}

func FuzzValuesWrittenByHand(f *testing.F) {
	f.Add("k", []byte(`{"v":1,"position":{"time_ms":5},"message":{"topic":"x"}}`))
	f.Add("a/b", []byte(`{"v":1,"expiry_ms":-5,"subscriptions":[{}]}`))
	f.Add("p/-0001", []byte(`{"v":1,"subscriptions":[{"filter":"a"}]}`))
	f.Add("p/99999", []byte(`{"v":1,"subscriptions":[{"filter":"a"}]}`))
	b := metatest.New(metatest.Full())
	f.Cleanup(b.Close)
	f.Fuzz(func(t *testing.T, key string, data []byte) {
		m, err := New(Options{Client: b.Client(), Traits: b.Traits, NodeID: "n"})
		require.NoError(t, err)
		e := entryOf(key, data)
		m.filters.applyKey(key, e)
		m.retained.applyKey(key, e)
		m.nodes.applyKey(key, e)
		m.topics.applyKey(key, e)
		_, _, _ = decodeSession(e, stored{})
		_, _ = (&pages{name: "p", at: map[string]place{}}).read(e)
		_, _ = decodeWill(e, stored{})
		m.MatchRetained("#", func(*Retained) bool { return true })
	})
}

// turn is a value in retainedTurns whose write waits until the test lets it finish.
type turn struct {
	t     *testing.T
	turns *retainedTurns
	mu    sync.Mutex
	wrote []string
	ends  chan error
}

func (r *turn) set(ctx context.Context, payload string, at int64) <-chan error {
	out := make(chan error, 1)
	before := r.waiting()
	go func() {
		v := value("a", payload, at)
		out <- r.turns.set(ctx, v, func() error {
			r.mu.Lock()
			r.wrote = append(r.wrote, payload)
			r.mu.Unlock()
			return <-r.ends
		})
	}()
	eventually(r.t, func() bool { return r.waiting() > before })
	return out
}

// waiting counts the writes that have begun and the values that wait for a turn.
func (r *turn) waiting() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turns.mu.Lock()
	defer r.turns.mu.Unlock()
	return len(r.wrote) + len(r.turns.of["a"])
}

func TestOfValuesThatWaitTheNewestIsWrittenForAll(t *testing.T) {
	r := &turn{t: t, turns: &retainedTurns{}, ends: make(chan error)}
	ctx := context.Background()
	one := r.set(ctx, "1", 1)
	three, two := r.set(ctx, "3", 3), r.set(ctx, "2", 2)
	r.ends <- nil
	require.NoError(t, <-one)
	r.ends <- nil
	require.NoError(t, <-two)
	require.NoError(t, <-three)
	require.Equal(t, []string{"1", "3"}, r.wrote)
	require.Empty(t, r.turns.of, "nothing is kept of a topic that nobody writes to")
}

func TestAValueThatIsRefusedTakesNoOtherAlong(t *testing.T) {
	r := &turn{t: t, turns: &retainedTurns{}, ends: make(chan error)}
	ctx := context.Background()
	gone, leave := context.WithCancel(ctx)
	one, left := r.set(ctx, "1", 1), r.set(gone, "left", 9)
	two, three, four := r.set(ctx, "2", 2), r.set(ctx, "3", 3), r.set(ctx, "4", 4)
	leave()
	require.ErrorIs(t, <-left, context.Canceled)
	r.ends <- ErrUnavailable
	require.ErrorIs(t, <-one, ErrUnavailable)
	r.ends <- ErrLimit
	require.ErrorIs(t, <-four, ErrLimit)
	r.ends <- nil
	require.NoError(t, <-three)
	require.NoError(t, <-two)
	require.Equal(t, []string{"1", "4", "3"}, r.wrote)
	one, two, three = r.set(ctx, "1", 1), r.set(ctx, "2", 2), r.set(ctx, "3", 3)
	r.ends <- nil
	require.NoError(t, <-one)
	r.ends <- ErrUnavailable
	require.ErrorIs(t, <-two, ErrUnavailable)
	require.ErrorIs(t, <-three, ErrUnavailable)
	require.Empty(t, r.turns.of)
}
