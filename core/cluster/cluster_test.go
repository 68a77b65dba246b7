package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/store/local"
)

// world is several nodes on one store, in virtual time.
type world struct {
	t     *testing.T
	store *local.Store

	mu    sync.Mutex
	named []string             // the nodes that the metadata names
	gone  map[string]time.Time // when nodes wrote their last sign of life to the metadata
	nodes map[string]*member
	// crashed are processes that do nothing any more.
	crashed []*member
}

// member is one node and the connections of its sessions.
type member struct {
	w  *world
	id string
	*Cluster

	deaf atomic.Bool  // the inbox is not read
	mute atomic.Bool  // all writes fail
	most atomic.Int64 // larger letters fail, in bytes; 0: no limit
	slow atomic.Int64 // how long each write takes, in nanoseconds

	resumed atomic.Int64 // how often the sessions were told to go on

	// connecting serializes connections, as sessions do for each client id.
	connecting sync.Mutex

	mu      sync.Mutex
	conns   map[string]*Claim
	yielded []string
	lost    map[*Claim]bool
	hold    chan struct{} // while it is set, each yield receives from it first
	goesOn  func()        // called when the sessions are told to go on; nil: nothing is
	answers func(from, subject string, body []byte) ([]byte, error)
	listed  []string  // the nodes that the metadata named when it was last read
	blind   time.Time // since when the metadata cannot be read; zero: it can
	catchUp func(ctx context.Context) error
}

func inWorld(t *testing.T, f func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		st, err := local.New(local.Options{Path: filepath.Join(t.TempDir(), "store"), Sync: local.SyncInterval, SyncInterval: time.Second, MinFree: -1,
			Log: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		require.NoError(t, st.Start(context.Background()))
		w := &world{t: t, store: st, gone: map[string]time.Time{}, nodes: map[string]*member{}}
		w.eventually("the store is ready", func() bool { return st.Ready(context.Background()) == nil })
		defer func() {
			for _, n := range w.nodes {
				n.pause(false)
				n.Close()
			}
			for _, n := range w.crashed {
				n.deaf.Store(false)
				n.Close()
			}
			_ = st.Close()
		}()
		f(w)
	})
}

// pass lets time pass and waits until everything that is due has happened.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (w *world) eventually(what string, cond func() bool) {
	w.t.Helper()
	for until := time.Now().Add(time.Minute); !cond(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(until) {
			w.t.Fatalf("did not happen: %s", what)
		}
	}
}

// start starts nodes that the metadata names.
func (w *world) start(ids ...string) []*member {
	w.t.Helper()
	var all []*member
	for _, id := range ids {
		w.mu.Lock()
		w.named = append(w.named, id)
		w.mu.Unlock()
		all = append(all, w.begin(id))
	}
	w.eventually("the nodes know one another", func() bool {
		for _, n := range w.nodes {
			if len(n.Members()) != len(w.nodes) || n.calling() {
				return false
			}
		}
		return true
	})
	return all
}

// begin starts a node without adding it to the nodes that the metadata names.
func (w *world) begin(id string) *member {
	w.t.Helper()
	n := &member{w: w, id: id, conns: map[string]*Claim{}, lost: map[*Claim]bool{}}
	n.Cluster = New(Options{NodeID: id, Store: n, Ensure: w.store.CreateTopic, Nodes: n.list, Listed: n.age, Yield: n.yielding, Unfenced: n.unfence, Answer: n.answering, CatchUp: n.catchingUp})
	require.NoError(w.t, n.Start(context.Background()))
	w.nodes[id] = n
	return n
}

// expires is how long the metadata names a node that does not write to it any more.
const expires = 20 * time.Second

// list returns the nodes that the metadata names, as far as the node can read it.
func (n *member) list() []string {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	if !n.blind.IsZero() {
		return slices.Clone(n.listed)
	}
	n.listed = nil
	for _, id := range n.w.named {
		if at, gone := n.w.gone[id]; !gone || time.Since(at) < expires {
			n.listed = append(n.listed, id)
		}
	}
	return slices.Clone(n.listed)
}

// age returns how old list is.
func (n *member) age() time.Duration {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	if n.blind.IsZero() {
		return 0
	}
	return time.Since(n.blind)
}

