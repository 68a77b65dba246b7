package session

import (
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/lmqgate/lmqgate/core/packet"
)

// TestEveryMessageReachesSomeMemberWhateverHappens lets publishers roam, and members of a shared group come and go, with sessions that last
// and with clean ones, while nodes crash and lose their way to the store and to the metadata. Every message that was acknowledged reaches
// some member.
func TestEveryMessageReachesSomeMemberWhateverHappens(t *testing.T) {
	inChaos(t, chaosFaults{metadata: true}, (*chaos).runGroup)
}

// sharedFilter is what the members subscribe to.
const sharedFilter = "$share/g/t/#"

// received is what the members of a group have got.
type received struct {
	mu  sync.Mutex
	all map[string]map[int]bool // by topic
}

// lacks returns a message of a publisher that nobody got; "": there is none.
func (r *received) lacks(p *giver) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	for n := range p.done() {
		if !r.all[p.topic()][n] {
			return fmt.Sprint(p.id, " ", n, " of ", p.done())
		}
	}
	return ""
}

func (r *received) note(c *chaos, p *packet.Publish) {
	n, err := strconv.Atoi(string(p.Payload))
	if err != nil {
		c.fail("a member got %q", p.Payload)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.all[p.Topic] == nil {
		r.all[p.Topic] = map[int]bool{}
	}
	r.all[p.Topic][n] = true
}

// member is a member of the group. It does not acknowledge everything before it moves.
type member struct {
	roamer
	got  *received
	over chan struct{}
}

func (c *chaos) runGroup(lasts time.Duration) {
	got, over := &received{all: map[string]map[int]bool{}}, make(chan struct{})
	var members, publishers sync.WaitGroup
	for i := range 4 {
		m := &member{roamer: roamer{c: c, id: fmt.Sprint("member", i), rand: c.dice()}, got: got, over: over}
		if m.as = durable; i%2 == 1 {
			m.as = clean
		}
		m.joins()
		members.Go(m.run)
	}
	var pubs []*giver
	for i := range chaosPublishers {
		p := &giver{roamer: roamer{c: c, id: fmt.Sprint("pub", i), rand: c.dice()}, qos: byte(1 + i%2), pause: 100 * time.Millisecond}
		pubs = append(pubs, p)
		publishers.Go(p.run)
	}
	c.storm(lasts)
	c.within(2*time.Minute, &publishers, "what was published is not acknowledged")
	whole := time.Now()
	for _, p := range pubs {
		for got.lacks(p) != "" {
			if time.Since(whole) > 5*time.Minute {
				c.fail("no member got %s; the store has %v", got.lacks(p), c.numbersOf(p))
			}
			time.Sleep(time.Second)
		}
	}
	close(over)
	members.Wait()
	c.settled()
}

// numbersOf returns which messages of a publisher the store has.
func (c *chaos) numbersOf(p *giver) []string {
	var all []string
	for _, r := range c.stored("t") {
		if r.Topic == p.topic() {
			all = append(all, string(r.Payload))
		}
	}
	return all
}

// joins connects until the member is in the group.
func (m *member) joins() {
	for {
		m.connect()
		if code := m.conn.trySubscribe(1, sharedFilter)[0]; code == packet.GrantedQoS1 {
			return
		}
		time.Sleep(later(500*time.Millisecond, m.rand.Int64N))
	}
}

func (m *member) run() {
	moves, seen := time.Now().Add(later(4*time.Second, m.rand.Int64N)), 0
	for {
		select {
		case <-m.over:
			m.leave()
			return
		default:
		}
		if m.lost() || !m.c.stopped() && time.Now().After(moves) {
			m.joins()
			moves, seen = time.Now().Add(later(4*time.Second, m.rand.Int64N)), 0
		}
		m.conn.mu.Lock()
		sent := append([]packet.Publish(nil), m.conn.sent[seen:]...)
		m.conn.mu.Unlock()
		for i := range sent {
			m.got.note(m.c, &sent[i])
			m.conn.s.Ack(packet.PUBACK, sent[i].PacketID, packet.Success)
		}
		seen += len(sent)
		time.Sleep(later(50*time.Millisecond, m.rand.Int64N))
	}
}
