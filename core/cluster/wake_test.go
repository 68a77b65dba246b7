package cluster

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestANodeThatIsToldSomethingAndDoesNotAnswerIsWaitedForOneLeaseFromThen(t *testing.T) {
	inWorld(t, func(w *world) {
		nodes := w.start("a", "b", "c")
		nodes[1].answersBy((&told{names: map[string]int{}}).answer)
		a := nodes[0].Announcer("names")
		nodes[2].pause(true)
		pass(100 * time.Millisecond) // too short for c to be missed
		began := time.Now()
		requireUntold(t, a, `node "c" has not confirmed it`, "x")
		w.eventually("nobody waits for the node any more", func() bool { return len(nodes[0].Members()) == 2 })
		require.GreaterOrEqual(t, time.Since(began), 10*time.Second)
		require.Less(t, time.Since(began), 11*time.Second)
		requireTold(t, a, "x")
		nodes[2].pause(false)
	})
}

func TestANodeThatWakesActsOnWhatItWasToldBeforeItsSessionsGoOn(t *testing.T) {
	inWorld(t, func(w *world) {
		nodes := w.start("a", "b")
		acts := make(chan struct{})
		nodes[1].answersBy(func(string, string, []byte) ([]byte, error) {
			<-acts
			return []byte("[]"), nil
		})
		nodes[1].pause(true)
		w.eventually("the node is fenced", nodes[1].Fenced)
		requireUntold(t, nodes[0].Announcer("names"), `node "b" has not confirmed it`, "x")
		nodes[1].pause(false)
		pass(time.Second)
		require.True(t, nodes[1].Fenced(), "it has not acted on what it was told")
		close(acts)
		w.eventually("its sessions go on", func() bool { return !nodes[1].Fenced() })
	})
}

func TestAClaimSaysHowItWasLost(t *testing.T) {
	inWorld(t, func(w *world) {
		nodes := w.start("a", "b", "c")
		a, b := nodes[0], nodes[1]
		held := func(client string) *Claim {
			a.mu.Lock()
			defer a.mu.Unlock()
			return a.conns[client]
		}
		require.NoError(t, a.connect("moves", durable))
		moves := held("moves")
		require.NoError(t, b.connect("moves", durable))
		require.False(t, moves.Lost(), "it was handed over")

		require.NoError(t, a.connect("anew", durable))
		anew := held("anew")
		require.NoError(t, b.connect("anew", Want{Fresh: true}))
		w.eventually("the older one is told", func() bool { return !a.has("anew") })
		require.True(t, anew.Lost())
		require.False(t, anew.Missed())

		require.NoError(t, a.connect("sleeps", durable))
		sleeps := held("sleeps")
		a.pause(true)
		require.NoError(t, b.connect("sleeps", durable))
		a.pause(false)
		w.eventually("it gives up what was taken over", func() bool { return !a.has("sleeps") })
		require.True(t, sleeps.Lost())
		require.True(t, sleeps.Missed())
		require.False(t, (*Claim)(nil).Lost())

		w.eventually("its sessions go on", func() bool { return !a.Fenced() })
		require.NoError(t, a.connect("ends", durable))
		ends := held("ends")
		ends.Release()
		require.False(t, ends.Lost())
		require.NoError(t, a.connect("ends late", durable))
		late := held("ends late")
		a.pause(true)
		pass(a.o.Lease)
		late.Release()
		require.True(t, late.Missed(), "nobody can tell it any more that its client was taken")
		a.pause(false)
	})
}

// TestANodeThatWakesKnowsWhatWasTakenWithoutItsKnowledgeBeforeItsSessionsGoOn pauses a node until the others no longer know which clients
// it has. They then own its buckets, or are alone, and take clients without asking it.
func TestANodeThatWakesKnowsWhatWasTakenWithoutItsKnowledgeBeforeItsSessionsGoOn(t *testing.T) {
	for _, ids := range [][]string{{"a", "b"}, {"a", "b", "c"}} {
		inWorld(t, func(w *world) {
			nodes := w.start(ids...)
			a, b := nodes[0], nodes[1]
			var taken, left []*Claim
			for i := range 40 {
				client := fmt.Sprint("client", i)
				require.NoError(t, a.connect(client, durable))
				if i < 30 {
					taken = append(taken, a.conns[client])
				} else {
					left = append(left, a.conns[client])
				}
			}
			a.pause(true)
			w.eventually("the others go on without it", func() bool { return len(b.Members()) == len(ids)-1 })
			for i, cl := range taken {
				require.NoError(t, b.connect(cl.Client(), durable))
				if i%2 == 0 { // the client has disconnected again by the time the node wakes
					b.disconnect(cl.Client())
				}
			}
			a.pause(false)
			w.eventually("its sessions go on", func() bool { return !a.Fenced() })
			for _, cl := range taken {
				require.True(t, cl.Missed(), "%s was connected to another node", cl.Client())
			}
			for _, cl := range left {
				require.False(t, cl.Lost(), "%s was not", cl.Client())
			}
			w.eventually("all know one another", func() bool { return len(a.Members()) == len(ids) && len(b.Members()) == len(ids) })
			for i, cl := range taken {
				require.Equal(t, i%2 == 1, b.has(cl.Client()))
			}
			b.Cluster.mu.Lock()
			defer b.Cluster.mu.Unlock()
			for _, p := range b.peers {
				require.False(t, p.without, "nobody is away any more")
				require.Empty(t, p.taken.clients)
			}
		})
	}
}