// isolate cuts a node off from the metadata, or ends that.
func (n *member) isolate(on bool) {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	switch {
	case on && n.blind.IsZero():
		n.blind, n.w.gone[n.id] = time.Now(), time.Now()
	case !on:
		n.blind = time.Time{}
		delete(n.w.gone, n.id)
	}
}

// know sets the nodes that the metadata names.
func (w *world) know(ids ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.named = ids
}

// calling reports whether a roll call is incomplete.
func (n *member) calling() bool {
	n.Cluster.mu.Lock()
	defer n.Cluster.mu.Unlock()
	return len(n.rolls) > 0
}

func (n *member) Append(ctx context.Context, a store.Append, done func(store.Position, error)) {
	if n.mute.Load() {
		done(store.Position{}, store.ErrUnavailable)
		return
	}
	if most := n.most.Load(); most > 0 && int64(len(a.Message.Payload)) > most {
		done(store.Position{}, store.ErrTooLarge)
		return
	}
	if slow := time.Duration(n.slow.Load()); slow > 0 {
		time.AfterFunc(slow, func() { n.w.store.Append(ctx, a, done) })
		return
	}
	n.w.store.Append(ctx, a, done)
}

func (n *member) TailQueue(ctx context.Context, queue string, f store.TailFunc) (store.Tail, error) {
	return n.w.store.TailQueue(ctx, queue, func(p store.Partition, records []*store.Record) {
		for n.deaf.Load() { // reading resumes where it stopped
			time.Sleep(time.Millisecond)
		}
		f(p, records)
	})
}

// pause makes a node behave like a stopped process, which neither reads nor writes.
func (n *member) pause(on bool) { n.deaf.Store(on); n.mute.Store(on) }

// unfence lets the sessions go on.
func (n *member) unfence() {
	n.resumed.Add(1)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.goesOn != nil {
		n.goesOn()
	}
}

// catchingUp calls the test's function, if there is one.
func (n *member) catchingUp(ctx context.Context) error {
	n.mu.Lock()
	f := n.catchUp
	n.mu.Unlock()
	if f != nil {
		return f(ctx)
	}
	return nil
}

func (n *member) catchUpBy(f func(ctx context.Context) error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.catchUp = f
}

func (n *member) yielding(_ context.Context, cl *Claim, ends bool) {
	n.mu.Lock()
	hold := n.hold
	n.mu.Unlock()
	if hold != nil {
		<-hold
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	what := cl.Client()
	if ends {
		what += " ends"
	}
	n.yielded = append(n.yielded, what)
	n.lost[cl] = true
	if n.conns[cl.Client()] == cl {
		delete(n.conns, cl.Client())
	}
}

func (n *member) connect(client string, w Want) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	n.disconnect(client)
	cl, err := n.Claim(ctx, client, w)
	if err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.lost[cl] { // a session delays the yield until the connection exists
		n.conns[client] = cl
	}
	return nil
}

func (n *member) disconnect(client string) {
	n.mu.Lock()
	cl := n.conns[client]
	delete(n.conns, client)
	n.mu.Unlock()
	cl.Release()
}

func (n *member) has(client string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.conns[client] != nil
}

func (n *member) gaveUp() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]string(nil), n.yielded...)
}

// holders returns the nodes on which a client is connected.
func (w *world) holders(client string) (ids []string) {
	for id, n := range w.nodes {
		if n.has(client) {
			ids = append(ids, id)
		}
	}
	return ids
}

// clientOf returns a client id whose bucket is owned by the given node.
func clientOf(owner string, members ...string) string {
	for i := 0; ; i++ {
		if id := fmt.Sprint("client", i); ownerOf(bucketOf(id), members) == owner {
			return id
		}
	}
}

var durable = Want{}

