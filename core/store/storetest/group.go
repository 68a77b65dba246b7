package storetest

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/topic"
	"github.com/stretchr/testify/require"
)

var groupCases = []testCase{
	{"a group is handed each record once, from where it was placed", groupFromPlace},
	{"a group that was never placed begins at the minimum", groupFromMinimum},
	{"what is not acknowledged comes again when its time is over, what is acknowledged does not", groupRedelivers},
	{"what is given back comes again soon", groupGivesBack},
	{"what is hidden for longer stays hidden", groupHidesLonger},
	{"groups of one queue are apart, whatever their names", groupsApart},
	{"a group may be placed again", groupPlacedAgain},
	{"a group beyond the end of its queue, which began anew, goes on at the minimum", groupBeyondEnd},
	{"Pop waits for records", groupWaits},
	{"Pop returns soon after its context ends", groupContext},
	{"consumers side by side are handed each record once", groupSideBySide},
	{"names that are too long together are refused", groupNamesTooLong},
	{"what a group has left is what it was not handed out", groupLeft},
}

const (
	// hidden is a visibility timeout that outlasts any case that wants nothing to come back.
	hidden = time.Minute
	// confirmed is the shortest visibility timeout for a case that ends with acknowledged records staying away. RocketMQ acknowledges in
	// memory only above 4.5 s. Below, the acknowledgement is a delayed message, and a busy broker hands the record out before it comes.
	confirmed = 6 * time.Second
)

// group returns a group of a new topic, and the name to publish to.
func (s *suite) group(t *testing.T, name string) (store.Group, string) {
	t.Helper()
	first := s.newTopic(t)
	return s.groupOf(t, first, name), first + "/g"
}

func (s *suite) groupOf(t *testing.T, first, name string) store.Group {
	t.Helper()
	return store.Group{Name: name, QueueRef: store.QueueRef{Queue: topic.Queue(first + "/g"), Broker: s.brokers(t, first)[0]}}
}

// place places a group at the present end of its queue.
func (s *suite) place(t *testing.T, g store.Group) {
	t.Helper()
	b, err := s.Bounds(s.ctx, g.QueueRef)
	require.NoError(t, err)
	require.NoError(t, s.PlaceGroup(s.ctx, g, b.Max))
}

// popN pops until it has n records.
func (s *suite) popN(t *testing.T, g store.Group, n int, hide time.Duration) []store.Handout {
	t.Helper()
	out, _ := s.popSince(t, g, n, hide)
	return out
}

// popSince is popN that also returns a moment before the first record was handed out, at most a second before.
func (s *suite) popSince(t *testing.T, g store.Group, n int, hide time.Duration) (all []store.Handout, since time.Time) {
	t.Helper()
	deadline := time.Now().Add(s.Patience)
	for len(all) < n {
		asked := time.Now()
		require.True(t, asked.Before(deadline), "%d of %d records were handed out", len(all), n)
		out, err := s.Pop(s.ctx, g, n-len(all), hide, time.Second)
		require.NoError(t, err)
		require.LessOrEqual(t, len(out), n-len(all))
		if len(all) == 0 {
			since = asked
		}
		all = append(all, out...)
	}
	return all, since
}

// popNothing requires that nothing is handed out within wait.
func (s *suite) popNothing(t *testing.T, g store.Group, wait time.Duration) {
	t.Helper()
	out, err := s.Pop(s.ctx, g, 32, hidden, wait)
	require.NoError(t, err)
	require.Empty(t, handed(out))
}

func (s *suite) ack(t *testing.T, g store.Group, out ...store.Handout) {
	t.Helper()
	require.NoError(t, s.PopAck(s.ctx, g, receipts(out)))
}

// inTime calls try with a visibility timeout. try returns false if what it must do before the timeout took longer, as on a busy machine.
// Then inTime calls it again with twice the timeout.
func inTime(hide time.Duration, try func(hide time.Duration) bool) {
	for !try(hide) {
		hide *= 2
	}
}

func receipts(out []store.Handout) []string {
	list := make([]string, len(out))
	for i := range out {
		list[i] = out[i].Receipt
	}
	return list
}

