package session

import (
	"context"
	"encoding/json"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/lmqgate/lmqgate/core/catalog"
	"github.com/lmqgate/lmqgate/core/cluster"
	"github.com/lmqgate/lmqgate/core/delivery"
	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/meta/metatest"
	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/core/publish"
	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/store/local"
	"github.com/lmqgate/lmqgate/core/store/storetest"
	"github.com/lmqgate/lmqgate/internal/leftover"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(leftover.Patient(m)) }

// node is a Manager on top of real components: the local store, metadata with an in-memory backend, delivery and publishing.
type node struct {
	t       testing.TB
	dir     string
	backend *metatest.Backend
	options Options
	hub     delivery.Options
	topics  catalog.Options
	wrap    func(store.Store) store.Store // wraps the store that sessions use
	// link is the node's way to the metadata; nil: calls reach it at once. With wired, the metadata tells the node who lives, as in package
	// gateway; otherwise named does.
	link  func(pluginv1.MetaClient) pluginv1.MetaClient
	wired bool
	// id is the node id. beside is another node; both share its store and metadata. named lists the cluster's nodes, and is empty outside a
	// cluster.
	id     string
	beside *node
	named  []string

	crashed atomic.Bool // the process is gone, with its connections

	own   *local.Store
	store *storetest.Faulty
	meta  *metadata
	pub   *publish.Publisher
	*Manager
	stop func()
}

// metadata is the node's metadata. It can fail calls and call a function before a record is saved or after it is loaded.
type metadata struct {
	*meta.Meta
	mu     sync.Mutex
	saving func(*meta.Session) error
	loaded func(id string)
	fails  error
	wills  error
	// unlearned is the error that LearnFilters returns.
	unlearned error
}

// failFilters sets the error that LearnFilters returns.
func (m *metadata) failFilters(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.unlearned = err
}

func (m *metadata) LearnFilters(ctx context.Context, filters ...string) error {
	m.mu.Lock()
	err := m.unlearned
	m.mu.Unlock()
	if err != nil {
		return err
	}
	return m.Meta.LearnFilters(ctx, filters...)
}

// failWills sets the error that writes of wills return.
func (m *metadata) failWills(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wills = err
}

func (m *metadata) onSave(f func(*meta.Session) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.saving = f
}

// fail sets the error that all calls for sessions and wills return.
func (m *metadata) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fails = err
}

func (m *metadata) failing() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.fails
}

func (m *metadata) SaveSession(ctx context.Context, s *meta.Session) error {
	m.mu.Lock()
	f := m.saving
	m.mu.Unlock()
	if err := m.failing(); err != nil {
		return err
	}
	if f != nil {
		if err := f(s); err != nil {
			return err
		}
	}
	return m.Meta.SaveSession(ctx, s)
}

func (m *metadata) LoadSession(ctx context.Context, id string) (*meta.Session, error) {
	if err := m.failing(); err != nil {
		return nil, err
	}
	rec, err := m.Meta.LoadSession(ctx, id)
	m.mu.Lock()
	f := m.loaded
	m.mu.Unlock()
	if f != nil {
		f(id)
	}
	return rec, err
}

// onLoad makes f be called after each read of a session record.
func (m *metadata) onLoad(f func(id string)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.loaded = f
}

func (m *metadata) LoadWill(ctx context.Context, id string) (*meta.Will, error) {
	if err := m.failing(); err != nil {
		return nil, err
	}
	return m.Meta.LoadWill(ctx, id)
}

func (m *metadata) DropSession(ctx context.Context, s *meta.Session) error {
	if err := m.failing(); err != nil {
		return err
	}
	return m.Meta.DropSession(ctx, s)
}

func (m *metadata) EachWill(ctx context.Context, f func(*meta.Will) error) error {
	if err := m.failing(); err != nil {
		return err
	}
	return m.Meta.EachWill(ctx, f)
}

func (m *metadata) EachSession(ctx context.Context, f func(*meta.Session) error) error {
	if err := m.failing(); err != nil {
		return err
	}
	return m.Meta.EachSession(ctx, f)
}

func (m *metadata) SaveWill(ctx context.Context, w *meta.Will) error {
	m.mu.Lock()
	err := m.wills
	m.mu.Unlock()
	if err == nil {
		err = m.failing()
	}
	if err != nil {
		return err
	}
	return m.Meta.SaveWill(ctx, w)
}

