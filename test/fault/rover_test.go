package fault

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/lmqgate/lmqgate/core/packet"
)

// rover is a client with a persistent session and all the connections that it has opened. It acknowledges messages on the connection on
// which they arrive.
type rover struct {
	f      *fleet
	id     string
	filter string
	qos    byte
	rand   *rand.Rand // of the rover's goroutine

	stop, stopped chan struct{}

	mu        sync.Mutex
	link      *link
	old       []*link
	begun     bool
	suback    chan packet.Code
	moves     int
	every     time.Duration // between two moves; 0: it stays
	poll      time.Duration // between two looks at its connection
	impatient bool          // it leaves a gateway that is not up if nothing arrives
	moved     time.Time
	pending   map[uint16]bool  // QoS 2 packet ids that were not released yet
	seen      map[string]int   // by topic and payload
	last      map[string][]int // by topic: the last number of each broker that has messages of it, the highest first
	got       int
	dups      int // of QoS 0 and 1
	twice     int // of QoS 2
	disorder  []string
	strays    []string
	refused   []string
	second    []string
	lost      int
	quiet     time.Time // time of the last message
	longest   time.Duration
	untracked bool // members of groups get a part of the messages
}

// newRover begins a session and returns once it is subscribed.
func (f *fleet) newRover(name, filter string, qos byte, every time.Duration, at *node) *rover {
	f.t.Helper()
	r := f.newRoverAway(name, filter, qos)
	r.every = every
	if err := r.begin(at); err != nil {
		f.t.Fatal(err)
	}
	return r
}

// newRoverAway returns a rover whose session does not exist yet.
func (f *fleet) newRoverAway(name, filter string, qos byte) *rover {
	return &rover{f: f, id: name + "-" + f.salt, filter: filter, qos: qos, suback: make(chan packet.Code, 1), poll: 5 * time.Millisecond,
		rand: rand.New(rand.NewPCG(f.rand.Uint64(), 2)), stop: make(chan struct{}), stopped: make(chan struct{}),
		pending: map[uint16]bool{}, seen: map[string]int{}, last: map[string][]int{}}
}

// newRovers begins many sessions at once, at any nodes. Those of number i have the filter that filter returns for i.
func (f *fleet) newRovers(name string, n int, filter func(i int) string) []*rover {
	f.t.Helper()
	rovers := make([]*rover, n)
	for i := range rovers {
		rovers[i] = f.newRoverAway(fmt.Sprint(name, i), filter(i), 1)
		rovers[i].poll = 50 * time.Millisecond
	}
	f.eachRover(rovers, func(r *rover) error { return r.begin(f.any(r.rand)) })
	return rovers
}

// roversAtOnce is how many rovers connect at a time.
const roversAtOnce = 50

// eachRover calls do for many rovers, for roversAtOnce of them at a time.
func (f *fleet) eachRover(rovers []*rover, do func(*rover) error) {
	f.t.Helper()
	atOnce(f.t, len(rovers), roversAtOnce, func(_, i int) error {
		if err := do(rovers[i]); err != nil {
			return fmt.Errorf("%s: %w", rovers[i].id, err)
		}
		return nil
	})
}

// begin begins the session, subscribes it, and starts the rover.
func (r *rover) begin(at *node) error {
	if err := within(func() error { return r.connect(at) }); err != nil {
		return err
	}
	if err := within(func() error { return r.subscribe(at) }); err != nil {
		return err
	}
	r.moved, r.impatient = time.Now(), true
	go r.run()
	return nil
}

func (r *rover) subscribe(at *node) error {
	if r.link.over() {
		if err := r.connect(at); err != nil {
			return err
		}
	}
	if err := r.link.send(&packet.Subscribe{PacketID: 1, Filters: []packet.Subscription{{Filter: r.filter, QoS: r.qos}}}); err != nil {
		return err
	}
	select {
	case code := <-r.suback:
		if code > 2 {
			return fmt.Errorf("SUBACK has code %#x", byte(code))
		}
		return nil
	case <-time.After(patience):
		return errors.New("no SUBACK")
	}
}

func (r *rover) run() {
	defer close(r.stopped)
	for {
		select {
		case <-r.stop:
			return
		case <-time.After(r.poll):
		}
		r.mu.Lock()
		l := r.link
		due := r.every > 0 && time.Since(r.moved) >= r.every
		waited := time.Duration(0)
		if r.impatient {
			waited = min(time.Since(r.moved), time.Since(r.quiet))
		}
		r.mu.Unlock()
		switch {
		case l.over():
			_ = r.connect(r.f.any(r.rand))
		case due, waited > impatience && !l.to.isUp(): // the gateway does not answer pings
			_ = r.connect(r.f.any(r.rand, l.to))
		}
	}
}

// stay makes the rover stay on its gateway; it keeps reading.
func (r *rover) stay() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.every = 0
}

