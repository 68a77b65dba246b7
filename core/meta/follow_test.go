package meta

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
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
			on(t, metatest.Full(), func(t *testing.T, b *metatest.Backend) {
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
		})
	}
}

// The bound is in virtual time.
func TestAPlanWhoseTargetCannotBeAskedHoldsWritesForABoundedTime(t *testing.T) {
	const hold = migration.MaxHold
	bound := 2*hold + noticeTime
	for name, c := range map[string]struct {
		before func(t *testing.T, board migration.Board) // answers on the board when the node starts
		held   bool                                      // whether writes stay held
	}{
		"nobody has moved":           {func(*testing.T, migration.Board) {}, false},
		"another node has moved":     {answered("n2", migration.Away), true},
		"another node failed too":    {answered("n2", migration.Failed), false},
		"this node had answered":     {answered("n1", migration.Held), true},
		"this node had only seen it": {answered("n1", migration.Seen), false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := metatest.New(metatest.Full())
				defer b.Close()
				board := migration.Board{Client: b.Client()}
				c.before(t, board)
				require.NoError(t, board.SetPlan(t.Context(), migration.Plan{ID: "p", Phase: migration.Fence, Plugin: "nonsense",
					Hold: (10 * 24 * time.Hour).Milliseconds()}))
				var log syncBuffer
				o := Options{Client: b.Client(), Traits: b.Traits, NodeID: "n1", CallTimeout: time.Second, WriteTimeout: 2 * time.Second,
					PollInterval: time.Second, HeartbeatInterval: time.Second, Log: slog.New(slog.NewTextHandler(&log, nil))}
				m, err := New(o)
				require.NoError(t, err)
				require.NoError(t, m.Start(t.Context()))
				defer func() { require.NoError(t, m.Close()) }()
				time.Sleep(bound - 5*time.Second)
				require.Error(t, m.Ready())
				require.ErrorIs(t, m.backend.gate.closed(), ErrUnavailable)
				time.Sleep(15 * time.Second)
				if c.held {
					require.Error(t, m.Ready())
					require.ErrorIs(t, m.backend.gate.closed(), ErrUnavailable)
					return
				}
				require.NoError(t, m.Ready())
				require.NoError(t, m.backend.gate.closed())
				require.NoError(t, m.SaveSession(t.Context(), &Session{ClientID: "a", Created: time.Now()}))
				require.Equal(t, 1, strings.Count(log.text(), "aborted, everything stays"))

				// A decision that is noted later counts all the same.
				require.NoError(t, board.SetPlan(t.Context(), migration.Plan{ID: "p", Phase: migration.Moved, Plugin: "nonsense"}))
				time.Sleep(15 * time.Second)
				require.Error(t, m.Ready())
			})
		})
	}
}

// answered writes the answer of a node to the plan "p".
func answered(node string, state migration.State) func(*testing.T, migration.Board) {
	return func(t *testing.T, board migration.Board) {
		require.NoError(t, board.SetAnswer(t.Context(), node, migration.Answer{ID: "p", State: state, Instance: "before"}))
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
			on(t, metatest.Full(), func(t *testing.T, b *metatest.Backend) {
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
		})
	}
}

func TestAPlanThatCannotBeReadHoldsNoWrites(t *testing.T) {
	on(t, metatest.Full(), func(t *testing.T, b *metatest.Backend) {
		m := start(t, b, "n1")
		for i, plan := range []string{"garbage", "", "[]", `{"v":"x"}`, `{"v":1,"id":5,"phase":"fence"}`,
			fmt.Sprintf(`{"v":1,"id":%q,"phase":"fence","plugin":"p","hold_ms":1000}`, strings.Repeat("x", migration.MaxID+1))} {
			b.Edit(migration.Namespace, "plan", plan)
			m.backend.gate.expire() // the next write reads the plan
			require.NoError(t, m.SaveSession(t.Context(), &Session{ClientID: fmt.Sprint(i), Created: time.Now()}), plan)
			require.NoError(t, m.Ready(), plan)
		}
	})
}

// What a later release writes may have any form.
func TestAPlanOfALaterReleaseHoldsWrites(t *testing.T) {
	on(t, metatest.Full(), func(t *testing.T, b *metatest.Backend) {
		m := start(t, b, "n1")
		b.Edit(migration.Namespace, "plan", `{"v":2,"id":{"of":"another form"}}`)
		m.backend.gate.expire()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorContains(t, m.SaveSession(ctx, &Session{ClientID: "c", Created: time.Now()}), "use the newer one")
		require.NoError(t, migration.Board{Client: b.Client()}.RemovePlan(t.Context()))
		require.NoError(t, m.SaveSession(t.Context(), &Session{ClientID: "c", Created: time.Now()}))
	})
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

func (s *syncBuffer) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
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