func TestANodeThatWakesDoesNotWaitForeverForOneThatHasStopped(t *testing.T) {
	inWorld(t, func(w *world) {
		nodes := w.start("a", "b", "c")
		require.NoError(t, nodes[0].connect("client", durable))
		nodes[2].pause(true)
		nodes[0].pause(true)
		w.eventually("the node is fenced", nodes[0].Fenced)
		nodes[0].pause(false)
		began := time.Now()
		w.eventually("its sessions go on", func() bool { return !nodes[0].Fenced() })
		require.Less(t, time.Since(began), 13*time.Second)
		require.True(t, nodes[0].has("client"))
		nodes[2].pause(false)
	})
}

// TestANodeThatWakesKeepsNothingThatNobodyCanTellAnythingOf stops a node. Another node takes one of its clients, and then ends, crashes or
// restarts.
func TestANodeThatWakesKeepsNothingThatNobodyCanTellAnythingOf(t *testing.T) {
	for name, ends := range map[string]func(w *world, b *member){
		"it ended":             func(_ *world, b *member) { b.Close() },
		"it crashed":           func(_ *world, b *member) { b.pause(true) },
		"it was started again": func(w *world, b *member) { b.Close(); w.know("b"); w.begin("b") },
		"it crashed and was started again": func(w *world, b *member) {
			b.pause(true)
			w.know("b") // and does not know the stopped node
			w.begin("b")
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				nodes := w.start("a", "b")
				a, b := nodes[0], nodes[1]
				require.NoError(t, a.connect("client", durable))
				held := a.conns["client"]
				a.pause(true)
				w.eventually("the other one goes on without it", func() bool { return len(b.Members()) == 1 })
				require.NoError(t, b.connect("client", durable))
				ends(w, b)
				a.pause(false)
				w.eventually("its sessions go on", func() bool { return !a.Fenced() })
				require.True(t, held.Missed())
				b.pause(false)
				if w.nodes["b"] != b {
					b.Close()
				}
			})
		})
	}
}

// TestANodeThatWakesWaitsShortlyForOneThatHadStoppedBeforeIt stops node c, and some time later node a.
func TestANodeThatWakesWaitsShortlyForOneThatHadStoppedBeforeIt(t *testing.T) {
	for _, before := range []time.Duration{5 * time.Second, time.Minute} { // once before and once after c is known to have stopped
		inWorld(t, func(w *world) {
			nodes := w.start("a", "b", "c")
			require.NoError(t, nodes[0].connect("client", durable))
			nodes[2].pause(true)
			time.Sleep(before)
			nodes[0].pause(true)
			w.eventually("the node is fenced", nodes[0].Fenced)
			time.Sleep(nodes[0].o.Lease)
			nodes[0].pause(false)
			began := time.Now()
			w.eventually("its sessions go on", func() bool { return !nodes[0].Fenced() })
			require.Less(t, time.Since(began), 5*time.Second)
			require.True(t, nodes[0].has("client"))
			nodes[2].pause(false)
		})
	}
}

func TestANodeThatWakesReadsTheMetadataAgainOnceAllKnowThatItIsThere(t *testing.T) {
	inWorld(t, func(w *world) {
		nodes := w.start("a", "b", "c")
		a := nodes[0]
		asked, read := make(chan struct{}), make(chan struct{})
		a.catchUpBy(func(context.Context) error {
			for _, n := range nodes[1:] {
				if len(n.Members()) != 3 {
					t.Errorf("node %s does not know yet that the node is there", n.id)
				}
			}
			close(asked)
			<-read
			return nil
		})
		a.pause(true)
		w.eventually("the others go on without it", func() bool { return len(nodes[1].Members()) == 2 && len(nodes[2].Members()) == 2 })
		a.pause(false)
		<-asked
		time.Sleep(time.Second)
		require.True(t, a.Fenced())
		close(read)
		w.eventually("its sessions go on", func() bool { return !a.Fenced() })
	})
}

func TestANodeThatWakesGoesOnThoughTheMetadataIsAway(t *testing.T) {
	inWorld(t, func(w *world) {
		nodes := w.start("a", "b")
		nodes[0].catchUpBy(func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		})
		nodes[0].pause(true)
		w.eventually("the node is fenced", nodes[0].Fenced)
		nodes[0].pause(false)
		w.eventually("its sessions go on", func() bool { return !nodes[0].Fenced() })
	})
}

