package backlog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

// counts is a Source with counts and count durations that a test sets.
type counts struct {
	mu       sync.Mutex
	sessions []string
	groups   []string
	of       map[string]int64 // below 0: the count fails
	takes    time.Duration
	busy     time.Duration
	lists    time.Duration // how long listing the sessions takes
}

func (c *counts) Sessions(context.Context) ([]string, error) {
	time.Sleep(c.lists)
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sessions, nil
}
func (c *counts) Groups(context.Context) ([]string, error) { return c.groups, nil }

func (c *counts) Session(_ context.Context, name string) (int64, error) {
	time.Sleep(c.takes)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy += c.takes
	if c.of[name] < 0 {
		return 0, errors.New("the broker is away")
	}
	return c.of[name], nil
}

func (c *counts) Group(ctx context.Context, name string) (int64, error) { return c.Session(ctx, name) }

func (c *counts) set(name string, n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.of[name] = n
}

// many returns sessions c000, c001, and so on. The backlog of each is its number.
func many(n int) *counts {
	c := &counts{of: map[string]int64{}}
	for i := range n {
		name := fmt.Sprintf("c%03d", i)
		c.sessions = append(c.sessions, name)
		c.of[name] = int64(i)
	}
	return c
}

func TestTheLargestAndTheSumAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := many(100)
		src.groups = []string{"$share/g/T/#", "$share/idle/T/#"}
		src.of["$share/g/T/#"] = 7
		r := prometheus.NewRegistry()
		c := New(Options{Source: src, Registerer: r})
		require.Empty(t, shown(t, r), "nothing is shown that was not counted")
		c.Start()
		defer c.Close()
		synctest.Wait()
		s := c.Latest()
		require.EqualValues(t, 99*100/2, s.Messages)
		require.Equal(t, 99, s.Behind)
		require.Equal(t, 100, s.Counted)
		require.Len(t, s.Sessions, Largest)
		require.Equal(t, Count{"c099", 99}, s.Sessions[0])
		require.Equal(t, Count{"c080", 80}, s.Sessions[Largest-1])
		require.Equal(t, []Count{{"$share/g/T/#", 7}}, s.Groups)
		m := shown(t, r)
		require.EqualValues(t, 7, m["lmqgate_backlog_group_messages $share/g/T/#"])
		require.EqualValues(t, 99, m["lmqgate_backlog_session_messages c099"])
		require.EqualValues(t, s.Messages, m["lmqgate_backlog_messages"])
		src.set("c099", 0)
		time.Sleep(31 * time.Second)
		synctest.Wait()
		require.Equal(t, Count{"c098", 98}, c.Latest().Sessions[0], "the next round counts anew")
	})
}

func TestListingAndCountingTakeAFifthOfTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := many(100)
		src.takes, src.lists, src.busy = 20*time.Millisecond, time.Second, time.Second
		c := New(Options{Source: src})
		began := time.Now()
		s, err := c.round(t.Context())
		require.NoError(t, err)
		require.Equal(t, 100, s.Counted)
		require.Equal(t, 5*src.busy, time.Since(began))
	})
}

func TestWhatCannotBeCountedIsLeftOutAndTheLastCountStaysWhereNothingCan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := many(50)
		src.of["c049"] = -1
		c := New(Options{Source: src})
		c.Start()
		defer c.Close()
		synctest.Wait()
		s := c.Latest()
		require.Equal(t, 49, s.Counted)
		require.Equal(t, Count{"c048", 48}, s.Sessions[0])
		for _, name := range src.sessions {
			src.set(name, -1)
		}
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		require.Equal(t, s, c.Latest())
	})
}

func TestCountsOfSeveralNodesAreOneCount(t *testing.T) {
	now := time.Now()
	got := Merge([]Summary{
		{At: now, Messages: 5, Behind: 1, Counted: 3, Sessions: []Count{{"a", 5}}},
		{At: now.Add(-time.Minute), Messages: 9, Behind: 2, Counted: 2, Sessions: []Count{{"b", 7}, {"c", 2}}, Groups: []Count{{"g", 1}}},
	})
	require.Equal(t, Summary{At: now.Add(-time.Minute), Messages: 14, Behind: 3, Counted: 5,
		Sessions: []Count{{"b", 7}, {"a", 5}, {"c", 2}}, Groups: []Count{{"g", 1}}}, got)
	require.Zero(t, Merge([]Summary{{At: now}, {}}).At, "a node that has not counted yet")
}

func TestLabelsAreShortAndOneOfEach(t *testing.T) {
	r := prometheus.NewRegistry()
	c := New(Options{Source: many(0), Registerer: r})
	long := strings.Repeat("ä", 100)
	c.latest = Summary{At: time.Now(), Sessions: []Count{{"x" + long, 3}, {"x" + long + "2", 2}}}
	m := shown(t, r)
	require.Len(t, m, 4, "three sums, and one session")
	for name := range m {
		_, label, _ := strings.Cut(name, " ")
		require.LessOrEqual(t, len(label), maxLabel)
	}
}

// shown returns the values of a registry, by metric and label.
func shown(t *testing.T, r *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := r.Gather()
	require.NoError(t, err)
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			out[name] = m.GetGauge().GetValue()
		}
	}
	return out
}
