package fault

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/packet"
)

// TestAllClientsOfAKilledNodeComeBackAtOnce kills a gateway with very many clients, all of which reconnect to the two others at once.
func TestAllClientsOfAKilledNodeComeBackAtOnce(t *testing.T) {
	each(t, func(t *testing.T, r *rand.Rand, rep *report) {
		f := newFleet(t, r, 3)
		dies := f.nodes[2]
		many := f.newHorde(scale(500, 20_000), dies)
		senders, rovers := f.crowd(scale(1, 4), scale(2, 4), 300*time.Millisecond)
		dies.kill()
		many.comeBack(rep)
		f.more(senders, 20)
		f.settle(rep, senders, rovers, bounds{duplicates: 40})
	})
}

// TestAllClientsOfAGatewayOnFilesComeBackAtOnce does the same with a single gateway, which it restarts.
func TestAllClientsOfAGatewayOnFilesComeBackAtOnce(t *testing.T) {
	onFiles(t, func(t *testing.T, r *rand.Rand, rep *report) {
		f := newFleetOnFiles(t, r, nil)
		many := f.newHorde(scale(500, 20_000), f.nodes[0])
		senders, rovers := f.crowd(scale(1, 4), scale(2, 4), 0)
		time.Sleep(time.Second)
		f.nodes[0].kill()
		f.nodes[0].start()
		many.comeBack(rep)
		f.more(senders, 20)
		f.settle(rep, senders, rovers, bounds{duplicates: 80})
	})
}

// horde is a large number of clients with persistent sessions.
type horde struct {
	f     *fleet
	ids   []string
	mu    sync.Mutex
	links []*link
}

const (
	// hordeAtOnce is how many clients of a horde wait for CONNACK at a time: a gateway keeps at most 256 unadmitted connections of an
	// address.
	hordeAtOnce = 200
	// filesBeside is the number of open files of a gateway, or of this test, besides the connections of a horde.
	filesBeside = 2000
)

// newHorde connects clients to a gateway: as many as requested, or as the limit of open files allows.
func (f *fleet) newHorde(clients int, at *node) *horde {
	f.t.Helper()
	clients = min(clients, openFiles(f.t)-filesBeside)
	require.Positive(f.t, clients, "the limit of open files is too small")
	h := &horde{f: f, links: make([]*link, clients)}
	for i := range clients {
		h.ids = append(h.ids, fmt.Sprintf("many%d-%s", i, f.salt))
	}
	f.t.Cleanup(h.leave)
	h.connect(func(*rand.Rand) *node { return at }, func(*link) {})
	return h
}

// comeBack reconnects all clients to any gateway that is up, and records the lost sessions and the total time.
func (h *horde) comeBack(rep *report) {
	h.f.t.Helper()
	h.leave()
	began := time.Now()
	lost := 0
	h.connect(func(r *rand.Rand) *node { return h.f.any(r) }, func(l *link) {
		if !l.present {
			lost++
		}
	})
	rep.Clients, rep.Back = len(h.ids), time.Since(began).Milliseconds()
	rep.Forgotten += lost
	assert.Zero(h.f.t, lost, "sessions that got lost")
}

// connect connects all clients. connected is called for each, by one goroutine at a time.
func (h *horde) connect(to func(*rand.Rand) *node, connected func(*link)) {
	h.f.t.Helper()
	own := make([]*rand.Rand, hordeAtOnce)
	for i := range own {
		own[i] = rand.New(rand.NewPCG(h.f.rand.Uint64(), uint64(i)))
	}
	atOnce(h.f.t, len(h.ids), hordeAtOnce, func(worker, i int) error { return h.one(i, own[worker], to, connected) })
}

// one connects one client. A refusal is an error; a failed connection is retried.
func (h *horde) one(i int, r *rand.Rand, to func(*rand.Rand) *node, connected func(*link)) error {
	for until := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		l, err := dial(to(r), &packet.Connect{Version: packet.V311, ClientID: h.ids[i]}, patience, func(*link, packet.Packet) {})
		refused := new(errRefused)
		switch {
		case err == nil:
			h.mu.Lock()
			defer h.mu.Unlock()
			h.links[i] = l
			connected(l)
			return nil
		case errors.As(err, &refused), time.Now().After(until):
			return err
		}
	}
}

// leave closes all connections.
func (h *horde) leave() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, l := range h.links {
		if l != nil {
			_ = l.Close()
			<-l.closed
			h.links[i] = nil
		}
	}
}
