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

var clean = Want{Transient: true, Fresh: true}

func TestALaterCleanConnectionStaysThoughTheOlderOnesClaimWasStoredAtTheSecondAttempt(t *testing.T) {
	inWorld(t, func(w *world) {
		all := w.start("a", "b", "c")
		a, b := all[0], all[1]
		client := clientOf("c", "a", "b", "c")
		began := time.Now()
		a.mute.Store(true)
		time.AfterFunc(20*time.Millisecond, func() { a.mute.Store(false) })
		require.NoError(t, a.connect(client, clean))
		require.GreaterOrEqual(t, time.Since(began), retryPause, "until its claim was stored")
		require.Less(t, time.Since(began), 2*retryPause, "and no longer")
		require.NoError(t, b.connect(client, clean))
		pass(5 * time.Second)
		require.Equal(t, []string{"b"}, w.holders(client))
	})
}

// TestALaterConnectionStaysThoughItsNodeDecides lets the node that decides about a client id read the older claim late: its own client
// comes later.
func TestALaterConnectionStaysThoughItsNodeDecides(t *testing.T) {
	for name, newer := range map[string]Want{"clean": clean, "fresh": {Fresh: true}, "durable": durable} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				all := w.start("a", "b", "c")
				a, b := all[0], all[1]
				client := clientOf("b", "a", "b", "c")
				b.deaf.Store(true)
				require.NoError(t, a.connect(client, clean))
				time.AfterFunc(200*time.Millisecond, func() { b.deaf.Store(false) })
				require.NoError(t, b.connect(client, newer))
				pass(5 * time.Second)
				require.Equal(t, []string{"b"}, w.holders(client))
			})
		})
	}
}

func TestACleanConnectionGoesOnWhileItsClaimCannotBeStored(t *testing.T) {
	for name, newer := range map[string]Want{"clean": clean, "fresh": {Fresh: true}, "durable": durable} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				all := w.start("a", "b", "c")
				a, b := all[0], all[1]
				client := clientOf("c", "a", "b", "c")
				a.mute.Store(true)
				began := time.Now()
				require.NoError(t, a.connect(client, clean))
				require.Equal(t, storedWait, time.Since(began))
				began = time.Now()
				require.NoError(t, a.connect("x"+client, clean))
				require.LessOrEqual(t, time.Since(began), storedWait)
				pass(time.Millisecond)
				require.NoError(t, b.connect(client, newer))
				a.mute.Store(false)
				pass(5 * time.Second)
				require.Equal(t, []string{"b"}, w.holders(client), "the late claim is of the older connection")
				require.True(t, a.has("x"+client))
			})
		})
	}
}

func TestACleanConnectionWhoseClaimIsLateIsTheLaterOne(t *testing.T) {
	for name, older := range map[string]Want{"clean": clean, "durable": durable} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				all := w.start("a", "b", "c")
				a, b := all[0], all[1]
				client := clientOf("c", "a", "b", "c")
				require.NoError(t, b.connect(client, older))
				pass(time.Millisecond)
				a.mute.Store(true)
				require.NoError(t, a.connect(client, clean))
				a.mute.Store(false)
				pass(5 * time.Second)
				require.Equal(t, []string{"a"}, w.holders(client))
			})
		})
	}
}

func TestCleanConnectionsDoNotWaitOneAfterTheOtherForAStoreThatIsAway(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.start("a", "b")[0]
		a.mute.Store(true)
		began := time.Now()
		for i := range 20 {
			require.NoError(t, a.connect(clientOf("b", "a", "b")+fmt.Sprint("+", i), clean))
		}
		require.LessOrEqual(t, time.Since(began), 2*storedWait)
	})
}

func TestACleanConnectionWaitsForAnAttemptThatIsUnderWay(t *testing.T) {
	for slow, waits := range map[time.Duration]time.Duration{2 * time.Second: 2 * time.Second, 9 * time.Second: storedLongest} {
		inWorld(t, func(w *world) {
			a := w.start("a", "b")[0]
			pass(time.Millisecond)
			a.slow.Store(int64(slow))
			began := time.Now()
			require.NoError(t, a.connect(clientOf("b", "a", "b"), clean))
			require.InDelta(t, waits, time.Since(began), float64(10*time.Millisecond))
			a.slow.Store(0)
		})
	}
}

func TestACleanConnectionWaitsForNothingWhereNoClaimIsToBeStored(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.start("a", "b")[0]
		a.most.Store(10)
		began := time.Now()
		require.NoError(t, a.connect(clientOf("a", "a", "b"), clean))
		require.NoError(t, a.connect(clientOf("b", "a", "b"), clean))
		require.Less(t, time.Since(began), 10*time.Millisecond, "the store takes no letter of this size")
		require.NoError(t, a.connect(clientOf("a", "a", "b")+"+", durable))
		require.Less(t, time.Since(began), 2*repeatAfter, "the node decides about its client itself")
		a.most.Store(0)
	})
}

