package session

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/store"
)

// TestWillsArePublishedWhateverHappens lets clients with wills connect here and there, leave, break off, come back in time, late or never,
// while nodes crash and lose their way to the store. The will of a client that is gone is published, and that of one that left or came back
// in time is not.
func TestWillsArePublishedWhateverHappens(t *testing.T) {
	inChaos(t, chaosFaults{down: 40 * time.Second}, (*chaos).runWills)
}

// mortal is a client that has another will at each connection. In the end it breaks off and does not come back.
type mortal struct {
	roamer
	wills []*lastWill
	last  *lastWill // of the connection
	ended time.Time // when the connection was seen to be over; zero: it is not
}

// lastWill is a will, how often it must be published at least, or whether it must never be, and why.
type lastWill struct {
	payload string
	delay   time.Duration
	least   int
	never   bool
	why     string
}

const mortals = 24

func (c *chaos) runWills(lasts time.Duration) {
	all := make([]*mortal, mortals)
	var living sync.WaitGroup
	for i := range all {
		all[i] = &mortal{roamer: roamer{c: c, id: fmt.Sprint("m", i), rand: c.dice()}}
		living.Go(func() { all[i].run(lasts) })
	}
	c.storm(lasts)
	living.Wait()
	c.settled()
	time.Sleep(3 * time.Minute) // longer than delays, the grace of a restart, and what nodes wait for one another
	published := map[string]int{}
	for _, r := range c.stored("wills") {
		published[string(r.Payload)]++
	}
	for _, m := range all {
		for _, w := range m.wills {
			if n := published[w.payload]; n < w.least || n > 0 && w.never { // a will that is not known to be stored is stored again
				c.fail("will %s with delay %v was published %d times: %s", w.payload, w.delay, n, w.why)
			}
		}
	}
}

// stored returns all that the store has of a first-level topic.
func (c *chaos) stored(first string) []*store.Record {
	var st store.Store = c.store.own
	if c.fleet != nil {
		st = c.fleet
	}
	brokers, err := st.Brokers(context.Background(), first)
	require.NoError(c.t, err)
	var all []*store.Record
	for _, broker := range brokers {
		for at := int64(0); ; {
			b, err := st.ReadPartition(context.Background(), first, store.Partition{Broker: broker}, at, 100)
			if errors.Is(err, store.ErrUnknownTopic) { // nothing was ever stored
				return nil
			}
			require.NoError(c.t, err)
			if b.Next == at {
				break
			}
			all, at = append(all, b.Records...), b.Next
		}
	}
	return all
}

func (m *mortal) run(lasts time.Duration) {
	dies := time.Now().Add(later(lasts, m.rand.Int64N))
	time.Sleep(later(5*time.Second, m.rand.Int64N))
	for {
		for !m.tries() {
			time.Sleep(later(500*time.Millisecond, m.rand.Int64N))
		}
		m.lives(later(6*time.Second, m.rand.Int64N))
		if time.Now().After(dies) {
			break
		}
		m.parts()
		m.stays(later(time.Minute, m.rand.Int64N))
	}
	m.breaksOff()
	m.last.least, m.last.why = 1, "its client broke off and did not come back"
	if m.rand.IntN(2) == 0 && !m.c.stopped() {
		m.last.why = "its client broke off and was refused when it came back"
		if time.Sleep(later(5*time.Second, m.rand.Int64N)); m.tries() {
			m.breaksOff()
			m.last.least, m.last.why = 1, "its client came back, broke off and did not come back again"
		}
	}
}

// tries tries to connect.
func (m *mortal) tries() bool {
	w := &lastWill{payload: fmt.Sprint(m.id, "-", len(m.wills)), delay: []time.Duration{0, 5 * time.Second, 30 * time.Second}[m.rand.IntN(3)]}
	n := m.c.node(m.c.ids[m.rand.IntN(len(m.c.ids))])
	if n == nil {
		return false
	}
	m.wills = append(m.wills, w)
	if m.ended.IsZero() {
		m.ended = time.Now() // a CONNECT that is refused can end the older connection
	}
	ctx, cancel := context.WithTimeout(context.Background(), later(15*time.Second, m.rand.Int64N))
	conn, err := n.dial(ctx, m.id, durable, will(w.payload, w.delay))
	cancel()
	m.c.note("%s at %s with will %s, delay %v: %v", m.id, n.id, w.payload, w.delay, err)
	if err != nil {
		w.why = "its CONNECT was refused"
		return false
	}
	if old := m.last; old != nil && old.delay > 0 && time.Since(m.ended) < old.delay-time.Second && !n.crashed.Load() {
		old.least, old.never, old.why = 0, true, "its client was back in time"
	} else if old != nil {
		old.least = 0
	}
	if m.conn != nil { // it lingers, as a connection of a client that has changed its network
		old := m.conn
		m.c.tasks.Go(old.drop)
	}
	m.conn, m.last, m.ended = conn, w, time.Time{}
	return true
}

// lives stays connected for a while.
func (m *mortal) lives(d time.Duration) {
	for until := time.Now().Add(d); time.Now().Before(until); time.Sleep(20 * time.Millisecond) {
		if m.lost() {
			m.breaksOff()
			return
		}
	}
}

// stays stays away for a while, or connected if it is.
func (m *mortal) stays(d time.Duration) {
	if m.conn != nil {
		m.lives(d)
		return
	}
	for until := time.Now().Add(d); time.Now().Before(until) && !m.c.stopped(); {
		time.Sleep(20 * time.Millisecond)
	}
}

// parts ends the connection, in any way or not at all.
func (m *mortal) parts() {
	if m.conn == nil {
		return
	}
	switch m.rand.IntN(3) {
	case 0:
		conn, w := m.conn, m.last
		if conn.leave(); !conn.n.crashed.Load() && !m.c.metadata {
			w.never, w.why = true, "its client left with DISCONNECT"
		}
		m.c.note("%s has left", m.id)
		m.conn, m.ended = nil, time.Now()
	case 1:
		m.breaksOff()
	}
}

func (m *mortal) breaksOff() {
	if m.conn == nil {
		return
	}
	m.c.note("%s breaks off", m.id)
	m.ended = time.Now()
	conn := m.conn
	m.c.tasks.Go(conn.drop)
	m.conn = nil
}
