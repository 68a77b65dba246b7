package session

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/cluster"
	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/core/publish"
	"github.com/lmqgate/lmqgate/core/store"
)

// deafStore is a store whose inboxes receive nothing while it is deaf.
type deafStore struct {
	store.Store
	listens chan struct{} // holds a token while the store is not deaf
}

func newDeafStore(s store.Store) *deafStore {
	d := &deafStore{Store: s, listens: make(chan struct{}, 1)}
	d.hears(true)
	return d
}

func (d *deafStore) hears(yes bool) {
	if yes {
		d.listens <- struct{}{}
	} else {
		<-d.listens
	}
}

func (d *deafStore) TailQueue(ctx context.Context, queue string, f store.TailFunc) (store.Tail, error) {
	return d.Store.TailQueue(ctx, queue, func(p store.Partition, records []*store.Record) {
		d.hears(false)
		d.hears(true)
		f(p, records)
	})
}

// deafNode starts two nodes that are members of one cluster. The inbox of the first can be made deaf. seen wraps the first node's store.
func deafNode(t *testing.T, seen func(store.Store) store.Store) (a, b *node, deaf *deafStore) {
	t.Helper()
	names := []string{"a", "b"}
	a = startNode(t, func(n *node) {
		n.id, n.named = "a", names
		n.wrap = func(s store.Store) store.Store { deaf = newDeafStore(seen(s)); return deaf }
	})
	b = startNode(t, func(n *node) { n.id, n.named, n.beside = "b", names, a })
	a.eventually("the nodes know one another", func() bool { return len(a.o.Cluster.Members()) == 2 && len(b.o.Cluster.Members()) == 2 })
	return a, b, deaf
}

// TestNothingThatANodeDoesWithALostClientIsBelieved makes a node deaf until another node has taken over its client. It then checks that the
// deaf node stores, commits and sends nothing for the old connection, and publishes no will.
func TestNothingThatANodeDoesWithALostClientIsBelieved(t *testing.T) {
	for qos := byte(1); qos <= 2; qos++ {
		synctest.Test(t, func(t *testing.T) {
			seen := &commitsOf{client: "client"}
			a, b, deaf := deafNode(t, func(s store.Store) store.Store { seen.Store = s; return seen })
			reader := b.connect("reader", durable)
			reader.subscribe(2, "ghosts", "wills/#")
			old := a.connect("client", durable, will("never", 0))
			old.subscribe(qos, "t")

			deaf.hears(false)
			a.eventually("the node is fenced", a.o.Cluster.Fenced)
			fates := make(chan error, 2)
			for id := range uint16(2) {
				m := &store.Message{Topic: "ghosts", Payload: []byte("ghost"), QoS: qos, Publisher: "client", Created: time.Now()}
				old.s.Publish(t.Context(), old.lanes, m, id+1, func(err error) { fates <- err })
			}
			before := seen.n.Load()
			b.publish(qos, "t", "1", "2")
			now := b.connect("client", durable)
			require.True(t, now.present)
			now.gets("1", "2")
			deaf.hears(true)

			a.eventually("the older connection is closed", func() bool { return old.isClosed() && a.session("client") == nil })
			require.Equal(t, packet.SessionTakenOver, old.code)
			for range 2 {
				require.ErrorIs(t, <-fates, publish.ErrEnded)
			}
			require.Zero(t, old.waiting(), "what was sent by the older connection")
			require.Equal(t, before, seen.n.Load(), "commits of the node that lost the client")
			b.publish(1, "ghosts", "last")
			reader.gets("last")
			require.Equal(t, "b", a.record("client").Node)
		})
	}
}

func TestASessionIsEndedThoughItsClientHasJustComeToAnotherNode(t *testing.T) {
	inACluster(t, func(t *testing.T, a, b, _ *node) {
		a.connect("client", durable).subscribe(1, "t")
		now := b.connect("client", durable)
		require.True(t, now.present)
		require.NoError(t, a.End(t.Context(), "client", true), "a has asked the others before the client came to b")
		a.eventually("the connection is closed", now.isClosed)
		require.Nil(t, a.record("client"))
		require.False(t, b.connect("client", durable).present)
	})
}