func TestALaterConnectionOnAnotherNodeGetsTheClientIDOnceTheOlderOneHasGivenItUp(t *testing.T) {
	for _, owner := range []string{"a", "b", "c"} {
		inWorld(t, func(w *world) {
			nodes := w.start("a", "b", "c")
			a, b := nodes[0], nodes[1]
			client := clientOf(owner, "a", "b", "c")
			require.NoError(t, a.connect(client, durable))
			require.NoError(t, b.connect(client, durable))
			require.Equal(t, []string{client}, a.gaveUp(), "before the newcomer went on")
			require.Equal(t, []string{"b"}, w.holders(client))
			require.NoError(t, a.connect(client, durable), "and back")
			require.Equal(t, []string{"a"}, w.holders(client))
			a.disconnect(client)
			require.NoError(t, b.connect(client, durable), "after a disconnection nobody has to yield")
			require.Len(t, a.gaveUp(), 1)
		})
	}
}

func TestOfConnectionsAtTheSameMomentExactlyOneSurvives(t *testing.T) {
	for round := range 6 {
		inWorld(t, func(w *world) {
			nodes := w.start("a", "b", "c")
			client := clientOf([]string{"a", "b", "c"}[round%3], "a", "b", "c")
			var wg sync.WaitGroup
			for _, n := range nodes {
				for range 3 {
					wg.Go(func() {
						n.connecting.Lock()
						defer n.connecting.Unlock()
						if err := n.connect(client, Want{Transient: round >= 3, Fresh: round >= 3}); err != nil {
							require.ErrorIs(t, err, ErrTakenOver)
						}
					})
				}
			}
			wg.Wait()
			w.eventually("one connection is left", func() bool { return len(w.holders(client)) == 1 })
			pass(5 * time.Second)
			require.Len(t, w.holders(client), 1)
			for _, n := range nodes {
				require.Empty(t, n.waitingClaims())
			}
		})
	}
}

func (n *member) waitingClaims() []string {
	n.Cluster.mu.Lock()
	defer n.Cluster.mu.Unlock()
	var all []string
	for cl := range n.pending {
		all = append(all, cl.client)
	}
	return all
}

func TestWhatEndsWithItsConnectionOrBeginsAnewWaitsForNobody(t *testing.T) {
	inWorld(t, func(w *world) {
		nodes := w.start("a", "b")
		a, b := nodes[0], nodes[1]
		a.hold = make(chan struct{}) // a does not get round to yielding
		for i, c := range []struct{ before, after Want }{
			{Want{}, Want{Transient: true, Fresh: true}},
			{Want{}, Want{Fresh: true}},
			{Want{Transient: true, Fresh: true}, Want{}},
			{Want{Transient: true, Fresh: true}, Want{Transient: true, Fresh: true}},
		} {
			client := fmt.Sprint("client", i)
			require.NoError(t, a.connect(client, c.before))
			began := time.Now()
			require.NoError(t, b.connect(client, c.after))
			require.Less(t, time.Since(began), time.Second)
			a.mu.Lock()
			hold := a.hold
			a.mu.Unlock()
			hold <- struct{}{}
			w.eventually("the older connection ends", func() bool { return !a.has(client) })
			require.True(t, b.has(client))
		}
		require.Equal(t, []string{"client0 ends", "client1 ends", "client2", "client3 ends"}, a.gaveUp())
		close(a.hold)
	})
}

func TestAClientIDIsNotTakenFromAnotherOwner(t *testing.T) {
	inWorld(t, func(w *world) {
		nodes := w.start("a", "b")
		a, b := nodes[0], nodes[1]
		for i, first := range []Want{{Owner: "x"}, {Owner: "x", Transient: true, Fresh: true}} {
			client := fmt.Sprint("client", i)
			require.NoError(t, a.connect(client, first))
			require.ErrorIs(t, b.connect(client, Want{Owner: "y"}), ErrTakenOver)
			require.ErrorIs(t, b.connect(client, Want{Fresh: true}), ErrTakenOver)
			require.NoError(t, b.connect(client, Want{Owner: "y", Transient: true, Fresh: true}), "it waits for nothing")
			w.eventually("and is closed", func() bool { return !b.has(client) })
			require.True(t, a.has(client))
			require.NoError(t, b.connect(client, Want{Owner: "x"}))
			w.eventually("its own owner gets it", func() bool { return !a.has(client) })
		}
		require.NoError(t, a.connect("nobody's", Want{}))
		require.NoError(t, b.connect("nobody's", Want{Owner: "x"}))
	})
}