// encodeSlowly encodes a record for long enough that the race detector sees a concurrent change of it.
func encodeSlowly(s *meta.Session) error {
	for range 200 {
		if _, err := json.Marshal(s); err != nil {
			return err
		}
	}
	return nil
}

// retainer stores retained messages in the metadata, as package gateway does.
type retainer struct{ m *meta.Meta }

func (r retainer) Room(m *store.Message) error { return r.m.RoomForRetained(m) }

func (r retainer) Retain(ctx context.Context, m *store.Message, at store.Position) error {
	return r.m.SetRetained(ctx, &meta.Retained{Message: m, Position: at})
}

// inVirtualTime runs a test with a node in a synctest bubble.
func inVirtualTime(t *testing.T, f func(t *testing.T, n *node), change ...func(*node)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, startNode(t, change...)) })
}

// pass lets time pass and waits until everything that is due has happened.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func startNode(t testing.TB, change ...func(*node)) *node {
	t.Helper()
	n := &node{t: t, id: "node", dir: filepath.Join(t.TempDir(), "store")}
	n.topics = catalog.Options{Dispatch: catalog.Lean, AutoCreate: true, Queues: 1}
	for _, f := range change {
		f(n)
	}
	if n.backend == nil && n.beside == nil {
		n.backend = metatest.New(metatest.Full())
	}
	t.Cleanup(func() {
		n.stop()
		if n.beside == nil {
			n.backend.Close()
		}
	})
	n.start()
	return n
}

// start starts the node with the data that an earlier start left.
func (n *node) start() {
	n.t.Helper()
	ctx := context.Background()
	if n.beside == nil {
		st, err := local.New(local.Options{Path: n.dir, Sync: local.SyncInterval, SyncInterval: time.Second, MinFree: -1, Log: slog.New(slog.DiscardHandler)})
		require.NoError(n.t, err)
		n.own, n.store = st, storetest.NewFaulty(st)
	} else {
		n.own, n.store, n.backend = n.beside.own, n.beside.store, n.beside.backend
	}
	st := n.own
	var seen store.Store = n.store
	if n.wrap != nil {
		seen = n.wrap(n.store)
	}
	client := n.backend.Client()
	if n.link != nil {
		client = n.link(client)
	}
	md, err := meta.New(meta.Options{Client: client, Traits: n.backend.Traits, NodeID: n.id})
	require.NoError(n.t, err)
	n.meta = &metadata{Meta: md}
	n.topics.Store, n.topics.Meta = seen, md
	topics := catalog.New(n.topics)
	n.pub = publish.New(publish.Options{Store: seen, Catalog: topics, Meta: md, Retainer: retainer{md}})
	n.hub.Store, n.hub.Catalog, n.hub.Retained = seen, topics, md.SeenRetained
	hub := delivery.New(n.hub)
	topics.Watch(hub)
	o := n.options
	o.Cluster = n.claims(topics, seen)
	o.NodeID, o.Store, o.Hub, o.Catalog, o.Publisher, o.Meta = n.id, seen, hub, topics, n.pub, n.meta
	if n.wired {
		o.Alive = func(node string) bool { return slices.Contains(n.alive(), node) }
	}
	n.Manager = NewManager(o)
	if n.wired {
		md.ReadBy(hub)
		md.OnNodeLost(n.NodeLost)
		md.OnNodeLeft(n.NodeLeft)
	}
	require.NoError(n.t, md.Start(ctx))
	if n.beside == nil {
		require.NoError(n.t, st.Start(ctx))
	}
	n.eventually("the node is ready", func() bool { return md.Ready() == nil && st.Ready(ctx) == nil })
	if o.Cluster != nil {
		require.NoError(n.t, o.Cluster.Start(ctx))
	}
	n.Start()
	n.stop = func() {
		n.Close(ctx)
		if o.Cluster != nil {
			o.Cluster.Close()
		}
		hub.Close()
		n.pub.Close()
		if n.beside == nil {
			_ = st.Close()
		}
		_ = md.Close()
	}
}

