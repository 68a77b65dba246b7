package fault

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"
)

// crowd starts rovers of both QoS, every second of which moves continuously, and senders, spread over the gateways.
func (f *fleet) crowd(rovers, senders int, every time.Duration) (out []*sender, in []*rover) {
	f.t.Helper()
	for i := range rovers {
		for qos := byte(1); qos <= 2; qos++ {
			at := f.nodes[(i+int(qos))%len(f.nodes)]
			in = append(in, f.newRover(fmt.Sprintf("rover%d-%d", qos, i), f.first+"/#", qos, time.Duration(i%2)*every, at))
		}
	}
	for i := range senders {
		at := f.nodes[i%len(f.nodes)]
		out = append(out, f.newSender(fmt.Sprintf("sender%d", i), byte(1+i%2), 10*time.Millisecond, at))
	}
	f.eventually(func() error { return sent(out, 20) })
	return out, in
}

// more waits until every sender has had more messages acknowledged.
func (f *fleet) more(senders []*sender, n int) {
	f.t.Helper()
	f.moreWhile(senders, n, func() {})
}

// moreWhile is more, and calls meanwhile again and again until then.
func (f *fleet) moreWhile(senders []*sender, n int, meanwhile func()) {
	f.t.Helper()
	want := map[*sender]int{}
	for _, s := range senders {
		want[s] = s.count() + n
	}
	f.eventually(func() error {
		meanwhile()
		for s, n := range want {
			if s.count() < n {
				return fmt.Errorf("sender %s has %d messages acknowledged, not %d", s.id, s.count(), n)
			}
		}
		return nil
	})
}

// TestAKilledNodeLosesNothing kills gateways with messages of both QoS in flight, and restarts them.
func TestAKilledNodeLosesNothing(t *testing.T) {
	each(t, func(t *testing.T, r *rand.Rand, rep *report) {
		f := newFleet(t, r, 3)
		senders, rovers := f.crowd(scale(2, 4), scale(3, 6), 300*time.Millisecond)
		for range scale(2, 6) {
			n := f.any(r)
			n.kill()
			time.Sleep(time.Duration(r.IntN(int(lease))))
			n.start()
			f.more(senders, 20)
		}
		f.settle(rep, senders, rovers, bounds{duplicates: 40, stops: scale(2, 6)})
	})
}

// TestAKilledGatewayOnFilesLosesNothing does the same to a single gateway: its clients wait for it.
func TestAKilledGatewayOnFilesLosesNothing(t *testing.T) {
	onFiles(t, func(t *testing.T, r *rand.Rand, rep *report) {
		f := newFleetOnFiles(t, r, nil)
		senders, rovers := f.crowd(scale(2, 4), scale(3, 6), 300*time.Millisecond)
		for range scale(3, 10) {
			time.Sleep(time.Second + time.Duration(r.IntN(300))*time.Millisecond)
			f.nodes[0].kill()
			f.nodes[0].start()
			f.more(senders, 20)
		}
		f.settle(rep, senders, rovers, bounds{duplicates: 80}) // messages acknowledged within a second before each kill are redelivered
	})
}

// TestMessagesOfGroupMembersThatDieComeToOthers kills gateways with members of a shared subscription.
func TestMessagesOfGroupMembersThatDieComeToOthers(t *testing.T) {
	each(t, func(t *testing.T, r *rand.Rand, rep *report) {
		f := newFleet(t, r, 3)
		var members []*rover
		for i := range 3 {
			m := f.newRover(fmt.Sprintf("member%d", i), "$share/group/"+f.first+"/#", 1, 0, f.nodes[i])
			m.mu.Lock()
			m.untracked = true
			m.mu.Unlock()
			members = append(members, m)
		}
		var senders []*sender
		for i := range 2 {
			senders = append(senders, f.newSender(fmt.Sprintf("sender%d", i), 1, 10*time.Millisecond, f.nodes[i]))
		}
		f.more(senders, 20)
		for range scale(1, 4) {
			n := f.any(r)
			n.kill()
			f.more(senders, 50)
			n.start()
		}
		for _, s := range senders {
			if err := s.finish(); err != nil {
				t.Error(err)
			}
			rep.Messages += s.count()
		}
		// Messages of a dead member stay invisible for half a minute (the visibility timeout).
		f.eventually(func() error {
			for _, s := range senders {
				for i := range s.total() {
					key, got := s.topic+" "+strconv.Itoa(i), 0
					for _, m := range members {
						m.mu.Lock()
						got += m.seen[key]
						m.mu.Unlock()
					}
					if got == 0 {
						return fmt.Errorf("%s has come to no member", key)
					}
				}
			}
			return nil
		})
		for _, m := range members {
			m.finish()
			m.judge(rep, bounds{duplicates: 40})
		}
	})
}