func TestAClientIDOfANodeThatHasStoppedIsFreeForOtherOwners(t *testing.T) {
	inWorld(t, func(w *world) {
		nodes := w.start("a", "b", "c")
		a, b := nodes[0], nodes[1]
		client := clientOf("c", "b", "c")
		require.NoError(t, a.connect(client, Want{Owner: "x"}))
		a.pause(true)
		require.ErrorIs(t, b.connect(client, Want{Owner: "y"}), ErrTakenOver, "it may only be slow")
		w.eventually("the others go on without it", func() bool { return len(b.Members()) == 2 && len(nodes[2].Members()) == 2 })
		require.NoError(t, b.connect(client, Want{Owner: "y"}))
		require.True(t, a.Fenced())
		a.pause(false)
		w.eventually("it gives up what was taken over", func() bool { return !a.has(client) })
		require.True(t, b.has(client))
	})
}

func TestANodeThatDoesNotAnswerIsWaitedForOneLease(t *testing.T) {
	for _, owner := range []string{"a", "b", "c"} { // a is the node that stops
		inWorld(t, func(w *world) {
			nodes := w.start("a", "b", "c")
			a, b, c := nodes[0], nodes[1], nodes[2]
			client, another := clientOf(owner, "a", "b", "c"), clientOf("c", "a", "b", "c")+"x"
			require.NoError(t, a.connect(client, durable))
			require.NoError(t, a.connect(another, durable))
			a.pause(true)
			pass(time.Second)
			began := time.Now()
			require.NoError(t, b.connect(client, durable))
			require.GreaterOrEqual(t, time.Since(began), 10*time.Second)
			require.Less(t, time.Since(began), 13*time.Second)
			require.True(t, a.Fenced(), "it stopped before others took over")
			require.False(t, b.Fenced())
			began = time.Now()
			require.NoError(t, c.connect(another, durable))
			require.Less(t, time.Since(began), 11*time.Second)

			require.True(t, a.has(client), "it knows nothing yet")
			a.pause(false)
			w.eventually("it gives up what was taken over", func() bool { return !a.has(client) && !a.has(another) })
			w.eventually("and serves again", func() bool { return !a.Fenced() && len(b.Members()) == 3 })
			require.True(t, b.has(client))
			require.True(t, c.has(another))
		})
	}
}

func TestANodeThatComesBackKeepsWhatNobodyTook(t *testing.T) {
	inWorld(t, func(w *world) {
		nodes := w.start("a", "b")
		a := nodes[0]
		require.NoError(t, a.connect("client", durable))
		a.pause(true)
		pass(time.Minute)
		require.True(t, a.Fenced())
		a.pause(false)
		w.eventually("it serves again", func() bool { return !a.Fenced() })
		pass(30 * time.Second)
		require.Empty(t, a.gaveUp())
		require.NoError(t, nodes[1].connect("client", durable))
		require.Equal(t, []string{"client"}, a.gaveUp())
	})
}

func TestAnOutageOfTheStoreTakesNoConnectionFromAnybody(t *testing.T) {
	inWorld(t, func(w *world) {
		nodes := w.start("a", "b")
		a, b := nodes[0], nodes[1]
		for i := range 20 {
			require.NoError(t, a.connect(fmt.Sprint("client", i), durable))
		}
		a.pause(true)
		b.pause(true)
		require.NoError(t, b.connect("clean", Want{Transient: true, Fresh: true}), "clean clients connect all the same")
		ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
		_, err := b.Claim(ctx, "client1", durable)
		cancel()
		require.ErrorIs(t, err, ErrUnanswered)
		pass(time.Minute)
		a.pause(false)
		b.pause(false)
		w.eventually("both serve again", func() bool { return !a.Fenced() && !b.Fenced() })
		pass(10 * time.Second)
		for _, c := range a.gaveUp() {
			require.Equal(t, "client1", c)
		}
		require.NoError(t, b.connect("client2", durable))
		require.True(t, b.has("clean"))
	})
}