// handed returns the payloads, sorted numerically.
func handed(out []store.Handout) []string {
	list := make([]string, len(out))
	for i := range out {
		list[i] = string(out[i].Record.Payload)
	}
	slices.SortFunc(list, func(a, b string) int {
		x, _ := strconv.Atoi(a)
		y, _ := strconv.Atoi(b)
		return x - y
	})
	return list
}

func groupFromPlace(t *testing.T, s *suite) {
	g, name := s.group(t, "g")
	s.numbered(t, name, 3)
	require.Eventually(t, func() bool {
		b, err := s.Bounds(s.ctx, g.QueueRef)
		return err == nil && b.Max == 3
	}, s.Patience, 10*time.Millisecond)
	s.place(t, g)
	for i := range 70 {
		s.put(t, appendTo(message(name, strconv.Itoa(i))))
	}
	out := s.popN(t, g, 70, hidden)
	require.Equal(t, numbers(70), handed(out))
	for _, h := range out {
		require.False(t, h.Again)
		require.Equal(t, name, h.Record.Topic)
		_, ok := h.Record.Offset(g.Queue)
		require.True(t, ok)
	}
	s.ack(t, g, out...)
	s.popNothing(t, g, 100*time.Millisecond)
}

func groupFromMinimum(t *testing.T, s *suite) {
	g, name := s.group(t, "g")
	s.popNothing(t, g, 10*time.Millisecond)
	s.numbered(t, name, 3)
	out := s.popN(t, g, 3, hidden)
	require.Equal(t, numbers(3), handed(out))
	s.ack(t, g, out...)
}

func groupRedelivers(t *testing.T, s *suite) {
	inTime(confirmed, func(hide time.Duration) bool { return redelivers(t, s, hide) })
}

func redelivers(t *testing.T, s *suite, hide time.Duration) bool {
	g, name := s.group(t, "g")
	s.place(t, g)
	s.numbered(t, name, 40)
	began := time.Now()
	out := s.popN(t, g, 40, hide)
	slices.SortFunc(out, func(a, b store.Handout) int { return strings.Compare(a.Receipt, b.Receipt) })
	var acked, open []store.Handout
	for i, h := range out {
		if i%4 == 0 {
			open = append(open, h)
		} else {
			acked = append(acked, h)
		}
	}
	s.ack(t, g, acked...)
	early, err := s.Pop(s.ctx, g, 32, hidden, 100*time.Millisecond)
	if time.Since(began) >= hide {
		return false
	}
	require.NoError(t, err)
	require.Empty(t, handed(early))
	again, began := s.popSince(t, g, len(open), hide)
	require.Equal(t, handed(open), handed(again))
	for _, h := range again {
		require.True(t, h.Again)
		require.Equal(t, name, h.Record.Topic)
		require.EqualValues(t, 1, h.Record.QoS)
		require.Equal(t, "publisher", h.Record.Publisher)
	}
	// And once more, from where they were the second time.
	s.ack(t, g, again[1:]...)
	if time.Since(began) >= hide/2 {
		return false
	}
	last := s.popN(t, g, 1, hidden)
	require.Equal(t, handed(again[:1]), handed(last))
	s.ack(t, g, last...)
	s.popNothing(t, g, hide+time.Second)
	return true
}

func groupGivesBack(t *testing.T, s *suite) {
	g, name := s.group(t, "g")
	s.place(t, g)
	s.numbered(t, name, 4)
	out := s.popN(t, g, 4, hidden)
	s.ack(t, g, out[0], out[1])
	_, err := s.PopHide(s.ctx, g, receipts(out[2:]), 0)
	require.NoError(t, err)
	again := s.popN(t, g, 2, hidden)
	require.Equal(t, handed(out[2:]), handed(again))
	// A record that came again can be given back too.
	_, err = s.PopHide(s.ctx, g, receipts(again[:1]), 0)
	require.NoError(t, err)
	third := s.popN(t, g, 1, hidden)
	require.Equal(t, handed(again[:1]), handed(third))
	s.ack(t, g, again[1], third[0])
	s.popNothing(t, g, time.Second)
}

