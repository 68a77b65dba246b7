package cluster

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// envSeeds is how many seeds TestNoClientIsConnectedTwiceWhateverHappens tries; empty: a few, for a shorter time each.
const envSeeds = "LMQGATE_CLUSTER_SEEDS"

// TestNoClientIsConnectedTwiceWhateverHappens lets clients connect here and there while nodes stop, wake, crash and restart at random. At no
// time may two nodes serve one client.
func TestNoClientIsConnectedTwiceWhateverHappens(t *testing.T) {
	seeds, lasts := 3, 2*time.Minute
	if n, err := strconv.Atoi(os.Getenv(envSeeds)); err == nil {
		seeds, lasts = n, 5*time.Minute
	}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			inWorld(t, func(w *world) { newChaos(w, uint64(seed)).run(lasts) })
		})
	}
}

// chaos is a run of random events in a world.
type chaos struct {
	w    *world
	ids  []string
	rand *rand.Rand

	mu    sync.Mutex
	nodes map[string]*member // the present process of each node
	log   []string
	bad   string
}

func newChaos(w *world, seed uint64) *chaos {
	c := &chaos{w: w, rand: rand.New(rand.NewPCG(seed, 1)), nodes: map[string]*member{}}
	c.ids = []string{"a", "b", "c"}[:2+c.rand.IntN(2)]
	for _, n := range w.start(c.ids...) {
		c.nodes[n.o.NodeID] = n
	}
	return c
}

// chaosClients is the number of clients.
const chaosClients = 6

// run lasts for some virtual time.
func (c *chaos) run(lasts time.Duration) {
	t := c.w.t
	stop := make(chan struct{})
	var all sync.WaitGroup
	for i := range chaosClients {
		r := rand.New(rand.NewPCG(c.rand.Uint64(), 2))
		all.Go(func() { c.roam(fmt.Sprint("client", i), r, stop) })
	}
	all.Go(func() { c.watch(stop) })
	for until := time.Now().Add(lasts); time.Now().Before(until); {
		c.strike()
		time.Sleep(time.Duration(c.rand.IntN(6000)) * time.Millisecond)
	}
	for _, id := range c.ids {
		c.node(id).pause(false)
	}
	close(stop)
	all.Wait()
	require.Empty(t, c.bad, "what happened before: %q", c.log[max(0, len(c.log)-40):])
	for _, id := range c.ids {
		c.w.eventually("each node goes on", func() bool { return !c.node(id).Fenced() && len(c.node(id).Members()) == len(c.ids) })
	}
	for i := range chaosClients {
		client := fmt.Sprint("client", i)
		require.NoError(t, c.node(c.ids[i%len(c.ids)]).connect(client, durable))
		require.Equal(t, []string{c.ids[i%len(c.ids)]}, slices.Collect(maps.Keys(c.servers(client))))
	}
}

func (c *chaos) node(id string) *member {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nodes[id]
}

func (c *chaos) note(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bad != "" {
		return
	}
	c.log = append(c.log, time.Now().Format("04:05.000 ")+fmt.Sprintf(format, args...))
}

// strike does something to a node.
func (c *chaos) strike() {
	id := c.ids[c.rand.IntN(len(c.ids))]
	n := c.node(id)
	switch what := c.rand.IntN(10); {
	case what < 4:
		c.note("stop %s", id)
		n.pause(true)
	case what < 8:
		c.note("wake %s", id)
		n.pause(false)
	case what < 9: // its inbox cannot be read for a moment
		c.note("deafen %s", id)
		n.deaf.Store(true)
	default:
		c.note("crash %s", id)
		n.pause(true)
		c.w.crashed = append(c.w.crashed, n)
		c.mu.Lock()
		delete(c.nodes, id)
		c.mu.Unlock()
		time.Sleep(time.Duration(c.rand.IntN(15000)) * time.Millisecond)
		n = c.w.begin(id)
		c.mu.Lock()
		c.nodes[id] = n
		c.mu.Unlock()
		c.note("%s is back", id)
	}
}

// roam lets a client connect to one node after the other.
func (c *chaos) roam(client string, r *rand.Rand, stop chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(r.IntN(3000)) * time.Millisecond):
		}
		id := c.ids[r.IntN(len(c.ids))]
		n := c.node(id)
		switch {
		case n == nil:
		case r.IntN(8) == 0:
			c.note("%s leaves %s", client, id)
			n.disconnect(client)
		default:
			c.note("%s to %s", client, id)
			err := n.connect(client, durable)
			c.note("%s is at %s: %v", client, id, err)
		}
	}
}

// watch looks for clients that two nodes serve.
func (c *chaos) watch(stop chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(5 * time.Millisecond):
		}
		for i := range chaosClients {
			client := fmt.Sprint("client", i)
			before := c.servers(client)
			if len(before) < 2 {
				continue
			}
			// One may have ended before the other began, between two looks. If none has changed since, they were there together.
			if after := c.servers(client); maps.Equal(before, after) {
				c.mu.Lock()
				c.bad = fmt.Sprintf("%s is served by %q at %s", client, slices.Sorted(maps.Keys(after)), time.Now().Format("04:05.000"))
				c.mu.Unlock()
				return
			}
		}
	}
}

// servers returns the nodes whose sessions may send to a client, with the claims by which they may.
func (c *chaos) servers(client string) map[string]*Claim {
	all := map[string]*Claim{}
	for _, id := range c.ids {
		if n := c.node(id); n != nil {
			if cl := n.serves(client); cl != nil {
				all[id] = cl
			}
		}
	}
	return all
}

// serves returns the claim of a connection that the node may use, or nil.
func (n *member) serves(client string) *Claim {
	n.mu.Lock()
	cl := n.conns[client]
	n.mu.Unlock()
	if cl.Lost() || n.Fenced() {
		return nil
	}
	return cl
}
