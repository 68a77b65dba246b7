package cluster

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// alone starts a node that knows no other.
func (w *world) alone(id string) *member {
	w.know(id)
	return w.begin(id)
}

// TestANodeThatIsAloneIsNotHeldWhileItCanTell cuts a node that is alone off from the store, or from the metadata, for long: it knows by the
// other one that it is alone, keeps its client and goes on.
func TestANodeThatIsAloneIsNotHeldWhileItCanTell(t *testing.T) {
	for name, cut := range map[string]func(n *member, on bool){"store": (*member).pause, "metadata": (*member).isolate} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				a := w.alone("a")
				require.NoError(t, a.connect("client", durable))
				cut(a, true)
				for range 100 {
					pass(time.Second)
					require.False(t, a.Fenced())
				}
				cut(a, false)
				pass(time.Minute)
				require.False(t, a.Fenced())
				require.False(t, a.Shared(), "it writes and reads nothing again")
				require.Empty(t, a.gaveUp())
			})
		})
	}
}

// TestANodeThatIsAloneAndCutOffFromEverythingWaits cuts a node off from store and metadata: another one may have started. Nobody has, so it
// keeps its client.
func TestANodeThatIsAloneAndCutOffFromEverythingWaits(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.alone("a")
		require.NoError(t, a.connect("client", durable))
		a.pause(true)
		a.isolate(true)
		at, ok := a.FencedAt()
		require.True(t, ok)
		require.LessOrEqual(t, time.Until(at), a.o.Lease*4/5, "before another node may go on")
		pass(time.Until(at) + time.Millisecond)
		require.True(t, a.Fenced())
		pass(time.Hour)
		require.True(t, a.Fenced())
		a.pause(false)
		a.isolate(false)
		w.eventually("it goes on", func() bool { return !a.Fenced() })
		require.Empty(t, a.gaveUp())
		pass(time.Minute)
		require.False(t, a.Shared())
	})
}

// TestANodeThatWasAloneGivesUpWhatOneThatStartedMeanwhileHas cuts a node off from the store, or from everything, starts another one, and
// moves one of two clients there. At no time may both nodes serve it.
func TestANodeThatWasAloneGivesUpWhatOneThatStartedMeanwhileHas(t *testing.T) {
	for _, everything := range []bool{false, true} {
		for _, later := range []time.Duration{0, 5 * time.Second, 30 * time.Second} { // after the last, the metadata names the first no more
			t.Run(fmt.Sprint("everything=", everything, " later=", later), func(t *testing.T) {
				inWorld(t, func(w *world) {
					a := w.alone("a")
					require.NoError(t, a.connect("stays", durable))
					require.NoError(t, a.connect("moves", durable))
					a.pause(true)
					if everything {
						a.isolate(true)
					}
					pass(later)
					w.know("a", "b")
					b := w.begin("b")
					require.NoError(t, b.connect("moves", durable))
					require.Nil(t, a.serves("moves"), "where the client was")
					pass(20 * time.Second)
					a.pause(false)
					a.isolate(false)
					for range 1000 {
						pass(10 * time.Millisecond)
						require.Nil(t, a.serves("moves"))
					}
					require.False(t, a.Fenced())
					require.Equal(t, []string{"moves"}, a.gaveUp())
					require.NotNil(t, a.serves("stays"))
					require.NotNil(t, b.serves("moves"))
				})
			})
		}
	}
}

// TestNoClientIsConnectedTwiceByNodesThatStartAlone lets a node start and end beside one that is alone, while they are cut off from the store
// or from everything at random. At no time may two nodes serve one client.
func TestNoClientIsConnectedTwiceByNodesThatStartAlone(t *testing.T) {
	seeds, lasts := 3, 3*time.Minute
	if n, err := strconv.Atoi(os.Getenv(envSeeds)); err == nil {
		seeds, lasts = n, 10*time.Minute
	}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			inWorld(t, func(w *world) {
				c := &chaos{w: w, ids: []string{"a", "b"}, rand: rand.New(rand.NewPCG(uint64(seed), 3)), nodes: map[string]*member{}}
				c.nodes["a"] = w.alone("a")
				c.apart(lasts)
			})
		})
	}
}

// apart lasts for some virtual time.
func (c *chaos) apart(lasts time.Duration) {
	stop := make(chan struct{})
	var all sync.WaitGroup
	for i := range chaosClients {
		r := rand.New(rand.NewPCG(c.rand.Uint64(), 4))
		all.Go(func() { c.roam(fmt.Sprint("client", i), r, stop) })
	}
	all.Go(func() { c.watch(stop) })
	for until := time.Now().Add(lasts); time.Now().Before(until); {
		c.part()
		time.Sleep(time.Duration(c.rand.IntN(15000)) * time.Millisecond)
	}
	close(stop)
	for _, n := range c.nodes {
		n.pause(false)
		n.isolate(false)
	}
	all.Wait()
	require.Empty(c.w.t, c.bad, "what happened before: %q", c.log[max(0, len(c.log)-40):])
	for _, n := range c.nodes {
		c.w.eventually("each node goes on", func() bool { return !n.Fenced() && len(n.Members()) == len(c.nodes) })
	}
}

// part cuts a node off, ends that, or starts or ends the second node.
func (c *chaos) part() {
	id := c.ids[c.rand.IntN(2)]
	n := c.node(id)
	switch what := c.rand.IntN(8); {
	case n == nil:
		c.join(id)
	case what < 3:
		everything := c.rand.IntN(2) == 0
		c.note("cut %s off from the store, and from everything: %v", id, everything)
		n.pause(true)
		n.isolate(everything)
	case what < 6 || id == "a":
		c.note("%s is back", id)
		n.pause(false)
		n.isolate(false)
	case what < 7:
		c.note("%s leaves", id)
		c.drop(id)
		n.pause(false)
		n.isolate(false)
		n.Close()
	default:
		c.note("crash %s", id)
		n.pause(true)
		n.isolate(true)
		c.drop(id)
		c.w.crashed = append(c.w.crashed, n)
	}
}

// join starts a node once it can write to the metadata.
func (c *chaos) join(id string) {
	c.note("start %s", id)
	c.w.mu.Lock()
	c.w.named = []string{"a", "b"}
	delete(c.w.gone, id)
	c.w.mu.Unlock()
	n := c.w.begin(id)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nodes[id] = n
}

// drop forgets a node, and the metadata does so some time later.
func (c *chaos) drop(id string) {
	c.w.mu.Lock()
	c.w.gone[id] = time.Now()
	c.w.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.nodes, id)
}
