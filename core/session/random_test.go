package session

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/core/store"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// envSeeds is how many seeds the random tests try; empty: one, for a shorter time.
const envSeeds = "LMQGATE_SESSION_SEEDS"

// TestEverythingArrivesOnceAndInOrderWhateverHappens lets publishers and subscribers with sessions roam between the nodes of a cluster,
// while nodes crash, restart and lose their way to the store at random. Nothing that was acknowledged may be lost, nothing may overtake,
// and at QoS 2 nothing may come twice.
func TestEverythingArrivesOnceAndInOrderWhateverHappens(t *testing.T) {
	inChaos(t, chaosFaults{}, (*chaos).run)
}

// inChaos calls run with a number of seeds.
func inChaos(t *testing.T, faults chaosFaults, run func(*chaos, time.Duration)) {
	t.Helper()
	seeds, lasts := 1, 30*time.Second
	if n, err := strconv.Atoi(os.Getenv(envSeeds)); err == nil {
		seeds, lasts = n, 2*time.Minute
	}
	first, _ := strconv.Atoi(os.Getenv(envSeeds + "_FROM"))
	for seed := first; seed < first+seeds; seed++ {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { run(newChaos(t, uint64(seed), faults), lasts) })
		})
	}
}

// chaosFaults are the faults of a chaos beside cuts from the store and crashes.
type chaosFaults struct {
	metadata bool          // nodes lose their way to the metadata as well
	brokers  []string      // of the store, which are away at times; nil: the store is one that is always there
	down     time.Duration // how long a node that crashed is away, at most; 0: 10 s
}

// chaos is a run of random events in a cluster.
type chaos struct {
	chaosFaults
	t     *testing.T
	rand  *rand.Rand
	ids   []string
	store *node // has the store
	fleet *fleet
	stop  chan struct{}
	tasks sync.WaitGroup // detachments and publications under way

	mu    sync.Mutex
	nodes map[string]*process // nil: the node is down
	log   []string
}

// process is one run of a node.
type process struct {
	*node
	wire *wire
	link *metaLink
}

func newChaos(t *testing.T, seed uint64, faults chaosFaults) *chaos {
	c := &chaos{chaosFaults: faults, t: t, rand: rand.New(rand.NewPCG(seed, 1)), ids: []string{"a", "b", "c"}, nodes: map[string]*process{}, stop: make(chan struct{})}
	for _, id := range c.ids {
		c.begin(id)
	}
	for _, id := range c.ids {
		n := c.nodes[id]
		n.eventually("the nodes know one another", func() bool { return len(n.o.Cluster.Members()) == len(c.ids) })
	}
	return c
}