// claims returns the node's cluster, or nil if the node is in none.
func (n *node) claims(topics *catalog.Catalog, seen store.Store) *cluster.Cluster {
	if len(n.named) == 0 {
		return nil
	}
	o := cluster.Options{NodeID: n.id, Store: seen, Ensure: topics.EnsureOwn, Nodes: func() []string { return n.named },
		Yield: func(ctx context.Context, cl *cluster.Claim, ends bool) { n.Yield(ctx, cl, ends) }, Unfenced: func() { n.Resume() },
		Answer: func(ctx context.Context, _, subject string, body []byte) ([]byte, error) {
			if subject == AskWills {
				return n.AnswerWills(ctx, body)
			}
			return n.LearnFilters(ctx, body)
		}}
	if n.wired {
		o.Nodes, o.Listed, o.CatchUp = n.alive, n.meta.NodesAge, n.meta.CatchUp
	}
	return cluster.New(o)
}

// alive returns the nodes that the metadata believes alive.
func (n *node) alive() []string {
	var ids []string
	for _, live := range n.meta.Nodes() {
		ids = append(ids, live.ID)
	}
	return ids
}

// restart stops the node cleanly and starts it again.
func (n *node) restart() {
	n.t.Helper()
	n.stop()
	n.start()
}

// crash stops the node without committing, recording or publishing anything more, and starts it again.
func (n *node) crash() {
	n.t.Helper()
	n.store.FailCommits(store.ErrUnavailable)
	n.store.FailAppends(store.ErrClosed)
	n.meta.fail(meta.ErrClosed)
	n.restart()
}