func TestANodeThatWasKilledAndStartedAgainHoldsNothing(t *testing.T) {
	inWorld(t, func(w *world) {
		nodes := w.start("a", "b")
		b := nodes[1]
		require.NoError(t, nodes[0].connect("client", durable))
		nodes[0].pause(true)
		got := make(chan error, 1)
		go func() { got <- b.connect("client", durable) }()
		pass(2 * time.Second)
		old := nodes[0]
		old.Cluster.mu.Lock()
		old.stopped = true
		old.Cluster.mu.Unlock()
		old.deaf.Store(false)
		old.Cluster.Close()
		began := time.Now()
		w.start("a")
		require.NoError(t, <-got)
		require.Less(t, time.Since(began), 2*time.Second, "its new process says that the old one is gone")
	})
}

// TestANodeThatWasStartedAgainReportsWhatItGrantedAlone starts a node again, within its lease, while the metadata names no other node: it
// has a client by itself before the other one hears from it. The other one decides about that client id.
func TestANodeThatWasStartedAgainReportsWhatItGrantedAlone(t *testing.T) {
	inWorld(t, func(w *world) {
		n := w.start("a", "b")
		client := clientOf("a", "a", "b")
		n[1].pause(true)
		w.crashed = append(w.crashed, n[1])
		w.know("b")
		again := w.begin("b")
		require.NoError(t, again.connect(client, durable))
		w.eventually("they know each other", func() bool { return len(again.Members()) == 2 && len(n[0].Members()) == 2 && !n[0].calling() })
		require.NoError(t, n[0].connect(client, durable))
		pass(time.Second)
		require.Equal(t, []string{"a"}, w.holders(client))
		require.Equal(t, []string{client}, again.gaveUp())
	})
}

// TestOfThreeConnectionsTheLatestStaysThoughAnotherWaits has a connection wait for an older one while a node that knew no other has a newer
// one.
func TestOfThreeConnectionsTheLatestStaysThoughAnotherWaits(t *testing.T) {
	inWorld(t, func(w *world) {
		n := w.start("a", "b", "c")
		client := clientOf("a", "a", "b", "c", "d") // a decides without d too
		require.NoError(t, n[2].connect(client, durable))
		hold := make(chan struct{})
		n[2].mu.Lock()
		n[2].hold = hold
		n[2].mu.Unlock()
		waits := make(chan error, 1)
		go func() { waits <- n[1].connect(client, durable) }()
		pass(10 * time.Millisecond)
		require.Equal(t, []string{client}, n[1].waitingClaims())
		w.know()
		d := w.begin("d")
		require.NoError(t, d.connect(client, durable))
		w.know("a", "b", "c", "d")
		err := <-waits
		close(hold)
		require.ErrorIs(t, err, ErrTakenOver)
		w.eventually("only the latest is left", func() bool { return slices.Equal(w.holders(client), []string{"d"}) })
		pass(time.Minute)
		require.Equal(t, []string{"d"}, w.holders(client))
	})
}

func TestNodesThatDidNotKnowOneAnotherFindWhoIsConnectedTwice(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.start("a")[0]
		w.know()
		n := w.begin("b")
		for i := range 600 {
			require.NoError(t, a.connect(fmt.Sprint("client", i), durable))
		}
		pass(time.Millisecond)
		for i := range 300 {
			require.NoError(t, n.connect(fmt.Sprint("client", i), durable))
		}
		w.know("a", "b")
		w.eventually("the later connections stay", func() bool { return len(a.gaveUp()) == 300 })
		require.Empty(t, n.gaveUp())
		require.NoError(t, n.connect("client500", durable))
		require.Len(t, a.gaveUp(), 301)
	})
}

func TestClaimsAreDecidedWhileNodesComeAndGo(t *testing.T) {
	inWorld(t, func(w *world) {
		nodes := w.start("a", "b")
		var wg sync.WaitGroup
		var failed atomic.Int32
		stop := make(chan struct{})
		for i := range 6 {
			wg.Go(func() {
				client := fmt.Sprint("client", i)
				for turn := 0; ; turn++ {
					select {
					case <-stop:
						return
					default:
					}
					n := nodes[(i+turn)%2]
					if err := n.connect(client, durable); err != nil {
						failed.Add(1)
						t.Log(err)
					}
					time.Sleep(20 * time.Millisecond)
				}
			})
		}
		for range 2 {
			pass(300 * time.Millisecond)
			w.start("c")
			pass(300 * time.Millisecond)
			w.nodes["c"].Close()
			delete(w.nodes, "c")
			w.know("a", "b")
		}
		close(stop)
		wg.Wait()
		require.Zero(t, failed.Load())
		for i := range 6 {
			client := fmt.Sprint("client", i)
			w.eventually("one connection is left", func() bool { return len(w.holders(client)) == 1 })
		}
	})
}

