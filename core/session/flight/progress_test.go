package flight

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/store"
)

var queue = store.QueueRef{Queue: "T/%a", Broker: "b1"}

// next returns the offset that a single queue would commit, or -1 for none.
func next(p *Progress) int64 {
	all := Commits([]*Progress{p})
	if len(all) == 0 {
		return -1
	}
	return all[0].Next
}

func TestTheCommitOffsetMovesOverAcknowledgedMessagesWithoutAGap(t *testing.T) {
	for _, c := range []struct {
		name  string
		sent  string // records from offset 10 on: x has no message for the client, a letter is a message
		acked string
		want  []int64 // the offset to commit after each acknowledgement; -1: none
	}{
		{"in order", "abc", "abc", []int64{11, 12, 13}},
		{"backwards", "abc", "cba", []int64{-1, -1, 13}},
		{"a gap in the middle", "abc", "acb", []int64{11, 11, 13}},
		{"with records that are not for the client", "xaxbx", "ab", []int64{13, 15}},
		{"nothing for the client", "xxx", "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := Recorded(queue, 10)
			p.Resume(10)
			var w Window
			messages := map[byte]*Message{}
			for i := range len(c.sent) {
				var m *Message
				if c.sent[i] != 'x' {
					m = &Message{QoS: 1}
					w.Add(m)
					messages[c.sent[i]] = m
				}
				p.Track(int64(11+i), m)
				p.Cursor = int64(11 + i)
			}
			for i := range len(c.acked) {
				moved := w.Complete(messages[c.acked[i]])
				require.Equal(t, i == 0 && c.want[i] >= 0 || i > 0 && c.want[i] != c.want[i-1], moved, "after %q", c.acked[:i+1])
				got := next(&p)
				if c.want[i] < 0 && c.sent[0] == 'x' {
					require.EqualValues(t, 11, got)
					continue
				}
				require.Equal(t, c.want[i], got, "after %q", c.acked[:i+1])
			}
			if c.acked == "" {
				require.Equal(t, int64(10+len(c.sent)), next(&p))
			}
		})
	}
}

func TestAMessageOfSeveralQueuesMovesThemAll(t *testing.T) {
	other := store.QueueRef{Queue: "T/%b", Broker: "b1"}
	p, q := Recorded(queue, 0), Recorded(other, 5)
	p.Resume(0)
	q.Resume(5)
	var w Window
	m := &Message{QoS: 2, RecordID: "r"}
	w.Add(m)
	require.False(t, p.Track(1, m))
	require.False(t, q.Track(6, m))
	require.Equal(t, []Mark{{&p, 1}, {&q, 6}}, m.Marks())
	require.True(t, w.Complete(m))
	commits := Commits([]*Progress{&p, &q})
	require.Equal(t, []Commit{{&p, 1}, {&q, 6}}, commits)
	mark := Mark{&p, 1}
	require.False(t, mark.Passed())
	for _, c := range commits {
		c.Done()
	}
	require.True(t, mark.Passed())
	require.Empty(t, Commits([]*Progress{&p, &q}))
	far := Mark{&q, 100}
	require.False(t, far.Passed())
	q.Closed = true
	require.True(t, far.Passed(), "nobody commits it any more")
}

func TestWhatIsCommitted(t *testing.T) {
	for _, c := range []struct {
		name string
		make func() []*Progress
		want []int64
	}{
		{"a new subscription commits its start", func() []*Progress {
			p := Unplaced(queue)
			p.Begin(4)
			return []*Progress{&p}
		}, []int64{4}},
		{"what has no place is left alone", func() []*Progress {
			p := Unplaced(queue)
			return []*Progress{&p}
		}, nil},
		{"a recorded one is known", func() []*Progress {
			p := Recorded(queue, 3)
			p.Placed = true
			return []*Progress{&p}
		}, nil},
		{"of two that share a queue the lower", func() []*Progress {
			p, q := Recorded(queue, 0), Recorded(queue, 0)
			p.Resume(0)
			q.Resume(0)
			p.Track(9, nil)
			q.Track(6, nil)
			return []*Progress{&p, &q}
		}, []int64{6, 6}},
		{"settled, where the rest is not for the client", func() []*Progress {
			p := Recorded(queue, 0)
			p.Resume(0)
			p.Cursor = 8
			p.Settle()
			return []*Progress{&p}
		}, []int64{8}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []int64
			for _, commit := range Commits(c.make()) {
				got = append(got, commit.Next)
			}
			require.Equal(t, c.want, got)
		})
	}
}

func TestSubscriptionsThatShareAQueueAgreeOnceBothHavePassedTheSame(t *testing.T) {
	p, q, other, unplaced := Recorded(queue, 0), Recorded(queue, 0), Recorded(store.QueueRef{Queue: "other"}, 0), Unplaced(queue)
	for _, each := range []*Progress{&p, &q, &other} {
		each.Resume(0)
	}
	all := []*Progress{&p, &other, &unplaced, &q}
	require.True(t, Agree(all))
	p.Track(3, nil)
	other.Track(7, nil)
	require.False(t, Agree(all))
	require.Equal(t, []Commit{{&q, 3}}, Behind(all))
	q.Skip(2)
	require.EqualValues(t, 2, q.Acked())
	require.False(t, Agree(all))
	var w Window
	m := &Message{QoS: 1}
	w.Add(m)
	q.Track(3, m)
	require.Empty(t, Behind(all), "a message is in flight")
	q.Skip(3)
	require.EqualValues(t, 2, q.Acked())
	w.Complete(m)
	require.True(t, Agree(all))
}

func TestSettlingWaitsForWhatIsOnItsWay(t *testing.T) {
	p := Recorded(queue, 0)
	p.Resume(0)
	require.False(t, p.Settle(), "nothing was read")
	var w Window
	m := &Message{QoS: 1}
	w.Add(m)
	p.Track(1, m)
	p.Cursor = 5
	require.False(t, p.Settle())
	w.Complete(m)
	require.True(t, p.Settle())
	require.EqualValues(t, 5, next(&p))
	p.Back(2)
	require.EqualValues(t, 2, p.Cursor)
	p.Back(4)
	require.EqualValues(t, 2, p.Cursor)
}