// begin starts a node. The first one brings the store, and never crashes.
func (c *chaos) begin(id string) {
	p := &process{}
	change := func(n *node) {
		n.id, n.named, n.beside = id, c.ids, c.store
		n.options.CommitInterval = 200 * time.Millisecond
		n.options.Log = slog.New(slog.NewTextHandler(&notes{c, id}, &slog.HandlerOptions{Level: slog.LevelInfo}))
		n.wrap = func(s store.Store) store.Store {
			if c.fleet == nil && c.brokers != nil {
				c.fleet = newFleet(c.t, s, c.brokers)
			}
			if c.fleet != nil {
				s = c.fleet
			}
			p.wire = newWire(s)
			return p.wire
		}
		n.link = func(m pluginv1.MetaClient) pluginv1.MetaClient { p.link = newMetaLink(m, c.dice()); return p.link }
		n.wired = true
	}
	if p.node = startNode(c.t, change); c.store == nil {
		c.store = p.node
		p.store.Shared()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nodes[id] = p
}

func (c *chaos) node(id string) *process {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nodes[id]
}

func (c *chaos) note(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.log = append(c.log, time.Now().Format("04:05.000 ")+fmt.Sprintf(format, args...))
}

// notes takes what a node logs.
type notes struct {
	c  *chaos
	id string
}

func (n *notes) Write(line []byte) (int, error) {
	n.c.note("%s: %s", n.id, line)
	return len(line), nil
}

func (c *chaos) dice() *rand.Rand { return rand.New(rand.NewPCG(c.rand.Uint64(), 2)) }

const (
	chaosPublishers  = 3
	chaosSubscribers = 3
)

// run lasts for some virtual time, and then judges what the subscribers got.
func (c *chaos) run(lasts time.Duration) {
	var subs []*taker
	var pubs []*giver
	var roaming sync.WaitGroup
	for i := range chaosSubscribers {
		s := &taker{roamer: roamer{c: c, id: fmt.Sprint("sub", i), rand: c.dice()}, qos: byte(1 + i%2), held: map[uint16]bool{}}
		s.connect()
		s.conn.subscribe(s.qos, "t/#")
		subs = append(subs, s)
		roaming.Go(s.run)
	}
	for i := range chaosPublishers {
		p := &giver{roamer: roamer{c: c, id: fmt.Sprint("pub", i), rand: c.dice()}, qos: byte(1 + i%2)}
		pubs = append(pubs, p)
		roaming.Go(p.run)
	}
	c.storm(lasts)
	whole := time.Now()
	for _, s := range subs {
		for !s.complete(pubs) {
			if time.Since(whole) > 2*time.Minute {
				c.fail("what %s has got is not complete: %v", s.id, s.lasts(pubs))
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
	time.Sleep(20 * time.Second) // for what comes again
	for _, s := range subs {
		s.leaves()
	}
	roaming.Wait()
	c.settled()
	for _, s := range subs {
		for _, p := range pubs {
			s.judge(p)
		}
	}
}

// settled waits until no detachment is under way.
func (c *chaos) settled() { c.within(5*time.Minute, &c.tasks, "a connection is still being detached") }

// within waits for something, and fails with what it means if that takes too long.
func (c *chaos) within(most time.Duration, wg *sync.WaitGroup, otherwise string) {
	done := make(chan struct{})
	go func() {
		wg.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(most):
		c.fail("%s", otherwise)
	}
}

// storm strikes the nodes for a while, and then mends everything.
func (c *chaos) storm(lasts time.Duration) {
	for until := time.Now().Add(lasts); time.Now().Before(until); {
		c.strike()
		time.Sleep(later(6*time.Second, c.rand.Int64N))
	}
	for _, id := range c.ids {
		c.node(id).wire.mend()
		c.node(id).link.set(linkWhole)
	}
	for _, broker := range c.brokers {
		c.fleet.strike(broker, brokerWell)
	}
	c.note("all is whole")
	close(c.stop)
}

func (c *chaos) fail(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, line := range c.log[max(0, len(c.log)-400):] {
		c.t.Log(line)
	}
	c.t.Fatalf(format, args...)
}

// strike does something to a node.
func (c *chaos) strike() {
	id := c.ids[c.rand.IntN(len(c.ids))]
	n := c.node(id)
	switch {
	case c.metadata && c.rand.IntN(2) == 0:
		c.strikeMetadata(id)
		return
	case c.brokers != nil && c.rand.IntN(2) == 0:
		c.strikeBroker()
		return
	}
	switch what := c.rand.IntN(10); {
	case what < 4:
		c.note("cut %s", id)
		n.wire.cut()
	case what < 8:
		c.note("mend %s", id)
		n.wire.mend()
	case id == c.ids[0]:
	default:
		c.note("crash %s", id)
		c.mu.Lock()
		c.nodes[id] = nil
		c.mu.Unlock()
		n.crashed.Store(true)
		n.meta.fail(errCut)
		n.wire.kill()
		n.link.set(linkDead)
		n.stop()
		n.stop = func() {}
		time.Sleep(later(cmp.Or(c.down, 10*time.Second), c.rand.Int64N))
		c.begin(id)
		c.note("%s is back", id)
	}
}

// strikeMetadata does something to a node's way to the metadata, or to that of all nodes.
func (c *chaos) strikeMetadata(id string) {
	state := []linkState{linkWhole, linkHangs, linkRefuses}[c.rand.IntN(3)]
	some := []string{id}
	if c.rand.IntN(3) == 0 {
		some = c.ids
	}
	c.note("metadata of %v: %v", some, state)
	for _, id := range some {
		c.node(id).link.set(state)
	}
}

// strikeBroker does something to a broker.
func (c *chaos) strikeBroker() {
	broker, to := c.brokers[c.rand.IntN(len(c.brokers))], []broken{brokerWell, brokerMute, brokerAway}[c.rand.IntN(3)]
	c.note("broker %s: %v", broker, to)
	c.fleet.strike(broker, to)
}

// roamer is a client with a session that connects here and there.
type roamer struct {
	c    *chaos
	id   string
	rand *rand.Rand
	as   func(*Request) // nil: durable
	conn *client
	open []*client // older connections that the client has not closed
}

// connect leaves the present connection, in any way, and opens one to some node. It tries until it succeeds.
func (r *roamer) connect() {
	if old := r.conn; old != nil {
		r.conn = nil
		switch r.rand.IntN(3) {
		case 0:
			r.c.tasks.Go(old.drop)
		case 1:
			r.c.tasks.Go(old.leave)
		default: // it stays open until the gateway closes it
			r.open = append(r.open, old)
			r.c.tasks.Go(func() {
				for !old.isClosed() && !old.n.crashed.Load() {
					time.Sleep(50 * time.Millisecond)
				}
				old.drop()
			})
		}
	}
	for r.conn == nil {
		id := r.c.ids[r.rand.IntN(len(r.c.ids))]
		n := r.c.node(id)
		if n == nil {
			time.Sleep(later(200*time.Millisecond, r.rand.Int64N))
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), later(15*time.Second, r.rand.Int64N))
		as := durable
		if r.as != nil {
			as = r.as
		}
		conn, err := n.dial(ctx, r.id, as)
		cancel()
		r.c.note("%s at %s: %v", r.id, id, err)
		if err != nil {
			time.Sleep(later(200*time.Millisecond, r.rand.Int64N))
			continue
		}
		r.conn = conn
	}
}

// leave ends the client's connection. It has waited until the gateway has closed the older ones.
func (r *roamer) leave() {
	for _, old := range r.open {
		for since := time.Now(); !old.isClosed() && !old.n.crashed.Load(); time.Sleep(50 * time.Millisecond) {
			if r.lost() { // for an older one, whose node was cut off when it came
				r.connect()
			}
			if time.Since(since) > time.Minute {
				r.c.fail("a connection of %s at %s is still open, and it has another one at %s", r.id, old.n.id, r.conn.n.id)
			}
		}
	}
	r.conn.leave()
}

// stopped reports whether nothing happens any more.
func (c *chaos) stopped() bool {
	select {
	case <-c.stop:
		return true
	default:
		return false
	}
}

// lost reports whether the connection is over.
func (r *roamer) lost() bool { return r.conn.isClosed() || r.conn.n.crashed.Load() }

// taker subscribes.
type taker struct {
	roamer
	qos  byte
	held map[uint16]bool // packet ids of QoS 2 messages that are not released yet
	seen int             // packets of the connection

	mu   sync.Mutex
	got  map[string][]int
	over bool
}

func (s *taker) run() {
	moves := time.Now().Add(later(4*time.Second, s.rand.Int64N))
	for !s.isOver() {
		if s.lost() || !s.c.stopped() && time.Now().After(moves) {
			s.connect()
			s.seen = 0
			moves = time.Now().Add(later(4*time.Second, s.rand.Int64N))
		}
		s.take()
		time.Sleep(later(20*time.Millisecond, s.rand.Int64N))
	}
	s.leave()
}

// take handles what has come since, or the first part of it.
func (s *taker) take() {
	conn := s.conn
	conn.mu.Lock()
	sent, acks := slices.Clone(conn.sent[s.seen:]), conn.acks
	conn.acks = nil
	conn.mu.Unlock()
	for _, a := range acks {
		if a.Kind == packet.PUBREL {
			delete(s.held, a.PacketID)
			conn.s.Ack(packet.PUBCOMP, a.PacketID, packet.Success)
		}
	}
	if len(sent) > 0 && s.rand.IntN(4) == 0 {
		sent = sent[:s.rand.IntN(len(sent))]
	}
	s.seen += len(sent)
	for _, p := range sent {
		switch {
		case p.QoS == 1:
			s.note(&p)
			conn.s.Ack(packet.PUBACK, p.PacketID, packet.Success)
		case !s.held[p.PacketID]:
			s.held[p.PacketID] = true
			s.note(&p)
			fallthrough
		default:
			conn.s.Ack(packet.PUBREC, p.PacketID, packet.Success)
		}
	}
}

func (s *taker) note(p *packet.Publish) {
	n, err := strconv.Atoi(string(p.Payload))
	if err != nil {
		s.c.fail("%s got %q", s.id, p.Payload)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.got == nil {
		s.got = map[string][]int{}
	}
	s.got[p.Topic] = append(s.got[p.Topic], n)
}

func (s *taker) leaves() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
}

func (s *taker) isOver() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.over
}

// complete reports whether the publishers are done and the subscriber has got the last message of each.
func (s *taker) complete(pubs []*giver) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range pubs {
		if n := p.done(); n < 0 || n > 0 && !slices.Contains(s.got[p.topic()], n-1) {
			return false
		}
	}
	return true
}

// lasts returns, for each publisher, the last message that the subscriber has got and the number of messages.
func (s *taker) lasts(pubs []*giver) map[string][2]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string][2]int{}
	for _, p := range pubs {
		if got := s.got[p.topic()]; len(got) > 0 {
			all[p.id] = [2]int{got[len(got)-1], p.done()}
		}
	}
	return all
}