func TestOwnersAreSpreadAndFewMoveWhenANodeJoins(t *testing.T) {
	count := func(members []string) map[string]int {
		n := map[string]int{}
		for b := range buckets {
			n[ownerOf(b, members)]++
		}
		return n
	}
	for _, size := range []int{2, 3, 10, 50} {
		var members []string
		for i := range size {
			members = append(members, fmt.Sprintf("node-%d", i))
		}
		for id, n := range count(members) {
			require.LessOrEqual(t, n, 3*buckets/size+4, "of %s among %d", id, size)
		}
		moved := 0
		for b := range buckets {
			now := ownerOf(b, append([]string{"another"}, members...))
			if now != ownerOf(b, members) {
				require.Equal(t, "another", now)
				moved++
			}
		}
		require.LessOrEqual(t, moved, 3*buckets/size+4)
	}
	hit := map[int]int{}
	for i := range 100_000 {
		hit[bucketOf(fmt.Sprint("device-", i))]++
	}
	require.Len(t, hit, buckets)
	for _, n := range hit {
		require.Less(t, n, 800, "of 390 on the average")
	}
}

func TestAloneNodeWritesNothing(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.start("a")[0]
		for i := range 100 {
			require.NoError(t, a.connect(fmt.Sprint("client", i), durable))
		}
		pass(time.Minute)
		a.disconnect("client1")
		b, err := w.store.Bounds(context.Background(), store.QueueRef{Queue: InboxQueue("a"), Broker: local.Broker})
		require.NoError(t, err)
		require.Zero(t, b.Max)
		require.False(t, a.Fenced())
	})
}

func TestLettersThatCannotBeReadArePassedOver(t *testing.T) {
	for _, text := range []string{"", "x", "{}", `{"f":"a"}`, `[1]`} {
		_, err := decodeLetter([]byte(text))
		require.Error(t, err, "%q", text)
	}
	_, err := parseBuckets("xx")
	require.Error(t, err)
	require.False(t, errors.Is(err, ErrUnanswered))
}

func TestLongClientIDsHoldUpNobody(t *testing.T) {
	long := func(i int) string { return fmt.Sprint(i, strings.Repeat("<&>", 20_000)) }
	t.Run("letters are bounded by bytes", func(t *testing.T) {
		inWorld(t, func(w *world) {
			a := w.start("a")[0]
			for i := range 20 {
				require.NoError(t, a.connect(long(i), durable))
			}
			a.most.Store(2 * letterBytes)
			b := w.start("b")[0]
			for i := range 20 {
				require.NoError(t, b.connect(long(i), durable))
			}
			require.Len(t, a.gaveUp(), 20)
		})
	})
	t.Run("what the store does not take is left out", func(t *testing.T) {
		inWorld(t, func(w *world) {
			nodes := w.start("a", "b")
			a, b := nodes[0], nodes[1]
			client := clientOf("b", "a", "b")
			a.most.Store(10_000)
			for i := range 4 {
				require.NoError(t, a.connect(long(i), Want{Transient: true, Fresh: true}))
			}
			require.NoError(t, a.connect(client, durable))
			pass(30 * time.Second)
			require.Len(t, b.Members(), 2)
		})
	})
}

func TestAGoodbyeIsTheLastThatANodeSays(t *testing.T) {
	inWorld(t, func(w *world) {
		nodes := w.start("a", "b")
		a, b := nodes[0], nodes[1]
		a.mute.Store(true) // so that its goodbye is delayed
		closed := make(chan struct{})
		go func() { a.Close(); close(closed) }()
		pass(100 * time.Millisecond)
		require.NoError(t, b.connect(clientOf("a", "a", "b"), Want{Transient: true, Fresh: true}))
		b.Cluster.mu.Lock()
		b.post("a", message{Kind: kindPing})
		b.Cluster.mu.Unlock()
		pass(time.Second)
		a.mute.Store(false)
		<-closed
		delete(w.nodes, "a")
		pass(time.Second)
		require.Equal(t, []string{"b"}, b.Members(), "what it said last was its goodbye")
	})
}

