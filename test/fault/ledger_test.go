package fault

import (
	"fmt"
	"slices"
	"time"

	"github.com/stretchr/testify/assert"
)

// uncommitted is how many deliveries a gateway that stops without a warning may not have committed.
const uncommitted = 256

// bounds says what a test tolerates. Everything else counts as a failure.
type bounds struct {
	// duplicates bounds duplicates of QoS 1, in percent of the deliveries, besides uncommitted for each of the stops; repeats bounds those of
	// QoS 2.
	duplicates, stops int
	repeats           int
	refused           bool // CONNECTs may be refused
}

// settle ends a test: senders finish, every rover whose filter matches all of their topics receives everything, and the counts are checked
// and reported.
func (f *fleet) settle(rep *report, senders []*sender, rovers []*rover, b bounds) {
	f.t.Helper()
	for _, r := range rovers {
		r.stay()
	}
	f.finish(rep, senders, b)
	f.balance(rep, senders, rovers, b)
}

// finish waits until senders have finished, and checks what was answered to them.
func (f *fleet) finish(rep *report, senders []*sender, b bounds) {
	f.t.Helper()
	for _, s := range senders {
		if err := s.finish(); err != nil {
			f.t.Error(err)
		}
		rep.Messages += s.count()
	}
	f.oldOnesClose(senders, nil)
	for _, s := range senders {
		s.mu.Lock()
		rep.WrongAcks += len(s.wrong)
		rep.Refused += len(s.refused)
		rep.Second += len(s.second)
		rep.Forgotten += s.lost
		assert.Empty(f.t, s.wrong, "acknowledgements to %s", s.id)
		assert.Zero(f.t, len(s.second), "what %s got beside a newer connection: %q", s.id, some(s.second))
		assert.Zero(f.t, s.lost, "sessions of %s that got lost", s.id)
		if !b.refused {
			assert.Empty(f.t, s.refused, "CONNECTs of %s", s.id)
		}
		s.mu.Unlock()
	}
}

// balance ends rovers, once everything of senders that have finished has come to each of them.
func (f *fleet) balance(rep *report, senders []*sender, rovers []*rover, b bounds) {
	f.t.Helper()
	f.complete(rep, senders, rovers)
	f.oldOnesClose(nil, rovers)
	for _, r := range rovers {
		r.finish()
		r.judge(rep, b)
	}
}

// complete waits until everything has arrived.
func (f *fleet) complete(rep *report, senders []*sender, rovers []*rover) {
	f.t.Helper()
	type pair struct {
		r *rover
		s *sender
	}
	var waiting []pair
	for _, r := range rovers {
		for _, s := range senders {
			waiting = append(waiting, pair{r, s})
		}
	}
	progress, last := time.Now(), -1
	for {
		missing := 0
		waiting = slices.DeleteFunc(waiting, func(p pair) bool {
			n, _ := p.r.lacks(p.s)
			missing += n
			return n == 0
		})
		if missing != last {
			progress, last = time.Now(), missing
		}
		if missing == 0 {
			return
		}
		if time.Since(progress) > 30*time.Second {
			rep.Lost += missing
			for _, p := range waiting[:min(50, len(waiting))] {
				n, first := p.r.lacks(p.s)
				at := "nobody"
				if node := p.r.at(); node != nil {
					at = node.id
				}
				f.t.Errorf("%d messages of %s, from %d on, have not come to %s, which is connected to %s", n, p.s.id, first, p.r.id, at)
			}
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// oldOnesClose waits until the gateways have closed all connections except the last one of each client.
func (f *fleet) oldOnesClose(senders []*sender, rovers []*rover) {
	f.t.Helper()
	f.eventually(func() error {
		for _, s := range senders {
			if n := s.stillOpen(); n > 0 {
				return fmt.Errorf("%d older connections of %s are open", n, s.id)
			}
		}
		for _, r := range rovers {
			if n := r.stillOpen(); n > 0 {
				return fmt.Errorf("%d older connections of %s are open", n, r.id)
			}
		}
		return nil
	})
}

// some returns the beginning of a list.
func some(list []string) []string { return list[:min(5, len(list))] }

// judge checks and reports what one rover has received.
func (r *rover) judge(rep *report, b bounds) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.f.t
	rep.Deliveries += r.got
	rep.Disorder += len(r.disorder)
	rep.Strays += len(r.strays)
	rep.Refused += len(r.refused)
	rep.Second += len(r.second)
	rep.Forgotten += r.lost
	rep.Longest = max(rep.Longest, r.longest.Milliseconds())
	rep.Twice += r.twice
	rep.Duplicated += r.dups
	assert.LessOrEqual(t, r.twice, b.repeats, "QoS 2 messages that came to %s twice", r.id)
	assert.LessOrEqual(t, r.dups*100, b.duplicates*r.got+100*uncommitted*b.stops, "duplicates of %d deliveries to %s", r.got, r.id)
	assert.Zero(t, len(r.disorder), "messages to %s that came out of order: %q", r.id, some(r.disorder))
	assert.Empty(t, r.strays, "messages to %s that nobody should have got", r.id)
	assert.Zero(t, len(r.second), "what %s got beside a newer connection: %q", r.id, some(r.second))
	assert.Zero(t, r.lost, "sessions of %s that got lost", r.id)
	if !b.refused {
		assert.Empty(t, r.refused, "CONNECTs of %s", r.id)
	}
}