// judge checks what the subscriber got of a publisher's messages.
func (s *taker) judge(p *giver) {
	next, twice := 0, min(s.qos, p.qos) < 2
	got := s.got[p.topic()]
	if s.c.brokers != nil {
		got = slices.Compact(slices.Sorted(slices.Values(got)))
	}
	for i, n := range got {
		if n == next {
			next++
		} else if n > next || !twice {
			s.c.fail("%s got %d of %s after %d: %v", s.id, n, p.id, next-1, got[max(0, i-10):min(len(got), i+10)])
		}
	}
	if next != p.done() {
		s.c.fail("%s got %d messages of %s, not %d", s.id, next, p.id, p.done())
	}
}

// giver publishes numbered messages.
type giver struct {
	roamer
	qos      byte
	message  func(n int) *store.Message // makes the n-th message; nil: a number
	pause    time.Duration              // between messages, at most; 0: 30 ms
	id16     uint16
	next     int
	inFlight []*given

	mu     sync.Mutex
	number int // of messages, once all are complete; 0: not yet
	ended  bool
}

// given is a message in flight.
type given struct {
	m    *store.Message
	id   uint16
	told chan error // the answer of the present connection
	rec  bool       // PUBREC has come
}

func (p *giver) topic() string { return "t/" + p.id }

