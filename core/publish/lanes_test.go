package publish

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/store/local"
	"github.com/lmqgate/lmqgate/core/store/storetest"
	"github.com/lmqgate/lmqgate/core/topic"
	"github.com/lmqgate/lmqgate/internal/leftover"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(leftover.Patient(m)) }

// patience is how long a test waits for something that must happen.
const patience = time.Minute

// node is a publisher on a local store that can be made to fail.
type node struct {
	t      *testing.T
	p      *Publisher
	faults *storetest.Faulty
	retain func(payload string) error // the result of Retain
}

func newNode(t *testing.T) *node {
	t.Helper()
	st, err := local.New(local.Options{Path: t.TempDir(), Sync: local.SyncInterval, SyncInterval: time.Millisecond, MinFree: -1})
	require.NoError(t, err)
	require.NoError(t, st.Start(t.Context()))
	t.Cleanup(func() { require.NoError(t, st.Close()) })
	require.NoError(t, st.CreateTopic(t.Context(), "T", 1))
	n := &node{t: t, faults: storetest.NewFaulty(st), retain: func(string) error { return nil }}
	n.p = New(Options{Store: n.faults, Catalog: compatible{}, Meta: flat{}, Retainer: n})
	t.Cleanup(n.p.Close)
	return n
}

func (n *node) Room(*store.Message) error { return nil }

func (n *node) Retain(_ context.Context, m *store.Message, _ store.Position) error {
	return n.retain(string(m.Payload))
}

// compatible is a catalog in which every topic has a queue.
type compatible struct{ flat }

func (compatible) Compatible() bool { return true }

// stored returns the payloads in the queue of a topic name, in order.
func (n *node) stored(name string) []string {
	n.t.Helper()
	var out []string
	for offset := int64(0); ; {
		b, err := n.faults.Read(n.t.Context(), store.QueueRef{Queue: topic.Queue(name), Broker: local.Broker}, offset, 1000)
		require.NoError(n.t, err)
		if len(b.Records) == 0 {
			return out
		}
		for _, r := range b.Records {
			out = append(out, string(r.Payload))
		}
		offset = b.Next
	}
}

// client is a connection. told is whether the protocol can report a failure to the client; without that, a failure breaks the lanes.
type client struct {
	n     *node
	lanes *Lanes
	told  bool
	wg    sync.WaitGroup

	mu       sync.Mutex
	outcomes map[string]error
}

func (n *node) client(id string, told bool) *client {
	return &client{n: n, lanes: n.p.Lanes(id, nil), told: told, outcomes: make(map[string]error)}
}

// send publishes payloads to a topic without waiting in between.
func (c *client) send(name string, retain bool, payloads ...string) {
	for _, payload := range payloads {
		c.wg.Add(1)
		c.lanes.Publish(&store.Message{Topic: name, Payload: []byte(payload), QoS: 1, Retain: retain, Created: time.Now()}, func(err error) {
			if err != nil && !c.told {
				c.lanes.Break()
			}
			c.mu.Lock()
			c.outcomes[payload] = err
			c.mu.Unlock()
			c.wg.Done()
		})
	}
}

// results waits until every message has its outcome, and returns the outcomes.
func (c *client) results() map[string]error {
	c.wg.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.outcomes
}

// hold holds up the append of a payload. reached waits until the append has begun, and end finishes it.
func (n *node) hold(payload string) (reached func(), end func(error)) {
	h := n.faults.Hold(payload)
	return func() {
		n.t.Helper()
		select {
		case <-h.Reached:
		case <-time.After(patience):
			n.t.Fatalf("the append of %q did not begin", payload)
		}
	}, h.End
}

var errLate = fmt.Errorf("the store did not answer: %w", context.DeadlineExceeded)

func TestWhatWaitsBehindAFailureIsStoredOnlyIfTheClientIsTold(t *testing.T) {
	cases := []struct {
		name   string
		told   bool
		retain bool
		err    error // the result of the append of "2"
		stored []string
		failed []string
	}{
		{name: "untold, late", err: errLate, stored: []string{"1"}, failed: []string{"2", "3", "4"}},
		{name: "untold, refused", err: store.ErrTooLarge, stored: []string{"1"}, failed: []string{"2", "3", "4"}},
		{name: "untold, retained", retain: true, err: errLate, stored: []string{"1"}, failed: []string{"2", "3", "4"}},
		{name: "told, late", told: true, err: errLate, stored: []string{"1", "3", "4"}, failed: []string{"2"}},
		{name: "told, refused", told: true, err: store.ErrTooLarge, stored: []string{"1", "3", "4"}, failed: []string{"2"}},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			n := newNode(t)
			reached, end := n.hold("2")
			c := n.client("c", tc.told)
			c.send("T/a", tc.retain, "1", "2", "3", "4")
			reached()
			end(tc.err)
			var failed []string
			results := c.results()
			for _, payload := range []string{"1", "2", "3", "4"} {
				if results[payload] != nil {
					failed = append(failed, payload)
				}
			}
			require.Equal(t, tc.failed, failed)
			require.Equal(t, tc.stored, n.stored("T/a"))
			if tc.told {
				return
			}
			require.ErrorIs(t, results["3"], ErrEnded)
			c.send("T/a", false, "5")
			c.send("T/b", false, "5")
			require.ErrorIs(t, c.results()["5"], ErrEnded, "the old connection takes nothing more, to whatever topic")
			again := n.client("c", false)
			again.send("T/a", tc.retain, "2", "3", "4", "5")
			again.results()
			require.Equal(t, append(tc.stored, "2", "3", "4", "5"), n.stored("T/a"))
			require.Empty(t, n.stored("T/b"))
		})
	}
}