// eventually waits until a condition holds, and fails the test after 30 seconds.
func (n *node) eventually(what string, cond func() bool) {
	n.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !cond() {
		if time.Now().After(deadline) {
			n.t.Fatalf("did not happen: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// client is the connection of a client. It records the packets that the client was sent and how it was closed.
type client struct {
	n  *node
	id string
	s  *Session
	// owns is for Close and Held.
	owns atomic.Pointer[Ownership]
	// lanes are the publish lanes of the connection.
	lanes *publish.Lanes
	// present is the session-present flag of the CONNACK.
	present bool

	mu       sync.Mutex
	sent     []packet.Publish
	acks     []packet.Ack
	read     int // how many of sent the test has read
	closed   bool
	code     packet.Code
	full     int // how many more PUBLISH packets fit; 0: unlimited
	tooLarge int // payloads of this size or more are too large; 0: none
}

var _ Conn = (*client)(nil)

func (c *client) Room(int) bool { return true }

func (c *client) SendPublish(p *packet.Publish) SendResult {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return Gone
	case c.tooLarge > 0 && len(p.Payload) >= c.tooLarge:
		return TooLarge
	}
	c.sent = append(c.sent, *p)
	if c.full > 0 {
		if c.full--; c.full == 0 {
			return SentFull
		}
	}
	return Sent
}

func (c *client) Flush() {}

func (c *client) SendAck(kind packet.Type, id uint16, code packet.Code) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.acks = append(c.acks, packet.Ack{Kind: kind, PacketID: id, Code: code})
}

func (c *client) Close(code packet.Code, _ string) {
	switch owns := c.owns.Load(); {
	case c.lanes == nil:
	case owns != nil && owns.Lost():
		c.lanes.Break()
	default:
		c.lanes.Stop()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.closed, c.code = true, code
	}
}

func (c *client) Held() bool {
	h := c.owns.Load()
	return h != nil && h.Held()
}

func (c *client) Lost() bool {
	h := c.owns.Load()
	return h != nil && h.Lost()
}

func (c *client) Settle(ctx context.Context) error {
	if c.lanes == nil {
		return nil
	}
	return c.lanes.Settle(ctx)
}

func (c *client) Withhold() { c.lanes.Break() }

func (c *client) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// will returns an option that gives the client a will.
func will(payload string, delay time.Duration) func(*Request) {
	return func(r *Request) {
		now := time.Now()
		m := &store.Message{Topic: "wills/" + r.ClientID, Payload: []byte(payload), QoS: 1, Publisher: r.ClientID, Created: now, Expires: now.Add(time.Hour)}
		r.Will = &Will{Message: m, Delay: delay}
	}
}

// durable asks for a session that outlives its connection by an hour. clean asks for a clean start and, by default, a session that ends
// with its connection.
func durable(r *Request) { r.Expiry = time.Hour }

func clean(r *Request) { r.CleanStart = true }

// connect connects a client and starts its session.
func (n *node) connect(id string, change ...func(*Request)) *client {
	n.t.Helper()
	c, err := n.tryConnect(id, change...)
	require.NoError(n.t, err)
	return c
}

func (n *node) tryConnect(id string, change ...func(*Request)) (*client, error) {
	return n.dial(context.Background(), id, change...)
}

// dial is tryConnect within a context.
func (n *node) dial(ctx context.Context, id string, change ...func(*Request)) (*client, error) {
	c := &client{n: n, id: id}
	c.lanes = n.pub.Lanes(id, c)
	r := Request{ClientID: id, Version: packet.V5, ReceiveMaximum: 16, Conn: c}
	for _, f := range change {
		f(&r)
	}
	s, present, err := n.Connect(ctx, r)
	if err != nil {
		return nil, err
	}
	c.s, c.present = s, present
	owns := s.Ownership()
	c.owns.Store(&owns)
	s.Start()
	return c, nil
}

// drop closes the connection without a DISCONNECT. leave sends one first.
func (c *client) drop() {
	c.Close(packet.Success, "")
	c.s.Detach(c, Ending{})
}

func (c *client) leave() {
	c.Close(packet.Success, "")
	c.s.Detach(c, Ending{Graceful: true})
}

// trySubscribe subscribes to filters and returns their reason codes.
func (c *client) trySubscribe(qos byte, filters ...string) []packet.Code {
	list := make([]Subscription, len(filters))
	for i, f := range filters {
		list[i] = Subscription{Subscription: packet.Subscription{Filter: f, QoS: qos}}
	}
	codes, sent := c.s.Subscribe(context.Background(), list)
	sent()
	return codes
}

func (c *client) subscribe(qos byte, filters ...string) {
	c.n.t.Helper()
	for i, code := range c.trySubscribe(qos, filters...) {
		require.EqualValues(c.n.t, qos, code, "SUBACK for %q", filters[i])
	}
}

// next waits for the next PUBLISH and returns it.
func (c *client) next() packet.Publish {
	c.n.t.Helper()
	var p packet.Publish
	c.n.eventually("client "+c.id+" gets a message", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.read == len(c.sent) {
			return false
		}
		p = c.sent[c.read]
		c.read++
		return true
	})
	return p
}

// gets waits for payloads in order and acknowledges those that need it.
func (c *client) gets(payloads ...string) {
	c.n.t.Helper()
	for _, want := range payloads {
		p := c.next()
		require.Equal(c.n.t, want, string(p.Payload), "of client %q", c.id)
		c.ack(p)
	}
}

// ack acknowledges a message as a client does.
func (c *client) ack(p packet.Publish) {
	switch p.QoS {
	case 1:
		c.s.Ack(packet.PUBACK, p.PacketID, packet.Success)
	case 2:
		c.s.Ack(packet.PUBREC, p.PacketID, packet.Success)
		c.awaitAck(packet.PUBREL, p.PacketID)
		c.s.Ack(packet.PUBCOMP, p.PacketID, packet.Success)
	}
}

// awaitAck waits for an acknowledgement of the given kind and packet id.
func (c *client) awaitAck(kind packet.Type, id uint16) packet.Ack {
	c.n.t.Helper()
	var got packet.Ack
	c.n.eventually("client "+c.id+" gets "+kind.String(), func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		for i, a := range c.acks {
			if a.Kind == kind && a.PacketID == id {
				got = a
				c.acks = append(c.acks[:i:i], c.acks[i+1:]...)
				return true
			}
		}
		return false
	})
	return got
}

// waiting returns how many messages the client was sent and has not read.
func (c *client) waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.sent) - c.read
}

// publish stores messages of a client that has no session, and waits until they are stored.
func (n *node) publish(qos byte, name string, payloads ...string) {
	n.t.Helper()
	for _, p := range payloads {
		m := &store.Message{Topic: name, Payload: []byte(p), QoS: qos, Publisher: "somebody", Created: time.Now()}
		require.NoError(n.t, n.pub.One(context.Background(), "somebody", m))
	}
}

// record reads a client's session record. It returns nil if there is none.
func (n *node) record(id string) *meta.Session {
	n.t.Helper()
	rec, err := n.meta.Meta.LoadSession(context.Background(), id)
	require.NoError(n.t, err)
	return rec
}