// done returns how many messages there are, or -1 while there may be more.
func (p *giver) done() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.ended {
		return -1
	}
	return p.number
}

func (p *giver) run() {
	p.connect()
	moves := time.Now().Add(later(4*time.Second, p.rand.Int64N))
	for !p.c.stopped() || len(p.inFlight) > 0 {
		if p.lost() || !p.c.stopped() && time.Now().After(moves) {
			p.connect()
			for _, g := range p.inFlight {
				p.send(g)
			}
			moves = time.Now().Add(later(4*time.Second, p.rand.Int64N))
		}
		for len(p.inFlight) < 4 && !p.c.stopped() && p.rand.IntN(3) > 0 {
			p.id16 = p.id16%5 + 1
			g := &given{m: p.numbered(p.next), id: p.id16}
			p.next++
			p.inFlight = append(p.inFlight, g)
			p.send(g)
		}
		time.Sleep(later(cmp.Or(p.pause, 30*time.Millisecond), p.rand.Int64N))
		p.listen()
	}
	p.mu.Lock()
	p.number, p.ended = p.next, true
	p.mu.Unlock()
	p.leave()
}

// numbered makes the n-th message.
func (p *giver) numbered(n int) *store.Message {
	if p.message != nil {
		return p.message(n)
	}
	return &store.Message{Topic: p.topic(), Payload: []byte(strconv.Itoa(n))}
}

// send sends a message, or its PUBREL, over the present connection.
func (p *giver) send(g *given) {
	answer := make(chan error, 1)
	g.told = answer
	conn := p.conn
	if g.rec {
		conn.s.Release(g.id, func(_ bool, err error) { conn.tells(answer, err) })
		return
	}
	m := *g.m
	m.QoS, m.Publisher, m.Created = p.qos, p.id, time.Now()
	conn.s.Publish(context.Background(), conn.lanes, &m, g.id, func(err error) { conn.tells(answer, err) })
}

// tells answers a client as the server does: an error ends the connection, and an answer waits while another node may have the client.
func (c *client) tells(answer chan error, err error) {
	if err == nil && !c.isClosed() && c.Held() {
		time.AfterFunc(50*time.Millisecond, func() { c.tells(answer, nil) })
		return
	}
	if err != nil {
		c.lanes.Break()
		c.Close(packet.ImplementationSpecificError, "")
	}
	if !c.isClosed() {
		answer <- err
	}
}

// listen handles the answers that have come.
func (p *giver) listen() {
	for len(p.inFlight) > 0 {
		g := p.inFlight[0]
		select {
		case <-g.told:
		default:
			return
		}
		if p.qos == 2 && !g.rec {
			g.rec = true
			p.send(g)
			return
		}
		p.inFlight = p.inFlight[1:]
	}
}