// freeze stops the rover's own connects; it keeps reading.
func (r *rover) freeze() {
	close(r.stop)
	<-r.stopped
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stop, r.stopped = make(chan struct{}), make(chan struct{})
	close(r.stopped)
}

// finish ends the rover.
func (r *rover) finish() {
	close(r.stop)
	<-r.stopped
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range append(r.old, r.link) {
		if l != nil {
			_ = l.Close()
		}
	}
}

// connect makes a new connection, and leaves the old one open.
func (r *rover) connect(to *node) error {
	l, err := dial(to, &packet.Connect{Version: packet.V311, ClientID: r.id}, connectPatience, r.take)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.moved = time.Now()
	if err != nil {
		if refused := new(errRefused); errors.As(err, &refused) && !to.isOlder() {
			r.refused = append(r.refused, err.Error())
		}
		return err
	}
	if r.begun && !l.present {
		r.lost++
	}
	r.begun = true
	if r.link != nil {
		r.link.isReplaced()
		r.old = append(r.old, r.link)
	}
	r.link = l
	r.moves++
	return nil
}

// take processes a packet from a gateway.
func (r *rover) take(l *link, p packet.Packet) {
	switch p := p.(type) {
	case *packet.Suback:
		r.suback <- p.Codes[0]
	case *packet.Publish:
		r.message(l, p)
		switch p.QoS {
		case 1:
			_ = l.send(&packet.Ack{Kind: packet.PUBACK, PacketID: p.PacketID})
		case 2:
			_ = l.send(&packet.Ack{Kind: packet.PUBREC, PacketID: p.PacketID})
		}
	case *packet.Ack:
		if p.Kind == packet.PUBREL {
			r.mu.Lock()
			delete(r.pending, p.PacketID)
			r.mu.Unlock()
			_ = l.send(&packet.Ack{Kind: packet.PUBCOMP, PacketID: p.PacketID})
		}
	}
}

func (r *rover) message(l *link, p *packet.Publish) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if l.late() {
		r.second = append(r.second, fmt.Sprintf("%q of %s by the connection to %s, which was replaced before", p.Payload, p.Topic, l.to.id))
	}
	if p.QoS == 2 {
		if r.pending[p.PacketID] {
			return // resent; the client has it already
		}
		r.pending[p.PacketID] = true
	}
	r.got++
	now := time.Now()
	if !r.quiet.IsZero() {
		r.longest = max(r.longest, now.Sub(r.quiet))
	}
	r.quiet = now
	number, _, _ := strings.Cut(string(p.Payload), " ")
	key := p.Topic + " " + number
	if r.seen[key]++; r.seen[key] > 1 {
		if p.QoS == 2 {
			r.twice++
		} else {
			r.dups++
		}
		return
	}
	n, err := strconv.Atoi(number)
	if err != nil {
		r.strays = append(r.strays, key)
		return
	}
	if !r.follows(p.Topic, n) && !r.untracked {
		r.disorder = append(r.disorder, fmt.Sprintf("%s after %d", key, r.last[p.Topic]))
	}
}

// follows reports whether a message is in order. What each broker has of a topic has its own order: of several brokers, the first whose last
// number is lower may have stored it. Called with mu held.
func (r *rover) follows(topic string, n int) bool {
	if r.last[topic] == nil {
		r.last[topic] = slices.Repeat([]int{-1}, max(1, r.f.brokers))
	}
	for i, last := range r.last[topic] {
		if n > last {
			r.last[topic][i] = n
			return true
		}
	}
	return false
}

// lacks returns how many of a sender's messages are missing, and the first of them. Those that may be lost are not counted.
func (r *rover) lacks(s *sender) (n, first int) {
	total := s.total()
	r.mu.Lock()
	defer r.mu.Unlock()
	first = -1
	for i := range total {
		if r.seen[s.topic+" "+strconv.Itoa(i)] == 0 && (i < s.frail[0] || i >= s.frail[1]) {
			if n++; first < 0 {
				first = i
			}
		}
	}
	return n, first
}

// without returns how many of the messages of a sender that may be lost have not come.
func (r *rover) without(s *sender) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := s.frail[0]; i < s.frail[1]; i++ {
		if r.seen[s.topic+" "+strconv.Itoa(i)] == 0 {
			n++
		}
	}
	return n
}

// stillOpen returns the number of replaced connections that no gateway has closed.
func (r *rover) stillOpen() int { return open(&r.mu, &r.old) }

func (s *sender) stillOpen() int { return open(&s.mu, &s.old) }

func open(mu *sync.Mutex, links *[]*link) (n int) {
	mu.Lock()
	defer mu.Unlock()
	for _, l := range *links {
		if !l.over() {
			n++
		}
	}
	return n
}

// at returns the gateway that the rover is connected to.
func (r *rover) at() *node {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.link.over() {
		return nil
	}
	return r.link.to
}
