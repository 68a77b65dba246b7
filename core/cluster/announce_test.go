package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// told counts the names that a node is told, and the calls.
type told struct {
	mu    sync.Mutex
	names map[string]int
	calls int
}

func (o *told) answer(_, _ string, body []byte) ([]byte, error) {
	var names []string
	if err := json.Unmarshal(body, &names); err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.calls++
	for _, name := range names {
		o.names[name]++
	}
	return []byte("[]"), nil
}

func (o *told) seen(name string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.names[name]
}

func TestWhatIsAnnouncedIsConfirmedByEveryNode(t *testing.T) {
	inWorld(t, func(w *world) {
		nodes := w.start("a", "b", "c")
		heard := []*told{{names: map[string]int{}}, {names: map[string]int{}}}
		for i, o := range heard {
			nodes[i+1].answersBy(o.answer)
		}
		a := nodes[0].Announcer("names")
		requireTold(t, a)
		requireTold(t, a, "x", "y", "x")
		var wg sync.WaitGroup
		for i := range 200 {
			name := fmt.Sprint("name", i)
			wg.Go(func() {
				requireTold(t, a, name)
				for _, o := range heard {
					require.Equal(t, 1, o.seen(name), "before Tell returned")
				}
			})
		}
		wg.Wait()
		require.Less(t, heard[0].calls, 20, "what is told at the same time shares a question")
		var many []string
		for i := range 2000 {
			many = append(many, fmt.Sprint(strings.Repeat("long", 30), i))
		}
		requireTold(t, a, many...)
		for _, name := range many {
			require.Equal(t, 1, heard[1].seen(name))
		}
	})
}

func TestAnAnnouncementNamesTheNodeThatDoesNotConfirm(t *testing.T) {
	inWorld(t, func(w *world) {
		nodes := w.start("a", "b", "c")
		a := nodes[0].Announcer("names")
		nodes[2].answersBy((&told{names: map[string]int{}}).answer)
		nodes[1].answersBy(func(string, string, []byte) ([]byte, error) { return []byte(`["x"]`), nil })
		failed, err := a.Tell(context.Background(), "x", "y")
		require.Equal(t, []string{"x"}, failed)
		require.ErrorContains(t, err, `node "b" does not find "x"`)
		nodes[1].answersBy(func(string, string, []byte) ([]byte, error) { return nil, errors.New("metadata is away") })
		requireUntold(t, a, `node "b" has not confirmed it: metadata is away`, "x")
		nodes[1].answersBy((&told{names: map[string]int{}}).answer)
		nodes[2].answersBy((&told{names: map[string]int{}}).answer)
		requireTold(t, a, "x")
		nodes[2].pause(true)
		began := time.Now()
		requireUntold(t, a, `node "c" has not confirmed it`, "x")
		require.Equal(t, 2*time.Second, time.Since(began).Round(100*time.Millisecond))
		w.eventually("the node is known to have stopped", func() bool { return len(nodes[0].Members()) == 2 })
		requireTold(t, a, "x") // nobody waits for the stopped node any more
		nodes[2].pause(false)
	})
}

func requireTold(t *testing.T, a *Announcer, names ...string) {
	t.Helper()
	failed, err := a.Tell(context.Background(), names...)
	require.NoError(t, err)
	require.Empty(t, failed)
}

func requireUntold(t *testing.T, a *Announcer, why, name string) {
	t.Helper()
	failed, err := a.Tell(context.Background(), name)
	require.ErrorContains(t, err, why)
	require.Equal(t, []string{name}, failed)
}
