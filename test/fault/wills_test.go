package fault

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/packet"
)

// device is a client with a will and the expected number of publications of it.
type device struct {
	id, topic string
	want      int
	link      *link
}

func (d *device) connect(f *fleet, to *node, delay uint32) {
	f.t.Helper()
	f.eventually(func() (err error) {
		d.link, err = dial(to, &packet.Connect{Version: packet.V5, ClientID: d.id,
			Properties: &packet.Properties{SessionExpiryInterval: new(uint32(3600))},
			Will:       &packet.Will{Topic: d.topic, Payload: []byte("0"), QoS: 1, Properties: &packet.Properties{WillDelayInterval: &delay}}},
			connectPatience, func(*link, packet.Packet) {})
		return err
	})
}

// TestWillsAreDueOnceWhateverNodeLives kills a gateway with clients that leave wills: some come back elsewhere, some do not.
func TestWillsAreDueOnceWhateverNodeLives(t *testing.T) {
	each(t, func(t *testing.T, r *rand.Rand, rep *report) {
		f := newFleet(t, r, 3)
		dies, lives, other := f.nodes[0], f.nodes[1], f.nodes[2]
		watcher := f.newRover("watcher", f.first+"/wills/#", 2, 0, lives)
		var devices, back []*device
		add := func(want int, at *node, delay uint32) *device {
			d := &device{id: fmt.Sprintf("device%d-%s", len(devices), f.salt), topic: fmt.Sprintf("%s/wills/%d", f.first, len(devices)), want: want}
			d.connect(f, at, delay)
			devices = append(devices, d)
			return d
		}
		for i := range scale(5, 20) {
			delay := uint32(i % 2)
			add(1, dies, delay)
			back = append(back, add(0, dies, delay))
			require.NoError(t, add(0, dies, delay).link.send(&packet.Disconnect{}))
			_ = add(1, lives, delay).link.Close()
			moves := add(0, lives, 5)
			moves.connect(f, other, 5)
		}
		time.Sleep(time.Duration(r.IntN(500)) * time.Millisecond)
		dies.kill()
		for _, d := range back {
			d.connect(f, f.any(r), 5)
		}
		count := func(d *device) int {
			watcher.mu.Lock()
			defer watcher.mu.Unlock()
			return watcher.seen[d.topic+" 0"]
		}
		f.eventually(func() error {
			for _, d := range devices {
				if d.want > count(d) {
					return fmt.Errorf("the will of %s has not come", d.id)
				}
			}
			return nil
		})
		dies.start()
		if full() { // a restarted node publishes the wills that it finds after half a minute
			time.Sleep(40 * time.Second)
		}
		last := add(1, dies, 0)
		_ = last.link.Close()
		f.eventually(func() error {
			if count(last) == 0 {
				return fmt.Errorf("the will of %s has not come", last.id)
			}
			return nil
		})
		for _, d := range devices {
			got := count(d)
			rep.Messages += d.want
			rep.Lost += max(0, d.want-got)
			rep.Twice += max(0, got-d.want)
			require.Equal(t, d.want, got, "wills of %s", d.id)
			_ = d.link.send(&packet.Disconnect{})
		}
		watcher.finish()
		rep.Deliveries = watcher.got
	})
}
