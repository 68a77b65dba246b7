package record

import (
	"context"
	"encoding/json"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/meta"
)

// disk is a storage that remembers what was written, in order.
type disk struct {
	takes time.Duration // the duration of one write
	fails error

	mu      sync.Mutex
	written []*meta.Session
	gone    []string
	writing atomic.Int32
	overlap atomic.Bool
}

func (d *disk) SaveSession(_ context.Context, s *meta.Session) error {
	if d.writing.Add(1) > 1 {
		d.overlap.Store(true)
	}
	defer d.writing.Add(-1)
	time.Sleep(d.takes)
	if _, err := json.Marshal(s); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fails != nil {
		return d.fails
	}
	d.written = append(d.written, s)
	return nil
}

func (d *disk) DropSession(_ context.Context, s *meta.Session) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fails != nil {
		return d.fails
	}
	d.gone = append(d.gone, s.ClientID)
	return nil
}

func subscribe(r *Record, filter string) {
	r.Update(func(s *meta.Session) { s.Subscriptions = append(s.Subscriptions, meta.Subscription{Filter: filter}) })
}

func TestSavesAtOneTimeShareAWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{takes: time.Second}
		r := New(d, &meta.Session{ClientID: "c"})
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				subscribe(r, strconv.Itoa(i))
				require.NoError(t, r.Save(t.Context()))
			})
		}
		wg.Wait()
		require.False(t, d.overlap.Load(), "writes are ordered")
		require.Len(t, d.written, 2, "the first, and one for all that came during it")
		require.Len(t, d.written[1].Subscriptions, 50)
		require.NoError(t, r.Save(t.Context()))
		require.Len(t, d.written, 2, "nothing has changed")
	})
}

func TestWhatIsWrittenDoesNotChangeAnyMore(t *testing.T) {
	d := &disk{}
	r := New(d, &meta.Session{ClientID: "c", Attributes: map[string]string{"k": "1"},
		Subscriptions: []meta.Subscription{{Filter: "a", Start: map[string]int64{"b1": 1}}}})
	require.NoError(t, r.Save(t.Context()))
	r.Update(func(s *meta.Session) {
		s.Attributes["k"] = "2"
		s.Subscriptions[0].Filter, s.Subscriptions[0].Start["b1"] = "b", 2
	})
	require.Equal(t, "1", d.written[0].Attributes["k"])
	require.Equal(t, meta.Subscription{Filter: "a", Start: map[string]int64{"b1": 1}}, d.written[0].Subscriptions[0])
	require.Equal(t, "2", r.Snapshot().Attributes["k"])
}

func TestChangesDuringAWriteDoNotMeetTheEncoder(t *testing.T) {
	d := &disk{}
	r := New(d, &meta.Session{ClientID: "c"})
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for n := range 200 {
				r.Update(func(s *meta.Session) { AddQoS2Topic(s, "t"+strconv.Itoa(i)); s.Disconnected = time.Unix(int64(n), 0) })
			}
		})
		wg.Go(func() {
			for range 50 {
				require.NoError(t, r.Save(t.Context()))
			}
		})
	}
	wg.Wait()
	require.NoError(t, r.Save(t.Context()))
	topics, journal := QoS2Topics(d.written[len(d.written)-1])
	require.True(t, journal)
	require.Equal(t, map[string]bool{"t0": true, "t1": true, "t2": true, "t3": true}, topics)
}

func TestASaveThatFailsIsMadeUpForByTheNext(t *testing.T) {
	d := &disk{fails: meta.ErrUnavailable}
	r := New(d, &meta.Session{ClientID: "c"})
	require.ErrorIs(t, r.Save(t.Context()), meta.ErrUnavailable)
	require.ErrorIs(t, r.Delete(t.Context()), meta.ErrUnavailable)
	d.fails = nil
	require.NoError(t, r.Save(t.Context()))
	require.Len(t, d.written, 1)
}

func TestNothingIsWrittenAfterTheSessionHasEnded(t *testing.T) {
	d := &disk{}
	r := New(d, &meta.Session{ClientID: "c"})
	require.NoError(t, r.Save(t.Context()))
	require.NoError(t, r.Delete(t.Context()))
	require.NoError(t, r.Save(t.Context()), "what was written counts")
	subscribe(r, "a")
	require.ErrorIs(t, r.Save(t.Context()), ErrDeleted)
	require.Len(t, d.written, 1)
	require.Equal(t, []string{"c"}, d.gone)
}

func TestWhoWaitsForAWriteStopsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{takes: time.Minute}
		r := New(d, &meta.Session{ClientID: "c"})
		done := make(chan error, 1)
		go func() { done <- r.Save(context.Background()) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, r.Save(ctx), context.DeadlineExceeded)
		require.ErrorIs(t, r.Delete(ctx), context.DeadlineExceeded)
		require.NoError(t, <-done)
	})
}

func TestAttributes(t *testing.T) {
	s := &meta.Session{}
	require.Nil(t, P2PStarts(s))
	SetP2PStarts(s, map[string]int64{"b1": 3})
	require.Equal(t, map[string]int64{"b1": 3}, P2PStarts(s))
	for _, c := range []struct {
		add  string
		want string
	}{{"", `[]`}, {"b", `["b"]`}, {"a", `["a","b"]`}, {"a", `["a","b"]`}, {"", `["a","b"]`}} {
		got := AddQoS2Topic(s, c.add)
		require.Equal(t, c.want, s.Attributes[qos2Topics])
		read, journal := QoS2Topics(s)
		require.True(t, journal)
		require.Equal(t, got, read)
	}
	for _, text := range []string{"", "no list", `{"a":1}`} {
		topics, journal := QoS2Topics(&meta.Session{Attributes: map[string]string{qos2Topics: text}})
		require.True(t, journal)
		require.Empty(t, topics)
	}
	topics, journal := QoS2Topics(&meta.Session{})
	require.False(t, journal)
	require.NotNil(t, topics)
}
