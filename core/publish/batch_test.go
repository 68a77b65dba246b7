package publish

import (
	"context"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/store"
)

// counted is a store that notes the calls that append to it, and fails batches with an error.
type counted struct {
	store.Store

	mu    sync.Mutex
	calls []int // how many messages came with each
	fail  error
}

func (c *counted) note(n int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls = append(c.calls, n)
	if n == 1 {
		return nil
	}
	return c.fail
}

func (c *counted) Append(ctx context.Context, a store.Append, done func(store.Position, error)) {
	_ = c.note(1)
	c.Store.Append(ctx, a, done)
}

func (c *counted) AppendBatch(ctx context.Context, batch []store.Append, done func(int, error)) {
	if err := c.note(len(batch)); err != nil {
		done(len(batch), err)
		return
	}
	c.Store.AppendBatch(ctx, batch, done)
}

func (c *counted) seen() []int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]int(nil), c.calls...)
}

// newCounted is a node whose store behind the faults is counted.
func newCounted(t *testing.T) (*node, *counted) {
	n := newNode(t)
	c := &counted{Store: n.faults.Store}
	n.faults.Store = c
	return n, c
}

func payloadsTo(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = strconv.Itoa(i + 1)
	}
	return out
}

func TestWhatWaitsInALaneGoesToTheStoreTogetherAndInOrder(t *testing.T) {
	n, calls := newCounted(t)
	reached, end := n.hold("1")
	c := n.client("c", true)
	all := payloadsTo(turnMessages + 100)
	c.send("T/a", false, all...)
	reached()
	require.Empty(t, calls.seen())
	end(nil)
	for payload, err := range c.results() {
		require.NoError(t, err, payload)
	}
	require.Equal(t, []int{1, turnMessages, 99}, calls.seen())
	require.Equal(t, all, n.stored("T/a"))
}

func TestARetainedMessageGoesToTheStoreAlone(t *testing.T) {
	n, calls := newCounted(t)
	reached, end := n.hold("1")
	c := n.client("c", true)
	c.send("T/a", false, "1", "2", "3")
	c.send("T/a", true, "4", "5")
	c.send("T/a", false, "6", "7")
	reached()
	end(nil)
	c.results()
	require.Equal(t, []int{1, 2, 1, 1, 2}, calls.seen())
	require.Equal(t, payloadsTo(7), n.stored("T/a"))
}

func TestMessagesOfTwoConnectionsDoNotShareABatch(t *testing.T) {
	n, calls := newCounted(t)
	reached, end := n.hold("1")
	old, fresh := n.client("c", true), n.client("c", true)
	old.send("T/a", false, "1", "2", "3")
	reached()
	old.lanes.Stop()
	fresh.send("T/a", false, "4", "5", "6")
	end(nil)
	old.results()
	fresh.results()
	require.Equal(t, []int{1, 2, 3}, calls.seen())
	require.Equal(t, payloadsTo(6), n.stored("T/a"))
}

func TestABatchThatFailsFailsWholeAndWithholdsWhatIsBehind(t *testing.T) {
	for _, told := range []bool{false, true} {
		t.Run("told "+strconv.FormatBool(told), func(t *testing.T) {
			n, calls := newCounted(t)
			calls.fail = errLate
			reached, end := n.hold("1")
			c := n.client("c", told)
			c.send("T/a", false, payloadsTo(4+turnMessages)...)
			reached()
			end(nil)
			results := c.results()
			require.NoError(t, results["1"])
			require.ErrorIs(t, results["2"], errLate)
			want := errLate
			if !told {
				want = ErrEnded
			}
			require.ErrorIs(t, results["3"], want)
			require.ErrorIs(t, results[strconv.Itoa(turnMessages+4)], want)
			require.Equal(t, []string{"1"}, n.stored("T/a"))
			if !told {
				require.Len(t, calls.seen(), 2, "what is behind the batch is not even tried")
			}
		})
	}
}

func TestABatchIsTriedAgainWholeWhileTheStoreIsAway(t *testing.T) {
	n, _ := newCounted(t)
	reached, end := n.hold("1")
	c := n.client("c", false)
	c.send("T/a", false, payloadsTo(20)...)
	reached()
	n.faults.FailAppends(store.ErrUnavailable)
	end(nil)
	time.AfterFunc(100*time.Millisecond, func() { n.faults.FailAppends(nil) })
	for payload, err := range c.results() {
		require.NoError(t, err, payload)
	}
	require.Equal(t, payloadsTo(20), n.stored("T/a"))
}