func TestANodeThatWakesKeepsWhatItGotWhileAnotherOneWasAway(t *testing.T) {
	inWorld(t, func(w *world) {
		nodes := w.start("a", "b", "c")
		a, b, c := nodes[0], nodes[1], nodes[2]
		a.pause(true) // never wakes
		pass(2 * a.o.Lease)
		mine := make([]string, 40) // enough for buckets of every node
		for i := range mine {
			mine[i] = "mine-" + strconv.Itoa(i)
			require.NoError(t, c.connect(mine[i], durable))
		}
		require.NoError(t, c.connect("goes", durable))
		c.pause(true)
		require.NoError(t, b.connect("goes", durable))
		c.pause(false)
		w.eventually("its sessions go on", func() bool { return !c.Fenced() })
		require.False(t, c.has("goes"))
		for _, client := range mine {
			require.True(t, c.has(client), client)
		}
	})
}

// TestClaimsThatEndedWhileTheirOwnerWasStoppedAreForgotten stops the node that decides about a client. The claims that the others announce
// to it meanwhile end, and nobody tells it, because the others have gone on without it.
func TestClaimsThatEndedWhileTheirOwnerWasStoppedAreForgotten(t *testing.T) {
	for _, ids := range [][]string{{"a", "b"}, {"a", "b", "c"}} {
		inWorld(t, func(w *world) {
			nodes := w.start(ids...)
			a, b, last := nodes[0], nodes[1], nodes[len(nodes)-1]
			client := clientOf("a", ids...)
			require.NoError(t, a.connect(client, durable))
			a.pause(true)
			require.NoError(t, b.connect(client, durable), "it waits until nobody waits for a")
			require.NoError(t, last.connect(client, durable))
			a.pause(false)
			w.eventually("a goes on", func() bool { return !a.Fenced() && !a.has(client) })
			pass(3 * repeatAfter)
			require.Equal(t, []string{last.o.NodeID}, w.holders(client))
			require.NoError(t, a.connect(client, durable))
			require.Equal(t, []string{"a"}, w.holders(client), "a has waited until the other node had given the client up")
		})
	}
}

// TestAClaimFromBeforeAStopTakesNoClientFromTheNodeThatWentOn stops a node whose client is connecting. The client connects to the other node
// instead, which has gone on without it by then.
func TestAClaimFromBeforeAStopTakesNoClientFromTheNodeThatWentOn(t *testing.T) {
	for _, c := range []struct {
		ids   []string
		owner string
	}{{[]string{"a", "b"}, "a"}, {[]string{"a", "b"}, "b"}, {[]string{"a", "b", "c"}, "a"}, {[]string{"a", "b", "c"}, "b"}, {[]string{"a", "b", "c"}, "c"}} {
		for _, stored := range []bool{false, true} { // whether the claim was stored before the stop
			t.Run(fmt.Sprintf("%d nodes, decided by %s, stored %t", len(c.ids), c.owner, stored), func(t *testing.T) {
				inWorld(t, func(w *world) {
					nodes := w.start(c.ids...)
					a, b := nodes[0], nodes[1]
					client := clientOf(c.owner, c.ids...)
					require.NoError(t, b.connect(client, durable))
					if stored {
						b.hold = make(chan struct{}) // it does not yield before the stop
					}
					a.mute.Store(!stored)
					came := make(chan error, 1)
					go func() { came <- a.connect(client, durable) }()
					synctest.Wait()
					pass(10 * time.Millisecond)
					a.pause(true)
					if stored {
						close(b.hold)
					}
					w.eventually("the other one goes on without it", func() bool { return len(b.Members()) == len(c.ids)-1 })
					require.NoError(t, b.connect(client, durable))
					before := b.gaveUp()
					live := make(chan bool, 10)
					a.mu.Lock()
					a.goesOn = func() { live <- a.conns[client] != nil && !a.conns[client].Lost() }
					a.mu.Unlock()
					a.pause(false)
					require.False(t, <-live, "the client would be connected twice")
					w.eventually("the nodes know one another", func() bool { return len(b.Members()) == len(c.ids) })
					pass(2 * repeatAfter)
					require.Equal(t, []string{"b"}, w.holders(client))
					require.Equal(t, before, b.gaveUp())
					<-came
				})
			})
		}
	}
}

func TestAClaimThatANodeMakesWhileItIsFencedIsDecidedByWhoCameLater(t *testing.T) {
	for _, ids := range [][]string{{"a", "b"}, {"a", "b", "c"}} {
		for _, later := range []string{"a", "b"} {
			t.Run(fmt.Sprintf("%d nodes, to %s", len(ids), later), func(t *testing.T) {
				inWorld(t, func(w *world) {
					nodes := w.start(ids...)
					a, b := nodes[0], nodes[1]
					require.NoError(t, a.connect("client", durable))
					a.pause(true)
					w.eventually("the other ones go on without it", func() bool { return len(b.Members()) == len(ids)-1 })
					came := make(chan error, 1)
					if later == "a" {
						require.NoError(t, b.connect("client", durable))
						pass(time.Second)
					}
					go func() { came <- a.connect("client", durable) }()
					pass(time.Second)
					if later == "b" {
						require.NoError(t, b.connect("client", durable))
					}
					a.pause(false)
					err := <-came
					pass(2 * repeatAfter)
					require.Equal(t, []string{later}, w.holders("client"))
					if later == "a" {
						require.NoError(t, err)
					}
				})
			})
		}
	}
}