func TestANodeThatWritesAndDoesNotReadIsWaitedForOneLease(t *testing.T) {
	inWorld(t, func(w *world) {
		nodes := w.start("a", "b")
		a, b := nodes[0], nodes[1]
		require.NoError(t, a.connect("client", durable))
		a.deaf.Store(true)
		pass(time.Minute)
		require.True(t, a.Fenced())
		require.Equal(t, []string{"b"}, b.Members(), "its letters are no answers")
		began := time.Now()
		require.NoError(t, b.connect("client", durable))
		require.Less(t, time.Since(began), 13*time.Second)
		a.deaf.Store(false)
		w.eventually("it serves again", func() bool { return !a.Fenced() && len(b.Members()) == 2 && !a.has("client") })
	})
}

func TestSessionsGoOnAfterAFenceHoweverShort(t *testing.T) {
	t.Run("shorter than a tick", func(t *testing.T) {
		inWorld(t, func(w *world) {
			a := w.start("a", "b")[0]
			a.Cluster.mu.Lock()
			a.setFresh(time.Now().Add(-9 * time.Second))
			fenced := a.Fenced()
			a.proven(time.Since(a.began))
			a.Cluster.mu.Unlock()
			require.True(t, fenced)
			w.eventually("sessions go on", func() bool { return a.resumed.Load() == 1 && !a.Fenced() })
		})
	})
	t.Run("until the node was alone", func(t *testing.T) {
		inWorld(t, func(w *world) {
			nodes := w.start("a", "b")
			a := nodes[0]
			a.pause(true)
			pass(9 * time.Second)
			require.True(t, a.Fenced())
			nodes[1].Close()
			delete(w.nodes, "b")
			a.deaf.Store(false) // a learns that b has left before it can prove anything
			w.eventually("sessions go on", func() bool { return a.resumed.Load() == 1 })
			require.Equal(t, []string{"a"}, a.Members())
		})
	})
}

func TestOneClaimantsWordSilencesNoNodeThatWasJustAsked(t *testing.T) {
	for asked, there := range map[time.Duration]bool{time.Second: true, 6 * time.Second: false} {
		inWorld(t, func(w *world) {
			a := w.start("a", "b", "c")[0]
			a.Cluster.mu.Lock()
			defer a.Cluster.mu.Unlock()
			a.peers["b"].unanswered = time.Now().Add(-asked)
			a.claimed("c", &message{Kind: kindClaim, Client: clientOf("a", "a", "b", "c"), Claim: "1", Order: 1, Silent: "b"})
			require.Equal(t, there, slices.Contains(a.members, "b"))
		})
	}
}

func TestANodeThatStartsWaitsOneLeaseForThoseThatAreOnlyNamed(t *testing.T) {
	inWorld(t, func(w *world) {
		w.know("a", "never there")
		began := time.Now()
		a := w.begin("a")
		require.LessOrEqual(t, time.Since(began), startWait)
		require.NoError(t, a.connect("clean", Want{Transient: true}))
		require.LessOrEqual(t, time.Since(began), startWait, "it waits for nobody")
		require.NoError(t, a.connect("client", durable))
		require.GreaterOrEqual(t, time.Since(began), 10*time.Second, "the other node may have the client, and be stopped")
		require.Less(t, time.Since(began), 11*time.Second)
	})
}

func TestWhatIsToldAgainIsNotInABoxTwice(t *testing.T) {
	inWorld(t, func(w *world) {
		nodes := w.start("a", "b")
		a := nodes[0]
		client := clientOf("b", "a", "b")
		a.mute.Store(true)
		got := make(chan error, 1)
		go func() { got <- a.connect(client, durable) }()
		pass(20 * time.Second)
		a.Cluster.mu.Lock()
		n := len(a.boxes["b"].queue)
		a.Cluster.mu.Unlock()
		require.LessOrEqual(t, n, 3, "the claim, and a sign of life")
		a.mute.Store(false)
		require.NoError(t, <-got)
	})
}