// TestAClaimThatWasPassedOnOrRepeatedTakesNothingFromALaterOne lets a claim arrive a second time, after the client has connected elsewhere.
func TestAClaimThatWasPassedOnOrRepeatedTakesNothingFromALaterOne(t *testing.T) {
	for name, m := range map[string]message{
		"passed on": {Transient: true, Fresh: true}, // to b, by a, which is not the owner any more
		"repeated":  {Late: true},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				all := w.start("a", "b", "c")
				a, c := all[0], all[2]
				client := clientOf("b", "a", "b", "c")
				order := time.Now().UnixMicro()
				pass(time.Millisecond)
				require.NoError(t, c.connect(client, clean))
				m.Kind, m.Client, m.Claim, m.Order = kindClaim, client, a.instance+"0", order
				a.Cluster.mu.Lock()
				if m.Late {
					a.post("b", m)
				} else {
					a.claimed("a", &m)
				}
				a.Cluster.mu.Unlock()
				pass(time.Second)
				require.Equal(t, []string{"c"}, w.holders(client))
			})
		})
	}
}

// TestAClaimThatItsNodeDecidedEarlyTakesNothingWhenItIsRead keeps a claim of the deciding node out of its inbox until the client has
// connected elsewhere.
func TestAClaimThatItsNodeDecidedEarlyTakesNothingWhenItIsRead(t *testing.T) {
	for name, older := range map[string]Want{"clean": clean, "fresh": {Fresh: true}, "durable": durable} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				all := w.start("a", "b", "c")
				a, b := all[0], all[1]
				client := clientOf("b", "a", "b", "c")
				b.mute.Store(true)
				require.NoError(t, b.connect(client, older))
				pass(time.Millisecond)
				require.NoError(t, a.connect(client, clean))
				b.mute.Store(false)
				pass(5 * time.Second)
				require.Equal(t, []string{"a"}, w.holders(client))
			})
		})
	}
}

// TestTheLatestConnectionStaysWhateverTheStoreDoes lets clients connect here and there, each as it likes, while the store refuses the
// letters of nodes for a moment, or takes long for them. In the end each client has the connection that it made last, and no other.
func TestTheLatestConnectionStaysWhateverTheStoreDoes(t *testing.T) {
	seeds, rounds := 3, 10
	if n, err := strconv.Atoi(os.Getenv(envSeeds)); err == nil {
		seeds, rounds = n, 30
	}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			inWorld(t, func(w *world) {
				c := newChaos(w, uint64(seed))
				for range rounds {
					c.wander()
				}
			})
		})
	}
}

// wander lets each client connect a few times while the store disturbs the nodes, and looks where it is when all has settled.
func (c *chaos) wander() {
	t := c.w.t
	var clients, all sync.WaitGroup
	last := make([]string, chaosClients)
	for i := range chaosClients {
		r := rand.New(rand.NewPCG(c.rand.Uint64(), 5))
		clients.Go(func() { last[i] = c.connects(fmt.Sprint("client", i), r) })
	}
	stop := make(chan struct{})
	for _, id := range c.ids {
		r := rand.New(rand.NewPCG(c.rand.Uint64(), 6))
		all.Go(func() { c.disturb(id, r, stop) })
	}
	clients.Wait()
	close(stop)
	all.Wait()
	pass(10 * time.Second)
	require.Empty(t, c.bad)
	for i := range chaosClients {
		client := fmt.Sprint("client", i)
		require.Equal(t, []string{last[i]}, c.w.holders(client), "of %s; what happened before: %q", client, c.log[max(0, len(c.log)-80):])
	}
	c.log = nil
}

// connects lets a client connect some times, and returns the node that it was connected to last.
func (c *chaos) connects(client string, r *rand.Rand) (last string) {
	for range 1 + r.IntN(5) {
		last = c.ids[r.IntN(len(c.ids))]
		want := []Want{clean, clean, clean, {Fresh: true}, durable}[r.IntN(5)]
		c.note("%s to %s, %+v", client, last, want)
		err := c.node(last).connect(client, want)
		c.note("%s is at %s: %v", client, last, err)
		if err != nil {
			c.mu.Lock()
			c.bad = fmt.Sprintf("%s cannot connect to %s: %v", client, last, err)
			c.mu.Unlock()
		}
		time.Sleep(time.Millisecond + time.Duration(r.IntN(1+r.IntN(1500)))*time.Millisecond)
	}
	return last
}

// disturb makes the store refuse or delay what a node writes, each time for less than it takes to fence the node.
func (c *chaos) disturb(id string, r *rand.Rand, stop chan struct{}) {
	n := c.node(id)
	for {
		switch r.IntN(3) {
		case 0:
			c.note("mute %s", id)
			n.mute.Store(true)
		case 1:
			slow := time.Duration(r.IntN(1900)) * time.Millisecond
			c.note("%s writes in %v", id, slow)
			n.slow.Store(int64(slow))
		}
		over := false
		select {
		case <-stop:
			over = true
		case <-time.After(time.Duration(r.IntN(2000)) * time.Millisecond):
		}
		c.note("%s writes", id)
		n.mute.Store(false)
		n.slow.Store(0)
		if over {
			return
		}
		time.Sleep(time.Duration(r.IntN(2000)) * time.Millisecond)
	}
}
