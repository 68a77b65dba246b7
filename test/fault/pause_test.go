package fault

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// TestANodeThatWakesUpPastItsLeaseIsNotBelieved stops one of two gateways, sometimes in the middle of a hand-over, until the other one has
// taken over all of its clients. When the gateway resumes, it must neither store nor acknowledge what the clients still send on their old
// connections, and it must send them nothing.
func TestANodeThatWakesUpPastItsLeaseIsNotBelieved(t *testing.T) {
	each(t, func(t *testing.T, r *rand.Rand, rep *report) {
		f := newFleet(t, r, 2)
		f.takenAway(r, rep, f.nodes[0], f.nodes[1], f.nodes[0].pause, f.nodes[0].wake)
	})
}

// takenAway makes a gateway sick, sometimes in the middle of a hand-over, until another one has taken over all of its clients, and then
// well again. From then on it must not do anything for clients that it has lost.
func (f *fleet) takenAway(r *rand.Rand, rep *report, sick, well *node, begin, end func()) {
	t := f.t
	t.Helper()
	var rovers []*rover
	var senders []*sender
	for i := range scale(2, 6) {
		// Some move continuously, so that a hand-over is in progress when the gateway stops.
		every := time.Duration(i%2) * 50 * time.Millisecond
		for qos := byte(1); qos <= 2; qos++ {
			rovers = append(rovers, f.newRover(fmt.Sprintf("rover%d-%d", qos, i), f.first+"/#", qos, every, sick))
		}
	}
	for i := range scale(2, 6) {
		senders = append(senders, f.newSender(fmt.Sprintf("sender%d", i), byte(1+i%2), 10*time.Millisecond, sick))
	}
	f.eventually(func() error { return sent(senders, 50) })
	for range scale(1, 3) {
		time.Sleep(time.Duration(r.IntN(200)) * time.Millisecond)
		begin()
		f.eventually(func() error { return allAt(well, senders, rovers) })
		// packets on an old connection from now on were not in flight before
		time.Sleep(lateAfter + time.Duration(r.IntN(1000))*time.Millisecond)
		var haunted []*link
		for _, s := range senders {
			haunted = append(haunted, s.haunt()...)
		}
		end()
		f.oldOnesClose(senders, rovers)
		for _, l := range haunted {
			assert.True(t, l.over())
		}
		for _, s := range senders {
			s.mu.Lock()
			s.moveTo = sick
			s.mu.Unlock()
		}
		f.eventually(func() error { return allAt(sick, senders, nil) })
	}
	// A CONNECT to the gateway that stopped is refused if its client has connected to the other one meanwhile.
	f.settle(rep, senders, rovers, bounds{duplicates: 10, stops: scale(1, 3), refused: true})
}

// sent returns an error unless every sender has n acknowledged messages.
func sent(senders []*sender, n int) error {
	for _, s := range senders {
		if s.count() < n {
			return fmt.Errorf("sender %s has %d messages acknowledged", s.id, s.count())
		}
	}
	return nil
}

// allAt returns an error unless all clients are connected to the gateway.
func allAt(n *node, senders []*sender, rovers []*rover) error {
	for _, s := range senders {
		if s.at() != n {
			return fmt.Errorf("sender %s is not at %s", s.id, n.id)
		}
	}
	for _, r := range rovers {
		if r.at() != n {
			return fmt.Errorf("rover %s is not at %s", r.id, n.id)
		}
	}
	return nil
}
