package events

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/internal/leftover"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(leftover.Patient(m)) }

// shelf is a store that can be away, and keeps few messages at a time.
type shelf struct {
	mu    sync.Mutex
	away  error
	wrong string // a topic whose messages are too large
	most  int
	kept  []Event
	calls int
}

func (s *shelf) store(_ context.Context, batch []*store.Message) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	if s.away != nil {
		return 0, s.away
	}
	for i, m := range batch {
		if s.most > 0 && i == s.most {
			return i, store.ErrUnavailable
		}
		if m.Topic == s.wrong {
			return i, store.ErrTooLarge
		}
		var e Event
		if err := json.Unmarshal(m.Payload, &e); err != nil {
			return i, err
		}
		s.kept = append(s.kept, e)
	}
	return len(batch), nil
}

func (s *shelf) setAway(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = err
}

func (s *shelf) numbers() (out []uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.kept {
		out = append(out, e.Seq)
	}
	return out
}

// value is a metric of events.
func value(t *testing.T, r prometheus.Gatherer, name string) float64 {
	t.Helper()
	families, err := r.Gather()
	require.NoError(t, err)
	for _, f := range families {
		if f.GetName() == "lmqgate_events_"+name {
			m := f.GetMetric()[0]
			return m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

func upTo(n uint64) (out []uint64) {
	for i := range n {
		out = append(out, i+1)
	}
	return out
}

func TestEventsAreStoredInOrderWithNumbersHoweverFewAreTakenAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{most: 3}
		l := New(Options{Node: "n", Store: s.store})
		l.Start()
		for range 20 {
			l.Add(Event{Kind: Connected, ClientID: "c"})
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Equal(t, upTo(20), s.numbers())
		first := s.kept[0]
		require.Equal(t, []any{"n", Connected, "c"}, []any{first.Node, first.Kind, first.ClientID})
		require.NotZero(t, first.Run)
		l.Close(t.Context())
	})
}

func TestEventsWaitWhileTheStoreIsAwayAndWhatHasNoRoomIsLeftOutAndCounted(t *testing.T) {
	for name, o := range map[string]Options{"number": {Most: 10}, "bytes": {Bytes: 10 * 128}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &shelf{away: store.ErrUnavailable}
				r := prometheus.NewRegistry()
				o.Node, o.Store, o.Registerer = "n", s.store, r
				l := New(o)
				l.Start()
				for range 30 {
					l.Add(Event{Kind: Disconnected})
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				require.Empty(t, s.numbers())
				require.Less(t, s.calls, 30, "pauses become longer")
				s.setAway(nil)
				time.Sleep(time.Minute)
				l.Add(Event{Kind: Disconnected})
				time.Sleep(time.Second)
				synctest.Wait()
				got := s.numbers()
				kept := len(got) - 1
				require.Greater(t, kept, 5)
				require.Less(t, kept, 15)
				require.Equal(t, append(upTo(uint64(kept)), 31), got, "the numbers tell what is missing")
				require.InDelta(t, 30-kept, value(t, r, "left_out_total"), 0)
				require.InDelta(t, kept+1, value(t, r, "stored_total"), 0)
				require.Zero(t, value(t, r, "waiting"))
				l.Close(t.Context())
			})
		})
	}
}

func TestAnEventThatIsTooLargeHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{wrong: Subscribed.Topic()}
		l := New(Options{Node: "n", Store: s.store})
		l.Start()
		for _, k := range []Kind{Connected, Subscribed, Subscribed, Disconnected} {
			l.Add(Event{Kind: k})
		}
		time.Sleep(time.Second)
		synctest.Wait()
		require.Equal(t, []uint64{1, 4}, s.numbers())
		l.Close(t.Context())
	})
}

func TestAStopStoresWhatWaitsAndTakesNothingAnyMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{}
		r := prometheus.NewRegistry()
		l := New(Options{Node: "n", Store: s.store, Registerer: r})
		l.Add(Event{Kind: Connected})
		l.Add(Event{Kind: Disconnected})
		l.Start()
		l.Close(t.Context())
		l.Add(Event{Kind: Connected})
		require.Equal(t, upTo(2), s.numbers())
		require.InDelta(t, 1, value(t, r, "left_out_total"), 0)
	})
}

func TestAStopWaitsNoLongerThanItMayForAStoreThatIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{away: errors.New("gone")}
		r := prometheus.NewRegistry()
		l := New(Options{Node: "n", Store: s.store, Registerer: r})
		l.Start()
		l.Add(Event{Kind: Connected})
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		began := time.Now()
		l.Close(ctx)
		require.Equal(t, 5*time.Second, time.Since(began))
		require.InDelta(t, 1, value(t, r, "left_out_total"), 0)
	})
}

func TestLongTextsOfClientsAreCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{}
		l := New(Options{Node: "n", Store: s.store})
		l.Start()
		l.Add(Event{Kind: MessageDropped, ClientID: strings.Repeat("c", 60_000), Topic: strings.Repeat("t", 9000)})
		l.Add(Event{Kind: Subscribed, Filters: []Filter{{Filter: strings.Repeat("<", 60_000)}}})
		l.Close(t.Context())
		require.Less(t, len(s.kept[0].ClientID)+len(s.kept[0].Topic), 2*maxText+10)
		require.Less(t, len(s.kept[1].Filters[0].Filter), maxText+10)
	})
}

func TestNobodyIsToldAnythingWithoutALog(t *testing.T) {
	var l *Log
	require.False(t, l.On())
	require.Zero(t, testing.AllocsPerRun(100, func() { l.Add(Event{Kind: Connected, ClientID: "c"}) }))
}
