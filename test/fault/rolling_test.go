package fault

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestARollingRestartLosesNoSessionAndPublishesNoWill stops and starts three gateways, one after the other, with live and sleeping
// sessions.
func TestARollingRestartLosesNoSessionAndPublishesNoWill(t *testing.T) {
	each(t, func(t *testing.T, r *rand.Rand, rep *report) {
		f := newFleet(t, r, 3)
		watcher := f.newRover("watcher", f.first+"/wills/#", 1, 0, f.nodes[0])
		// Sleeping and live sessions have a slow sender in common, of three: each gets little, and must get everything.
		ofSlow := func(i int) string { return fmt.Sprintf("%s/slow%d", f.first, i%3) }
		sleepers := f.newRovers("sleeper", scale(40, 10_000), ofSlow)
		for _, s := range sleepers {
			s.freeze()
			_ = s.link.Close()
		}
		live := f.newRovers("live", scale(20, 1000), ofSlow)
		senders, rovers := f.crowd(2, 3, time.Second)
		var slow []*sender
		for i := range 3 {
			slow = append(slow, f.newSender(fmt.Sprint("slow", i), byte(1+i%2), time.Duration(scale(50, 1000))*time.Millisecond, f.nodes[i]))
		}
		var devices []*device
		for i := range 6 {
			d := &device{id: fmt.Sprintf("device%d-%s", i, f.salt), topic: fmt.Sprintf("%s/wills/%d", f.first, i)}
			d.connect(f, f.nodes[i%3], 1)
			devices = append(devices, d)
		}
		for _, n := range f.nodes {
			n.stop()
			for i, d := range devices {
				if d.link.over() || i%3 == n.n {
					d.connect(f, f.any(r), 1)
				}
			}
			n.start()
			f.more(senders, 20)
			f.more(slow, scale(20, 5))
		}
		f.wake(rep, sleepers)
		f.settle(rep, append(senders, slow...), rovers, bounds{duplicates: 20})
		rep.Clients = len(sleepers) + len(live)
		for i, s := range slow {
			var own []*rover
			for _, of := range [][]*rover{live, sleepers} {
				for j := i; j < len(of); j += len(slow) {
					own = append(own, of[j])
				}
			}
			f.balance(rep, []*sender{s}, own, bounds{duplicates: 20})
		}
		for _, d := range devices {
			_ = d.link.Close()
		}
		f.eventually(func() error { // only the expected wills
			watcher.mu.Lock()
			defer watcher.mu.Unlock()
			if watcher.got < len(devices) {
				return fmt.Errorf("%d wills of %d", watcher.got, len(devices))
			}
			return nil
		})
		watcher.finish()
		require.Equal(t, len(devices), watcher.got, "wills: those of the end, and no other")
	})
}

// sinceAsleep returns an error unless the rover has received all messages since the first one that it received.
func (r *rover) sinceAsleep(s *sender) error {
	total := s.total()
	r.mu.Lock()
	defer r.mu.Unlock()
	began := false
	for i := range total {
		came := r.seen[fmt.Sprintf("%s %d", s.topic, i)] > 0
		if began && !came {
			return fmt.Errorf("message %d of %s has not come to %s", i, s.id, r.id)
		}
		began = began || came
	}
	if !began {
		return fmt.Errorf("nothing of %s has come to %s", s.id, r.id)
	}
	return nil
}