func groupHidesLonger(t *testing.T, s *suite) {
	inTime(4*time.Second, func(hide time.Duration) bool { return hidesLonger(t, s, hide) })
}

func hidesLonger(t *testing.T, s *suite, hide time.Duration) bool {
	g, name := s.group(t, "g")
	s.place(t, g)
	s.numbered(t, name, 3)
	asked := time.Now()
	out := s.popN(t, g, 3, hide)
	longer, err := s.PopHide(s.ctx, g, receipts(out[:2]), hidden)
	if time.Since(asked) >= hide {
		return false
	}
	require.NoError(t, err)
	require.Len(t, longer, 2)
	require.NotContains(t, longer, "")
	again := s.popN(t, g, 1, hidden)
	require.Equal(t, handed(out[2:]), handed(again))
	require.Greater(t, time.Since(asked), hide-time.Second)
	s.popNothing(t, g, 2*time.Second)
	require.NoError(t, s.PopAck(s.ctx, g, longer[:1]))
	if _, err = s.PopHide(s.ctx, g, longer[1:], 0); err != nil {
		t.Fatal(err)
	}
	require.Equal(t, handed(out[1:2]), handed(s.popN(t, g, 1, hidden)))
	return true
}

func groupsApart(t *testing.T, s *suite) {
	inTime(confirmed, func(hide time.Duration) bool { return apart(t, s, hide) })
}

func apart(t *testing.T, s *suite, hide time.Duration) bool {
	first := s.newTopic(t)
	var groups []store.Group
	for _, name := range []string{"g", "G", "g h", "gruppe-ä", "a,b%c", "%LMQ%x", strings.Repeat("long", 200), " "} {
		g := s.groupOf(t, first, name)
		s.place(t, g)
		groups = append(groups, g)
	}
	s.numbered(t, first+"/g", 5)
	for _, g := range groups {
		began := time.Now()
		out := s.popN(t, g, 5, hide)
		s.ack(t, g, out[1:]...)
		if time.Since(began) >= hide {
			return false
		}
		require.Equal(t, numbers(5), handed(out), "group %q", g.Name)
	}
	for _, g := range groups {
		s.ack(t, g, s.popN(t, g, 1, hidden)...)
	}
	for _, g := range groups {
		s.popNothing(t, g, 10*time.Millisecond)
	}
	return true
}

func groupPlacedAgain(t *testing.T, s *suite) {
	g, name := s.group(t, "g")
	s.place(t, g)
	s.numbered(t, name, 6)
	s.ack(t, g, s.popN(t, g, 2, hidden)...)
	require.NoError(t, s.EndGroup(s.ctx, g))
	require.Eventually(t, func() bool {
		b, err := s.Bounds(s.ctx, g.QueueRef)
		return err == nil && b.Max == 6
	}, s.Patience, 10*time.Millisecond)
	s.place(t, g)
	s.popNothing(t, g, 50*time.Millisecond)
	s.put(t, appendTo(message(name, "6")))
	out := s.popN(t, g, 1, hidden)
	require.Equal(t, []string{"6"}, handed(out))
	s.ack(t, g, out...)
}

func groupBeyondEnd(t *testing.T, s *suite) {
	g, name := s.group(t, "g")
	s.numbered(t, name, 3)
	require.NoError(t, s.PlaceGroup(s.ctx, g, 1000))
	out := s.popN(t, g, 3, hidden)
	require.Equal(t, numbers(3), handed(out))
	s.ack(t, g, out...)
	s.popNothing(t, g, 10*time.Millisecond)
}

func groupWaits(t *testing.T, s *suite) {
	g, name := s.group(t, "g")
	s.place(t, g)
	for i := range 3 {
		type result struct {
			out []store.Handout
			err error
		}
		done := make(chan result, 1)
		go func() {
			out, err := s.Pop(s.ctx, g, 32, hidden, s.Patience)
			done <- result{out, err}
		}()
		select {
		case r := <-done:
			t.Fatalf("Pop did not wait: %v, %v", handed(r.out), r.err)
		case <-time.After(100 * time.Millisecond):
		}
		s.put(t, appendTo(message(name, strconv.Itoa(i))))
		r := <-done
		require.NoError(t, r.err)
		require.Equal(t, []string{strconv.Itoa(i)}, handed(r.out))
		s.ack(t, g, r.out...)
	}
}

