package mqtttest

import (
	"cmp"
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/auth"
	"github.com/lmqgate/lmqgate/core/catalog"
	"github.com/lmqgate/lmqgate/core/delivery"
	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/meta/metatest"
	"github.com/lmqgate/lmqgate/core/mqtt"
	"github.com/lmqgate/lmqgate/core/publish"
	"github.com/lmqgate/lmqgate/core/session"
	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/store/local"
	"github.com/lmqgate/lmqgate/core/store/storetest"
	"github.com/lmqgate/lmqgate/core/topic"
)

// Patience is how long tests wait for anything that must happen. It is long because it costs nothing when all is well.
const Patience = time.Minute

// Config is what a test may change about a node. The node provides the listeners, stores and so on.
type Config struct {
	// Authority decides who may do what; nil: everybody may do everything.
	Authority auth.Authority
	// MQTT holds the limits of the server, what traces messages, and listeners in addition to those that every node has (tcp and ws); see
	// Node.Addr.
	MQTT mqtt.Options
	// Session holds the intervals of the session manager.
	Session session.Options
	// Delivery holds the bounds of delivery.
	Delivery delivery.Options
	// KnownTopics are created before clients are accepted. With NoAutoCreate no other topics exist.
	KnownTopics  []string
	NoAutoCreate bool
	// Beside is a node whose store and metadata this node shares, as two nodes of a cluster do. It must outlive this node.
	Beside *Node
	// Log is where the node logs; nil: see LMQGATE_TEST_LOG.
	Log *slog.Logger
}

// Node is a gateway on the local store. Only the test's goroutine may call its methods.
type Node struct {
	tb      testing.TB
	cfg     Config
	dir     string
	backend *metatest.Backend
	id      string
	stop    func(crash bool) // nil while the node is down

	tcp, ws net.Addr
	more    []net.Addr

	// Sessions, Meta and Server belong to the running node, for checks that are impossible from outside.
	Sessions *session.Manager
	Meta     *meta.Meta
	Server   *mqtt.Server
	store    *local.Store
	plug     *plug
	// Faults makes calls of the running node's store fail.
	Faults *storetest.Faulty

	mu      sync.Mutex
	clients []*Client
}

// Start starts a node that stops when the test ends.
func Start(tb testing.TB, change ...func(*Config)) *Node {
	tb.Helper()
	n := &Node{tb: tb, id: "node", dir: filepath.Join(tb.TempDir(), "store"), backend: metatest.New(metatest.Full())}
	n.cfg.MQTT = mqtt.Options{MaxPacketSize: 1 << 20, ReceiveMaximum: 1024}
	n.cfg.Session = session.Options{CommitInterval: 20 * time.Millisecond, WillGrace: 200 * time.Millisecond}
	for _, f := range change {
		f(&n.cfg)
	}
	if n.cfg.Authority == nil {
		n.cfg.Authority = auth.Anonymous()
	}
	if n.cfg.Beside != nil {
		n.backend.Close()
		n.backend, n.id = n.cfg.Beside.backend, "beside"
	}
	tb.Cleanup(func() {
		n.mu.Lock()
		clients := n.clients
		n.mu.Unlock()
		for _, c := range clients {
			c.Close()
		}
		n.Stop()
		if n.cfg.Beside == nil {
			n.backend.Close()
		}
	})
	n.Restart()
	return n
}