func TestANewConnectionsMessagesWaitForThoseOfTheOldOne(t *testing.T) {
	cases := []struct {
		name   string
		err    error // the result of the old connection's append in progress
		stored []string
	}{
		{"which are stored", nil, []string{"1", "2", "3", "1", "2", "3", "4"}},
		{"which are withheld after a failure", errLate, []string{"1", "2", "3", "4"}},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			n := newNode(t)
			reached, end := n.hold("1")
			old := n.client("c", false)
			old.send("T/a", false, "1", "2", "3")
			reached()
			old.lanes.Stop()
			fresh := n.client("c", false)
			fresh.send("T/a", false, "1", "2", "3", "4")
			fresh.send("T/b", false, "other")
			require.Eventually(t, func() bool { return len(n.stored("T/b")) == 1 }, patience, time.Millisecond, "other topics do not wait")
			require.Empty(t, n.stored("T/a"))
			end(tc.err)
			for payload, err := range fresh.results() {
				require.NoError(t, err, payload)
			}
			require.Equal(t, tc.stored, n.stored("T/a"))
		})
	}
}

func TestAStoppedConnectionTakesNothingMoreAndFinishesWhatItHas(t *testing.T) {
	n := newNode(t)
	reached, end := n.hold("1")
	c := n.client("c", true)
	c.send("T/a", false, "1", "2")
	reached()
	c.lanes.Stop()
	c.send("T/a", false, "3")
	end(nil)
	results := c.results()
	require.NoError(t, results["2"])
	require.ErrorIs(t, results["3"], ErrEnded)
	require.Equal(t, []string{"1", "2"}, n.stored("T/a"))
}

func TestAWillIsStoredBehindWhatItsClientSent(t *testing.T) {
	for _, err := range []error{nil, errLate} {
		t.Run(fmt.Sprint(err), func(t *testing.T) {
			n := newNode(t)
			reached, end := n.hold("1")
			c := n.client("c", false)
			c.send("T/a", false, "1", "2")
			reached()
			c.lanes.Stop()
			done := make(chan error, 1)
			go func() {
				done <- n.p.One(t.Context(), "c", &store.Message{Topic: "T/a", Payload: []byte("will"), QoS: 1})
			}()
			require.Eventually(t, func() bool { return n.waiting("c", "T/a", "will") }, patience, time.Millisecond)
			end(err)
			require.NoError(t, <-done)
			want := []string{"1", "2", "will"}
			if err != nil {
				want = []string{"will"}
			}
			require.Equal(t, want, n.stored("T/a"))
		})
	}
}

// waiting reports whether a payload is the last one of a lane.
func (n *node) waiting(client, name, payload string) bool {
	key := client + "\x00" + name
	s := n.p.lanes.of(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	last := s.last[key]
	return last != nil && string(last.m.Payload) == payload
}

func TestAWillWhoseTimeIsOverIsNotStoredLater(t *testing.T) {
	n := newNode(t)
	reached, end := n.hold("1")
	c := n.client("c", true)
	c.send("T/a", false, "1")
	reached()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- n.p.One(ctx, "c", &store.Message{Topic: "T/a", Payload: []byte("will"), QoS: 1}) }()
	require.Eventually(t, func() bool { return n.waiting("c", "T/a", "will") }, patience, time.Millisecond)
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	c.send("T/a", false, "2")
	end(nil)
	c.results()
	require.Equal(t, []string{"1", "2"}, n.stored("T/a"))
}

func TestAStoreThatComesBackInTimeCostsNobodyAnything(t *testing.T) {
	n := newNode(t)
	n.faults.FailAppends(fmt.Errorf("%w: no broker", store.ErrUnavailable))
	c := n.client("c", false)
	c.send("T/a", false, "1", "2", "3")
	time.AfterFunc(100*time.Millisecond, func() { n.faults.FailAppends(nil) })
	for payload, err := range c.results() {
		require.NoError(t, err, payload)
	}
	require.Equal(t, []string{"1", "2", "3"}, n.stored("T/a"))
}

