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
		senders, rovers := f.crowd(scale(2, 20), 3, time.Second)
		sleepers := make([]*rover, scale(40, 2000))
		for i := range sleepers {
			s := f.newRover(fmt.Sprint("sleeper", i), fmt.Sprintf("%s/sender%d", f.first, i%3), 1, 0, f.nodes[r.IntN(3)])
			s.freeze()
			_ = s.link.Close()
			sleepers[i] = s
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
		}
		f.wake(rep, sleepers)
		f.settle(rep, senders, rovers, bounds{duplicates: 20})
		for i, s := range sleepers {
			own := senders[i%3]
			f.eventually(func() error {
				if n, first := s.lacks(own); n > 0 && first >= 0 {
					return s.sinceAsleep(own)
				}
				return nil
			})
			s.finish()
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