func groupContext(t *testing.T, s *suite) {
	g, _ := s.group(t, "g")
	s.place(t, g)
	ctx, cancel := context.WithTimeout(s.ctx, 200*time.Millisecond)
	defer cancel()
	began := time.Now()
	out, err := s.Pop(ctx, g, 32, hidden, time.Hour)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Empty(t, out)
	require.Less(t, time.Since(began), s.Patience)
}

func groupSideBySide(t *testing.T, s *suite) {
	g, name := s.group(t, "g")
	s.place(t, g)
	n := s.scaled(1000)
	const consumers = 4
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	var mu sync.Mutex
	got := make(map[string]int)
	var failed error
	var wg sync.WaitGroup
	for range consumers {
		wg.Go(func() {
			for ctx.Err() == nil {
				out, err := s.Pop(ctx, g, 16, hidden, time.Second)
				if err == nil && len(out) > 0 {
					err = s.PopAck(ctx, g, receipts(out))
				}
				mu.Lock()
				if err != nil && ctx.Err() == nil && failed == nil {
					failed = err
				}
				for _, h := range out {
					got[string(h.Record.Payload)]++
				}
				all := len(got) >= n
				mu.Unlock()
				if all {
					cancel()
				}
			}
		})
	}
	var puts sync.WaitGroup
	for p := range 4 {
		puts.Go(func() {
			for i := p; i < n; i += 4 {
				m := message(name, strconv.Itoa(i))
				m.Publisher = fmt.Sprint("p", p)
				_, err := put(s.ctx, s.Store, appendTo(m))
				if err != nil {
					mu.Lock()
					failed = err
					mu.Unlock()
				}
			}
		})
	}
	puts.Wait()
	select {
	case <-ctx.Done():
	case <-time.After(s.Patience):
		cancel()
	}
	wg.Wait()
	require.NoError(t, failed)
	require.Len(t, got, n)
	for payload, times := range got {
		require.Equal(t, 1, times, "record %s", payload)
	}
}

func groupNamesTooLong(t *testing.T, s *suite) {
	if s.LongestGroupQueue == 0 {
		t.Skip("the store takes names of any length")
	}
	first := s.newTopic(t)
	g := store.Group{Name: strings.Repeat("g", 200), QueueRef: store.QueueRef{Broker: s.brokers(t, first)[0]}}
	g.Queue = first + strings.Repeat("x", s.LongestGroupQueue-len(first))
	require.NoError(t, s.PlaceGroup(s.ctx, g, 0))
	s.popNothing(t, g, 10*time.Millisecond)
	g.Queue += "x"
	require.ErrorIs(t, s.PlaceGroup(s.ctx, g, 0), store.ErrTooLarge)
	_, err := s.Pop(s.ctx, g, 1, hidden, 0)
	require.ErrorIs(t, err, store.ErrTooLarge)
}

func groupLeft(t *testing.T, s *suite) {
	g, name := s.group(t, "g")
	left := func(g store.Group, want int64) {
		t.Helper()

		require.Eventually(t, func() bool {
			n, err := s.GroupLeft(s.ctx, g)
			return err == nil && n == want
		}, s.Patience+30*time.Second, 50*time.Millisecond)
	}
	left(g, 0) // its queue does not exist
	s.numbered(t, name, 3)
	require.Eventually(t, func() bool {
		b, err := s.Bounds(s.ctx, g.QueueRef)
		return err == nil && b.Max == 3
	}, s.Patience, 10*time.Millisecond)
	s.place(t, g)
	left(g, 0)
	s.numbered(t, name, 5)
	left(g, 5)
	out := s.popN(t, g, 3, hidden)
	s.ack(t, g, out...)
	left(g, 2)
	s.ack(t, g, s.popN(t, g, 2, hidden)...)
	left(g, 0)
	other := g
	other.Name = "never used"
	left(other, 8) // it would begin at the minimum
}
