package publish

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/store"
)

// counted is a store that records its appends. It can fail batches.
type counted struct {
	store.Store

	mu    sync.Mutex
	calls []int // the number of messages of each append
	fail  error
	most  int    // how many messages of a batch are stored together; 0: all
	wrong string // a payload that is too large
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
	if c.wrong != "" && string(a.Message.Payload) == c.wrong {
		done(store.Position{}, store.ErrTooLarge)
		return
	}
	_ = c.note(1)
	c.Store.Append(ctx, a, done)
}

func (c *counted) AppendBatch(ctx context.Context, batch []store.Append, done func(int, store.Position, error)) {
	if err := c.note(len(batch)); err != nil {
		done(len(batch), store.Position{}, err)
		return
	}
	if c.wrong != "" && string(batch[0].Message.Payload) == c.wrong {
		done(1, store.Position{}, store.ErrTooLarge)
		return
	}
	if c.most > 0 {
		batch = batch[:min(c.most, len(batch))]
	}
	c.Store.AppendBatch(ctx, batch, done)
}

func (c *counted) seen() []int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]int(nil), c.calls...)
}

// newCounted returns a node whose faulty store wraps a counted store.
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

func TestOfRetainedMessagesThatAreStoredTogetherTheLastIsKept(t *testing.T) {
	for _, few := range []bool{false, true} {
		t.Run("a store that keeps few together "+strconv.FormatBool(few), func(t *testing.T) {
			n, calls := newCounted(t)
			if few {
				calls.most = 2
			}
			var kept []string
			n.retain = func(payload string) error {
				kept = append(kept, payload)
				return nil
			}
			reached, end := n.hold("1")
			c := n.client("c", true)
			c.send("T/a", false, "1", "2", "3")
			c.send("T/a", true, "4", "5", "6")
			c.send("T/a", true, "")
			c.send("T/a", true, "7", "8")
			c.send("T/a", false, "9", "10")
			reached()
			end(nil)
			for payload, err := range c.results() {
				require.NoError(t, err, payload)
			}
			if few {
				require.Equal(t, []string{"8"}, kept[len(kept)-1:])
			} else {
				require.Equal(t, []int{1, 2, 4, 2, 2}, calls.seen())
				require.Equal(t, []string{"", "8"}, kept)
			}
			require.Equal(t, []string{"1", "2", "3", "4", "5", "6", "", "7", "8", "9", "10"}, n.stored("T/a"))
		})
	}
}

func TestRetainedMessagesOfATurnShareItsFate(t *testing.T) {
	for _, told := range []bool{false, true} {
		t.Run("told "+strconv.FormatBool(told), func(t *testing.T) {
			n := newNode(t)
			all := payloadsTo(1 + turnMessages + 1)
			for i := range all { // all of one size, because a larger message would begin a new turn
				all[i] = "value " + strings.Repeat("0", 4-len(all[i])) + all[i]
			}
			fails := all[turnMessages]
			n.retain = func(payload string) error {
				if payload == fails {
					return errLate
				}
				return nil
			}
			reached, end := n.hold(all[0])
			c := n.client("c", told)
			c.send("T/a", true, all...)
			reached()
			end(nil)
			results := c.results()
			require.NoError(t, results[all[0]])
			require.ErrorIs(t, results[all[1]], errLate)
			if told {
				require.NoError(t, results[all[turnMessages+1]])
				require.Equal(t, all, n.stored("T/a"))
				return
			}
			require.ErrorIs(t, results[all[turnMessages+1]], ErrEnded)
			require.Equal(t, all[:turnMessages+1], n.stored("T/a"), "what is behind the turn is not stored")
		})
	}
}

func TestALargerRetainedMessageThatIsRefusedDoesNotTakeThoseBeforeItAlong(t *testing.T) {
	n := newNode(t)
	var kept []string
	n.retain = func(payload string) error {
		if len(payload) > 1 {
			return store.ErrTooLarge
		}
		kept = append(kept, payload)
		return nil
	}
	reached, end := n.hold("1")
	c := n.client("c", true)
	c.send("T/a", true, "1", "2", "3", "large")
	reached()
	end(nil)
	for payload, err := range c.results() {
		if payload == "large" {
			require.ErrorIs(t, err, store.ErrTooLarge)
		} else {
			require.NoError(t, err, payload)
		}
	}
	require.Equal(t, []string{"1", "3"}, kept)
}

func TestARetainedMessageThatFailsDoesNotTakeThoseBeforeItAlong(t *testing.T) {
	n, calls := newCounted(t)
	calls.most, calls.wrong = 1, "4"
	var kept []string
	sent := make(chan struct{})
	n.retain = func(payload string) error {
		<-sent // so that all messages after the first share a turn
		kept = append(kept, payload)
		return nil
	}
	c := n.client("c", true)
	c.send("T/a", true, "1", "2", "3", "4", "5")
	close(sent)
	results := c.results()
	require.ErrorIs(t, results["4"], store.ErrTooLarge)
	for _, payload := range []string{"1", "2", "3", "5"} {
		require.NoError(t, results[payload], payload)
	}
	require.Equal(t, []string{"1", "2", "3", "5"}, n.stored("T/a"))
	require.Contains(t, kept, "3")
	require.Equal(t, "5", kept[len(kept)-1])
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

// corks is a connection that counts how often it was corked, and how many outcomes came meanwhile.
type corks struct {
	mu           sync.Mutex
	open, corked int
	gathered     int
}

func (c *corks) Held() bool { return false }
func (c *corks) Lost() bool { return false }

func (c *corks) Cork() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open++
	c.corked++
}

func (c *corks) Uncork() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open--
}

func (c *corks) outcome(error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open > 0 {
		c.gathered++
	}
}

func TestTheAnswersOfMessagesThatAreStoredTogetherAreGathered(t *testing.T) {
	n := newNode(t)
	reached, end := n.hold("1")
	conn := new(corks)
	lanes := n.p.Lanes("c", conn)
	var answered sync.WaitGroup
	for _, payload := range payloadsTo(20) {
		answered.Add(1)
		lanes.Publish(&store.Message{Topic: "T/a", Payload: []byte(payload), QoS: 1}, func(err error) {
			conn.outcome(err)
			answered.Done()
		})
	}
	reached()
	end(nil)
	answered.Wait()
	conn.mu.Lock()
	defer conn.mu.Unlock()
	require.Equal(t, 1, conn.corked, "a single message needs no cork")
	require.Equal(t, 19, conn.gathered)
}
