package fault

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/lmqgate/lmqgate/core/packet"
)

// sender publishes numbered messages to a topic of its own, with a persistent session, and resends what is not acknowledged.
type sender struct {
	f     *fleet
	id    string
	topic string
	qos   byte
	every time.Duration // between two messages
	pad   string        // follows the number in each payload; it begins with a space
	rand  *rand.Rand    // of the sender's goroutine

	stop, stopped chan struct{}
	frail         [2]int // messages from the first number to before the second one may be lost: only a broker that is gone had them

	mu       sync.Mutex
	link     *link
	old      []*link
	next     int // number of the next message
	acked    int
	ids      uint16
	flying   []*flying
	begun    bool // its session has begun
	wrong    []string
	refused  []string
	lost     int // lost sessions
	second   []string
	moveTo   *node
	suspects map[*link]map[uint16]bool // packet ids sent on old connections on purpose; see haunt
}

// flying is a message that is not acknowledged.
type flying struct {
	number   int
	id       uint16
	received bool // PUBREC came
	sent     time.Time
	by       *link
}

// flyingMost bounds a sender's unacknowledged messages; impatience is when it gives up its connection.
const (
	flyingMost = 16
	impatience = 2 * time.Second
)

func (f *fleet) newSender(name string, qos byte, every time.Duration, at *node) *sender {
	return f.newPaddedSender(name, qos, every, at, "")
}

func (f *fleet) newPaddedSender(name string, qos byte, every time.Duration, at *node, pad string) *sender {
	s := &sender{f: f, id: name + "-" + f.salt, topic: f.first + "/" + name, qos: qos, every: every, moveTo: at, pad: pad,
		rand: rand.New(rand.NewPCG(f.rand.Uint64(), 1)), stop: make(chan struct{}), stopped: make(chan struct{}),
		suspects: map[*link]map[uint16]bool{}}
	go s.run()
	return s
}

// finish stops the sender, and waits until all messages are acknowledged.
func (s *sender) finish() error {
	close(s.stop)
	select {
	case <-s.stopped:
		return nil
	case <-time.After(patience):
		s.mu.Lock()
		defer s.mu.Unlock()
		at := "nobody"
		if s.link != nil {
			at = s.link.to.id
		}
		return fmt.Errorf("sender %s has %d messages that are not acknowledged, the first is %d; it is connected to %s", s.id,
			len(s.flying), s.flying[0].number, at)
	}
}

func (s *sender) run() {
	defer close(s.stopped)
	stopping := false
	for {
		select {
		case <-s.stop:
			stopping = true
		default:
		}
		s.mu.Lock()
		l := s.link
		done := stopping && len(s.flying) == 0
		stuck := len(s.flying) > 0 && time.Since(s.flying[0].sent) > impatience
		to := s.moveTo
		s.moveTo = nil
		s.mu.Unlock()
		switch {
		case done:
			if l != nil {
				_ = l.Close()
			}
			return
		case l.over() && to == nil:
			s.connect(s.f.any(s.rand))
			continue
		case stuck && to == nil:
			to = s.f.any(s.rand, l.to)
		}
		if to != nil {
			s.connect(to)
			continue
		}
		if !stopping {
			s.publish(l)
		}
		time.Sleep(s.every)
	}
}

// connect makes a new connection, and leaves the old one open.
func (s *sender) connect(to *node) {
	l, err := dial(to, &packet.Connect{Version: packet.V311, ClientID: s.id}, connectPatience, s.take)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		if refused := new(errRefused); errors.As(err, &refused) && !to.isOlder() {
			s.refused = append(s.refused, err.Error())
		}
		time.Sleep(20 * time.Millisecond)
		return
	}
	if s.begun && !l.present {
		s.lost++
	}
	s.begun = true
	if s.link != nil {
		s.link.isReplaced()
		s.old = append(s.old, s.link)
	}
	s.link = l
	var again []packet.Packet
	for _, m := range s.flying {
		m.sent, m.by = time.Now(), l
		if m.received {
			again = append(again, &packet.Ack{Kind: packet.PUBREL, PacketID: m.id})
		} else {
			again = append(again, s.message(m, true))
		}
	}
	_ = l.send(again...)
}

// connectPatience is how long a client waits for CONNACK before it tries another gateway.
const connectPatience = lease + 3*time.Second

func (s *sender) message(m *flying, again bool) *packet.Publish {
	return &packet.Publish{Topic: s.topic, QoS: s.qos, PacketID: m.id, Dup: again, Payload: []byte(strconv.Itoa(m.number) + s.pad)}
}

// publish sends the next message, if there is room.
func (s *sender) publish(l *link) {
	s.mu.Lock()
	if len(s.flying) >= flyingMost {
		s.mu.Unlock()
		return
	}
	m := &flying{number: s.next, id: s.free(), sent: time.Now(), by: l}
	s.next++
	s.flying = append(s.flying, m)
	p := s.message(m, false)
	s.mu.Unlock()
	_ = l.send(p) // on an error it is resent later
}

// free returns a packet id that is not in use. Called with mu held.
func (s *sender) free() uint16 {
	for {
		if s.ids++; s.ids == 0 {
			continue
		}
		used := false
		for _, m := range s.flying {
			used = used || m.id == s.ids
		}
		if !used {
			return s.ids
		}
	}
}

// take processes a packet from a gateway.
func (s *sender) take(l *link, p packet.Packet) {
	a, ok := p.(*packet.Ack)
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.suspects[l][a.PacketID] {
		s.wrong = append(s.wrong, fmt.Sprintf("%s of what was sent to %s, which had lost the client", a.Kind, l.to.id))
		return
	}
	if l.late() {
		s.second = append(s.second, fmt.Sprintf("%s by the connection to %s, which was replaced before", a.Kind, l.to.id))
	}
	if l != s.link {
		return // the newer connection has resent it
	}
	at := -1
	for i, m := range s.flying {
		if m.id == a.PacketID {
			at = i
		}
	}
	want := packet.PUBACK
	if s.qos == 2 {
		want = packet.PUBCOMP
	}
	switch {
	case at < 0 && a.Kind == want:
		s.wrong = append(s.wrong, fmt.Sprintf("%s of packet id %d, which is not in flight", a.Kind, a.PacketID))
	case at < 0:
	case a.Kind == packet.PUBREC && s.qos == 2:
		s.flying[at].received = true
		_ = l.send(&packet.Ack{Kind: packet.PUBREL, PacketID: a.PacketID})
	case a.Kind == want && (s.qos == 1 || s.flying[at].received):
		s.acked++
		s.flying = append(s.flying[:at], s.flying[at+1:]...)
	default:
		s.wrong = append(s.wrong, fmt.Sprintf("%s for a message of QoS %d", a.Kind, s.qos))
	}
}

// haunt publishes on all open old connections; no gateway may accept that.
func (s *sender) haunt() (links []*link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.old {
		if l.over() {
			continue
		}
		const id = 60000
		s.suspects[l] = map[uint16]bool{id: true}
		links = append(links, l)
		_ = l.send(&packet.Publish{Topic: s.topic, QoS: s.qos, PacketID: id, Payload: []byte("ghost")})
	}
	return links
}

// at returns the gateway that the sender is connected to.
func (s *sender) at() *node {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link.over() {
		return nil
	}
	return s.link.to
}

// count returns the number of acknowledged messages.
func (s *sender) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.acked
}

// total returns the number of sent messages; all of them are acknowledged after finish.
func (s *sender) total() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.next
}
