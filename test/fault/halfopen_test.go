package fault

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/packet"
)

// TestHalfOpenConnectionsHoldUpNobody leaves connections that nobody reads any more, as behind a router that forgot them, and moves their
// clients to another gateway.
func TestHalfOpenConnectionsHoldUpNobody(t *testing.T) {
	each(t, func(t *testing.T, r *rand.Rand, rep *report) {
		f := newFleet(t, r, 2)
		f.goDeaf(r, rep, f.nodes[0], f.nodes[1])
	})
}

func TestHalfOpenConnectionsToOneGatewayHoldUpNobody(t *testing.T) {
	onFiles(t, func(t *testing.T, r *rand.Rand, rep *report) {
		f := newFleetOnFiles(t, r, nil)
		f.goDeaf(r, rep, f.nodes[0], f.nodes[0])
	})
}

// goDeaf leaves connections to one gateway that nobody reads any more, and moves their clients to another one.
func (f *fleet) goDeaf(r *rand.Rand, rep *report, here, there *node) {
	f.t.Helper()
	var rovers []*rover
	for i := range scale(4, 50) {
		rovers = append(rovers, f.newRover(fmt.Sprint("rover", i), f.first+"/#", byte(1+i%2), 0, there))
		rovers[i].freeze()
	}
	senders := []*sender{f.newSender("sender0", 1, 5*time.Millisecond, there), f.newSender("sender1", 2, 5*time.Millisecond, there)}
	f.more(senders, 50)
	release := make(chan struct{})
	for range scale(2, 5) {
		for _, rover := range rovers {
			// It reads until it goes deaf.
			deaf := make(chan struct{})
			l, err := dial(here, &packet.Connect{Version: packet.V311, ClientID: rover.id}, patience, func(l *link, p packet.Packet) {
				select {
				case <-deaf:
					<-release
				default:
					rover.take(l, p)
				}
			})
			require.NoError(f.t, err)
			rover.mu.Lock()
			rover.link.isReplaced()
			rover.old, rover.link = append(rover.old, rover.link), l
			rover.mu.Unlock()
			time.AfterFunc(time.Duration(r.IntN(300))*time.Millisecond, func() { close(deaf) })
		}
		f.more(senders, 50)
		for _, rover := range rovers {
			began := time.Now()
			f.eventually(func() error { return rover.connect(there) })
			rep.Longest = max(rep.Longest, time.Since(began).Milliseconds())
		}
		f.more(senders, 20)
	}
	close(release)
	f.settle(rep, senders, rovers, bounds{duplicates: 50})
}