func TestLanesLeaveNothingBehind(t *testing.T) {
	n := newNode(t)
	c := n.client("c", true)
	for i := range 100 {
		c.send("T/"+strconv.Itoa(i), false, "1", "2")
	}
	c.results()
	require.Eventually(t, func() bool {
		left := 0
		for i := range n.p.lanes.shards {
			s := &n.p.lanes.shards[i]
			s.mu.Lock()
			left += len(s.last)
			s.mu.Unlock()
		}
		return left == 0
	}, patience, time.Millisecond)
}

// TestFirstDeliveriesAreInOrderWhateverFails makes clients send numbered messages while the store fails now and then. A client whose
// connection ends reconnects and sends its unacknowledged messages again, as MQTT requires.
func TestFirstDeliveriesAreInOrderWhateverFails(t *testing.T) {
	const clients, messages, window = 8, 200, 16
	n := newNode(t)
	n.faults.JudgeAppends(func(context.Context, *store.Message) error {
		if rand.IntN(40) == 0 {
			return errLate
		}
		return nil
	})
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() { sendAll(n, strconv.Itoa(i), messages, window) })
	}
	wg.Wait()
	for i := range clients {
		next := 0
		for _, payload := range n.stored("T/" + strconv.Itoa(i)) {
			number, err := strconv.Atoi(payload)
			require.NoError(t, err)
			require.LessOrEqual(t, number, next, "client %d: %d came before %d", i, number, next)
			next = max(next, number+1)
		}
		require.Equal(t, messages, next)
	}
}

// ownership is a Holder that tests change.
type ownership struct{ held, lost atomic.Bool }

func (o *ownership) Held() bool { return o.held.Load() || o.lost.Load() }
func (o *ownership) Lost() bool { return o.lost.Load() }

func TestWhatAConnectionThatIsOverMayNotStoreHoldsUpNoNewerOne(t *testing.T) {
	n := newNode(t)
	var owns ownership
	old := &client{n: n, lanes: n.p.Lanes("c", &owns), outcomes: make(map[string]error)}
	owns.held.Store(true) // the node is fenced
	old.send("T/a", false, "old", "older")
	old.lanes.Stop()
	newer := n.client("c", false)
	newer.send("T/a", false, "new")
	owns.lost.Store(true) // the client was at another node meanwhile
	require.NoError(t, old.lanes.Settle(t.Context()))
	for _, payload := range []string{"old", "older"} {
		require.ErrorIs(t, old.results()[payload], ErrEnded)
	}
	require.NoError(t, newer.results()["new"])
	require.Equal(t, []string{"new"}, n.stored("T/a"))
}

// sendAll publishes messages like an MQTT 3.1.1 client that keeps a window of messages in flight.
func sendAll(n *node, id string, messages, window int) {
	var mu sync.Mutex
	changed := sync.NewCond(&mu)
	acked := make([]bool, messages)
	for first := 0; first < messages; {
		l := n.p.Lanes(id, nil)
		over := false
		for i := first; i < messages; i++ {
			mu.Lock()
			for !over && i >= first+window {
				for first < messages && acked[first] {
					first++
				}
				if i >= first+window {
					changed.Wait()
				}
			}
			stop := over
			mu.Unlock()
			if stop {
				break
			}
			l.Publish(&store.Message{Topic: "T/" + id, Payload: []byte(strconv.Itoa(i)), QoS: 1}, func(err error) {
				if err != nil {
					l.Break()
				}
				mu.Lock()
				defer mu.Unlock()
				acked[i] = acked[i] || err == nil
				over = over || err != nil
				changed.Broadcast()
			})
		}
		// Reconnect once everything is acknowledged or the connection is over.
		mu.Lock()
		for {
			for first < messages && acked[first] {
				first++
			}
			if over || first == messages {
				break
			}
			changed.Wait()
		}
		mu.Unlock()
	}
}

func TestErrorsSayWhatCanBeMended(t *testing.T) {
	for err, refused := range map[error]bool{
		store.ErrUnknownTopic: true, store.ErrInvalidTopic: true, store.ErrTooLarge: true,
		store.ErrUnavailable: false, errLate: false, ErrEnded: false,
	} {
		require.Equal(t, refused, Refused(errors.Join(errors.New("why"), err)), "%v", err)
	}
}

func TestAMessageThatWaitsToBeTriedAgainIsWithheldOnceItsLanesAreBroken(t *testing.T) {
	n := newNode(t)
	n.faults.FailAppends(store.ErrUnavailable)
	c := n.client("c", true)
	c.send("T/a", false, "1", "2")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, c.lanes.Settle(ended), context.Canceled, "both wait")
	c.lanes.Break()
	n.faults.FailAppends(nil)
	require.NoError(t, c.lanes.Settle(t.Context()))
	require.Equal(t, map[string]error{"1": ErrEnded, "2": ErrEnded}, c.results())
	require.Empty(t, n.stored("T/a"))

	next := n.client("c", true)
	next.send("T/a", false, "3")
	require.NoError(t, next.lanes.Settle(t.Context()))
	require.NoError(t, next.lanes.Settle(ended), "nothing waits")
	require.Equal(t, []string{"3"}, n.stored("T/a"))
}