func TestAFencedNodeThatKeptItsClientGoesOnWithWhatWaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, deaf := deafNode(t, func(s store.Store) store.Store { return s })
		reader := b.connect("reader", durable)
		reader.subscribe(1, "t")
		c := a.connect("client", durable)
		deaf.hears(false)
		a.eventually("the node is fenced", a.o.Cluster.Fenced)
		fate := make(chan error, 1)
		m := &store.Message{Topic: "t", Payload: []byte("m"), QoS: 1, Publisher: "client", Created: time.Now()}
		c.s.Publish(t.Context(), c.lanes, m, 1, func(err error) { fate <- err })
		b.publish(1, "t", "first")
		reader.gets("first")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, _, err := a.Connect(ctx, Request{ClientID: "another", Version: packet.V5, Conn: &client{n: a}, Expiry: time.Hour})
		require.ErrorIs(t, err, cluster.ErrUnanswered)
		deaf.hears(true)
		require.NoError(t, <-fate)
		reader.gets("m")
		require.False(t, c.isClosed())
	})
}

// TestAFencedNodePublishesNoWillOfAClientThatIsBackElsewhere disconnects clients from a deaf node. Some of them connect to another node;
// the fenced node must not publish their wills.
func TestAFencedNodePublishesNoWillOfAClientThatIsBackElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, deaf := deafNode(t, func(s store.Store) store.Store { return s })
		watch := b.connect("watch")
		watch.subscribe(1, "wills/#")
		left := []*client{a.connect("moves", durable, will("1", 0)), a.connect("stays away", durable, will("2", 0)),
			a.connect("moves, clean", will("3", 0)), a.connect("stays away, clean", will("4", 0))}
		deaf.hears(false)
		a.eventually("the node is fenced", a.o.Cluster.Fenced)
		for _, c := range left {
			c.drop()
		}
		b.connect("moves", durable)
		b.connect("moves, clean")
		watch.gets("3") // by the other node: the session has ended
		pass(time.Minute)
		waiting := watch.waiting()
		deaf.hears(true)
		require.Zero(t, waiting)
		a.eventually("the node goes on", func() bool { return !a.o.Cluster.Fenced() })
		one, two := watch.next(), watch.next()
		require.ElementsMatch(t, []string{"2", "4"}, []string{string(one.Payload), string(two.Payload)})
		pass(time.Minute)
		require.Zero(t, watch.waiting())
	})
}

// TestACONNECTThatWasUnderWayWhenANodeWasStoppedGoesOnWhereNoOtherNodeHasTheClient makes a node deaf after its claim is granted and before
// the session is recorded.
func TestACONNECTThatWasUnderWayWhenANodeWasStoppedGoesOnWhereNoOtherNodeHasTheClient(t *testing.T) {
	for _, taken := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			a, b, deaf := deafNode(t, func(s store.Store) store.Store { return s })
			a.connect("client", durable).subscribe(1, "t")
			loads := 0
			a.meta.onLoad(func(id string) {
				if loads++; id == "client" && loads == 2 { // the read that follows the grant
					deaf.hears(false)
					a.eventually("the node is fenced", a.o.Cluster.Fenced)
				}
			})
			type result struct {
				c   *client
				err error
			}
			results := make(chan result, 1)
			go func() {
				c, err := a.tryConnect("client", durable)
				results <- result{c, err}
			}()
			a.eventually("the node is fenced", a.o.Cluster.Fenced)
			before := a.record("client").Epoch
			if taken {
				b.connect("client", durable)
			}
			time.Sleep(time.Second)
			require.Empty(t, results, "nobody knows yet whose the client is")
			require.Equal(t, taken, a.record("client").Epoch != before, "nothing is recorded by the node that was stopped")
			deaf.hears(true)
			got := <-results
			if taken {
				require.ErrorIs(t, got.err, cluster.ErrTakenOver)
				require.Equal(t, "b", a.record("client").Node)
				return
			}
			require.NoError(t, got.err)
			require.True(t, got.c.present)
			b.publish(1, "t", "m")
			got.c.gets("m")
		})
	}
}
