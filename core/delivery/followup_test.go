package delivery

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/topic"
)

// overlapping returns filters that all match the topic T/a/a/a/a/a/a/a/a.
func overlapping(n int) []string {
	var out []string
	for i := range n {
		var b strings.Builder
		b.WriteString("T")
		for bit := range 8 {
			b.WriteString(map[bool]string{true: "/+", false: "/a"}[i>>bit&1 == 1])
		}
		out = append(out, b.String())
	}
	return out
}

func TestWhatOneViewReadsOfAFollowUpTheOthersNeedNotRead(t *testing.T) {
	const filters, each = 240, 60 // a record carries the entries of 60 queues
	const messages = 3
	st := &countingStore{faultyStore: newFaultyStore()}
	h := newHub(t, st, Options{})
	all := overlapping(filters)
	owners, readers := make([]*owner, filters), make([]*QueueReader, filters)
	for i, filter := range all {
		owners[i] = newOwner()
		var err error
		readers[i], err = h.Queue(t.Context(), filter, refOf(filter), 0, 0, owners[i])
		require.NoError(t, err)
		t.Cleanup(readers[i].Close)
		settle(t, readers[i])
	}
	st.reads.Store(0)
	var main []*store.Record
	for m := range messages {
		var recs []*store.Record
		for from := 0; from < filters; from += each {
			var entries []store.Entry
			for _, filter := range all[from : from+each] {
				entries = append(entries, store.Entry{Queue: topic.Queue(filter), Offset: int64(m)})
			}
			r := st.record("T/a/a/a/a/a/a/a/a", 0, entries...)
			r.ID = fmt.Sprint("message ", m)
			recs = append(recs, r)
		}
		st.index(recs...)
		recs[0].Partial = true
		main = append(main, recs[0]) // the others come through no tail
	}
	st.tail(main...)
	for i := range readers {
		require.Equal(t, ids(main...), collect(t, owners[i], readers[i], messages), all[i])
		items, _ := readers[i].Next(10, nil)
		require.Empty(t, items, "each comes once")
	}
	require.Less(t, st.reads.Load(), int64(filters/3))
}

func TestAFollowUpThatIsIndexedLateIsFound(t *testing.T) {
	st := newFaultyStore()
	h := newHub(t, st, Options{})
	o, r := openQueue(t, h, 0)
	settle(t, r)
	for m := range int64(3) {
		follow := st.record("T/a", 0, at(m), store.Entry{Queue: "other", Offset: m})
		main := st.record("T/a", 0, store.Entry{Queue: "T%a%", Offset: m})
		main.ID, main.Partial = follow.ID, true
		st.index(follow)
		st.tail(main)
		if m > 0 { // right behind it, while the view looks already
			second := *main
			second.ID = "not in the queue"
			st.tail(&second)
		}
		require.Equal(t, ids(follow), collect(t, o, r, 1))
	}
}
