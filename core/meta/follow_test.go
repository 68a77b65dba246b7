package meta

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/meta/metatest"
	"github.com/lmqgate/lmqgate/core/meta/migration"
)

func TestAPlanThatSomebodyWroteByHandHoldsWritesForABoundedTime(t *testing.T) {
	for hold, want := range map[time.Duration]time.Duration{10 * 24 * time.Hour: migration.MaxHold, 1<<63 - 1: migration.MaxHold, -time.Hour: time.Second,
		5 * time.Second: 5 * time.Second} {
		require.Equal(t, want, (&migration.Plan{Hold: hold.Milliseconds()}).HoldTime())
	}
	require.Equal(t, migration.MaxHold, (&migration.Plan{Hold: 1<<63 - 1}).HoldTime())
}

func TestRemovingAPlanLetsWritesGoOn(t *testing.T) {
	for name, plan := range map[string]migration.Plan{
		"decided at the source":                           {ID: "by-hand", Phase: migration.Fence, Plugin: "nonsense", Hold: (10 * 24 * time.Hour).Milliseconds(), AtSource: true},
		"decided at a target that there is not, at first": {ID: "by-hand", Phase: migration.Fence, Plugin: "nonsense", Hold: 1000},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := metatest.New(metatest.Full())
			t.Cleanup(b.Close)
			m := start(t, b, "n1")
			board := migration.Board{Client: b.Client()}
			require.NoError(t, m.SaveSession(t.Context(), &Session{ClientID: "before", Created: time.Now()}))
			require.NoError(t, board.SetPlan(t.Context(), plan))
			eventually(t, func() bool { return errors.Is(m.backend.gate.closed(), ErrUnavailable) })
			require.NoError(t, board.RemovePlan(t.Context()))
			eventually(t, func() bool { return m.backend.gate.closed() == nil })
			require.NoError(t, m.SaveSession(t.Context(), &Session{ClientID: "after", Created: time.Now()}))
			eventually(t, func() bool { return m.Ready() == nil })
		})
	}
}

func TestAPlanThatNoGatewayWritesEndsNone(t *testing.T) {
	for name, plan := range map[string]migration.Plan{
		"an unknown phase":  {ID: "by-hand", Phase: "zzz", Plugin: "p", Hold: 1},
		"no id":             {Phase: migration.Prepare, Plugin: "p"},
		"no id, fenced":     {Phase: migration.Fence, Plugin: "p", Hold: 1000},
		"no id, moved away": {Phase: migration.Moved, Plugin: "p"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := metatest.New(metatest.Full())
			t.Cleanup(b.Close)
			board := migration.Board{Client: b.Client()}
			require.NoError(t, board.SetPlan(t.Context(), plan))
			m := launch(t, b, "n1") // with the plan there from the start
			if plan.ID == "" {
				eventually(t, func() bool { return m.Ready() == nil })
				require.NoError(t, m.SaveSession(t.Context(), &Session{ClientID: "a", Created: time.Now()}))
			} else {
				eventually(t, func() bool { return m.Ready() != nil && strings.Contains(m.Ready().Error(), "run the newer lmqgate") })
			}
			require.NoError(t, board.SetPlan(t.Context(), migration.Plan{ID: "over", Phase: migration.Aborted}))
			require.NoError(t, board.SetPlan(t.Context(), plan))
			require.NoError(t, board.RemovePlan(t.Context()))
			eventually(t, func() bool { return m.Ready() == nil })
			require.NoError(t, m.SaveSession(t.Context(), &Session{ClientID: "b", Created: time.Now()}))
		})
	}
}

func TestATimeThatSomebodyWroteByHandCanBeShown(t *testing.T) {
	for _, ms := range []int64{1, -1, -1 << 63, 1<<63 - 1, 1 << 62} {
		_, err := fromMillis(ms).MarshalJSON()
		require.NoError(t, err, ms)
		require.False(t, fromMillis(ms).IsZero())
	}
}

// syncBuffer is a buffer for concurrent writers.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func TestBadValuesAreNamedOnceHoweverManyThereAre(t *testing.T) {
	var b syncBuffer
	counted, err := newMetrics(nil)
	require.NoError(t, err)
	m := &Meta{log: slog.New(slog.NewTextHandler(&b, nil)), metrics: counted, complain: &complaints{said: map[string]string{}}}
	for range 3 {
		for i := range 3 * maxComplaints {
			m.invalid("ns", fmt.Sprint("key", i), errors.New("bad"))
		}
	}
	require.Equal(t, maxComplaints, strings.Count(b.b.String(), "metadata value passed over"))
	require.Equal(t, 1, strings.Count(b.b.String(), "are not named until"))
}
