package fault

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/lmqgate/lmqgate/core/packet"
)

// TestATakeoverStormLeavesOneConnection repeatedly connects one client id to three gateways at the same time.
func TestATakeoverStormLeavesOneConnection(t *testing.T) {
	each(t, func(t *testing.T, r *rand.Rand, rep *report) {
		f := newFleet(t, r, 3)
		var rovers []*rover
		for qos := byte(1); qos <= 2; qos++ {
			rovers = append(rovers, f.newRover(fmt.Sprintf("rover%d", qos), f.first+"/#", qos, 0, f.nodes[qos]))
		}
		var senders []*sender
		for i := range 2 {
			senders = append(senders, f.newSender(fmt.Sprintf("sender%d", i), byte(1+i), 10*time.Millisecond, f.nodes[i]))
		}
		f.more(senders, 20)
		for _, rover := range rovers {
			rover.storm(time.Duration(scale(3, 20)) * time.Second)
		}
		f.more(senders, 20)
		f.eventually(func() error {
			for _, rover := range rovers {
				if n := rover.stillOpen(); n > 1 {
					return fmt.Errorf("%d connections of %s are open", n, rover.id)
				}
			}
			return nil
		})
		for _, rover := range rovers {
			f.eventually(func() error { return rover.connect(f.any(r)) })
		}
		f.settle(rep, senders, rovers, bounds{duplicates: 20, refused: true})
	})
}

// storm connects the client to all gateways for a while. Of two simultaneous connections an outsider cannot know which is the later.
func (r *rover) storm(length time.Duration) {
	r.freeze()
	r.mu.Lock()
	r.old = append(r.old, r.link)
	r.link = nil
	r.mu.Unlock()
	var all sync.WaitGroup
	for i, n := range r.f.nodes {
		own := rand.New(rand.NewPCG(r.rand.Uint64(), uint64(i)))
		all.Go(func() {
			for until := time.Now().Add(length); time.Now().Before(until); {
				l, err := dial(n, &packet.Connect{Version: packet.V311, ClientID: r.id}, connectPatience, r.take)
				if err == nil {
					r.mu.Lock()
					if !l.present {
						r.lost++
					}
					r.old = append(r.old, l)
					r.mu.Unlock()
				}
				time.Sleep(time.Duration(own.IntN(60)) * time.Millisecond)
			}
		})
	}
	all.Wait()
}