// logger is silent unless LMQGATE_TEST_LOG is set.
func logger() *slog.Logger {
	if os.Getenv("LMQGATE_TEST_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// Stop stops the node cleanly: progress is committed, and wills stay recorded for another node or the next start.
func (n *Node) Stop() { n.end(false) }

// Crash stops the node as kill -9 would: nothing is committed, recorded or published on the way out. What the store had acknowledged is
// kept.
func (n *Node) Crash() { n.end(true) }

func (n *Node) end(crash bool) {
	if n.stop != nil {
		n.stop(crash)
		n.stop = nil
	}
}

// Restart starts the node again on the directory and metadata of the last run. It stops the node first if it is running.
func (n *Node) Restart() {
	n.tb.Helper()
	n.Stop()
	log := n.cfg.Log
	if log == nil {
		log = logger()
	}
	st := n.openStore(log)
	faults := storetest.NewFaulty(st)
	plug := &plug{next: n.backend.Client()}
	md, err := meta.New(meta.Options{Client: plug, Traits: n.backend.Traits, NodeID: n.id, Log: log})
	require.NoError(n.tb, err)
	topics := catalog.New(catalog.Options{Store: faults, Meta: md, Dispatch: catalog.Lean, AutoCreate: !n.cfg.NoAutoCreate, Queues: 1,
		Log: log})
	pub := publish.New(publish.Options{Store: faults, Catalog: topics, Meta: md, Retainer: retainer{md}, Spans: n.cfg.MQTT.Spans,
		Log: log})
	do := n.cfg.Delivery
	do.Store, do.Catalog, do.Retained, do.Log = faults, topics, md.SeenRetained, log
	do.LookBack = cmp.Or(do.LookBack, Patience) // the outcome must not depend on a busy machine
	hub := delivery.New(do)
	topics.Watch(hub)
	so := n.cfg.Session
	so.NodeID, so.Store, so.Hub, so.Catalog, so.Publisher, so.Meta, so.Log = n.id, faults, hub, topics, pub, md, log
	so.Spans = n.cfg.MQTT.Spans
	so.ExpiryMax = n.cfg.MQTT.SessionExpiryMax
	sessions := session.NewManager(so)
	mo := n.cfg.MQTT
	mo.Listeners = append([]mqtt.Listener{{Type: "tcp", Address: "127.0.0.1:0"}, {Type: "ws", Address: "127.0.0.1:0", Path: "/mqtt"}},
		n.cfg.MQTT.Listeners...)
	mo.Sessions, mo.Publisher, mo.Authority, mo.Log = sessions, pub, n.cfg.Authority, log
	server := mqtt.New(mo)
	require.NoError(n.tb, md.Start(context.Background()))
	if n.cfg.Beside == nil {
		require.NoError(n.tb, st.Start(context.Background()))
	}
	n.stop = func(crash bool) {
		closeStore := func() {
			if n.cfg.Beside == nil {
				_ = st.Close()
			}
		}
		if crash {
			plug.out.Store(true)
			closeStore()
			server.Close()
		}
		ctx, cancel := context.WithTimeout(context.Background(), Patience)
		defer cancel()
		server.StopAccepting()
		sessions.Close(ctx)
		server.Close()
		hub.Close()
		pub.Close()
		closeStore()
		_ = md.Close()
	}
	Eventually(n.tb, "the node is ready", func() bool { return md.Ready() == nil && st.Ready(context.Background()) == nil })
	for _, name := range n.cfg.KnownTopics {
		require.NoError(n.tb, topics.Create(context.Background(), name, 1))
	}
	addrs, err := server.Listen()
	require.NoError(n.tb, err)
	n.tcp, n.ws, n.more = addrs[0], addrs[1], addrs[2:]
	sessions.Start()
	server.Serve()
	n.Sessions, n.Meta, n.Server, n.store, n.plug, n.Faults = sessions, md, server, st, plug, faults
}

// openStore opens the node's store, or returns the store of the node beside it.
func (n *Node) openStore(log *slog.Logger) *local.Store {
	if n.cfg.Beside != nil {
		return n.cfg.Beside.store
	}
	st, err := local.New(local.Options{Path: n.dir, Sync: local.SyncInterval, SyncInterval: 50 * time.Millisecond, MinFree: -1, Log: log})
	require.NoError(n.tb, err)
	return st
}

// FailMetadata makes the metadata backend fail, for this node and the nodes beside it, until it is called with false.
func (n *Node) FailMetadata(fail bool) { n.backend.Fail(fail) }

// HoldRetained blocks this node's writes of retained messages until release is called.
func (n *Node) HoldRetained() (release func()) { return n.plug.writes.hold() }

// HoldNews blocks the metadata's notifications to this node about retained messages until release is called.
func (n *Node) HoldNews() (release func()) { return n.plug.news.hold() }

// TCP returns the address of the plain listener.
func (n *Node) TCP() net.Addr { return n.tcp }

// Addr returns the address of a listener that the test has added, by its index.
func (n *Node) Addr(i int) net.Addr { return n.more[i] }

// RefuseMetadata makes the running node's metadata refuse every call, or answer again.
func (n *Node) RefuseMetadata(refuse bool) { n.plug.out.Store(refuse) }

// Lag returns how many entries of a filter's queue a client has not committed; -1 if it has committed nothing.
func (n *Node) Lag(client, filter string) int64 {
	n.tb.Helper()
	ref := store.QueueRef{Queue: topic.Queue(filter), Broker: "local"}
	b, err := n.store.Bounds(context.Background(), ref)
	require.NoError(n.tb, err)
	at, err := n.store.Committed(context.Background(), client, []store.QueueRef{ref})
	require.NoError(n.tb, err)
	if len(at) == 0 {
		return -1
	}
	return b.Max - at[0].Next
}

// Records returns how many records the store shows for a first-level topic.
func (n *Node) Records(topic string) int64 {
	n.tb.Helper()
	b, err := n.store.ReadPartition(context.Background(), topic, store.Partition{Broker: local.Broker}, 0, 1)
	require.NoError(n.tb, err)
	return b.Max
}

// Eventually waits until cond is true.
func Eventually(tb testing.TB, what string, cond func() bool) {
	tb.Helper()
	deadline := time.Now().Add(Patience)
	for !cond() {
		if time.Now().After(deadline) {
			tb.Fatalf("did not happen within %s: %s", Patience, what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}
