package doctor

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/internal/testlog"
)

func TestAFindingIsLoggedOnceWithItsRemedyAndKnownWhileItIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPatient(t)
		var free atomic.Uint64
		free.Store(500 << 20)
		p.o.Machine.Free = func(string) (uint64, error) { return free.Load(), nil }
		var log testlog.Buffer
		w := Start(func() Options { return p.o }, slog.New(slog.NewTextHandler(&log, nil)))
		defer w.Stop(t.Context())
		lines := func() int { return strings.Count(log.String(), "level=") }

		synctest.Wait()
		found := w.Findings()
		require.Len(t, found, 1)
		require.Contains(t, found[0].What, "only 500 MiB are free")
		require.Contains(t, log.String(), `level=WARN msg="a check warns" area=data what="node.data_dir: only 500 MiB`)
		require.Contains(t, log.String(), `remedy="free some, or move the directory to a larger disk"`)
		require.Equal(t, 1, lines())

		free.Store(400 << 20) // the same warning with another number
		time.Sleep(near)
		synctest.Wait()
		require.Contains(t, w.Findings()[0].What, "only 400 MiB are free")
		require.Equal(t, 1, lines())

		free.Store(10 << 20)
		time.Sleep(near)
		synctest.Wait()
		require.Equal(t, Fault, w.Findings()[0].Level)
		require.Contains(t, log.String(), `level=ERROR msg="a check found a fault" area=data`)
		require.Equal(t, 2, lines())

		free.Store(1 << 40)
		time.Sleep(near)
		synctest.Wait()
		require.Empty(t, w.Findings())

		free.Store(10 << 20) // soon again: known in /readyz, and not a line each time
		time.Sleep(near)
		synctest.Wait()
		require.Len(t, w.Findings(), 1)
		require.Equal(t, 2, lines())

		free.Store(1 << 40)
		time.Sleep(quiet + 2*near)
		free.Store(10 << 20)
		time.Sleep(near)
		synctest.Wait()
		require.Equal(t, 3, lines(), "after it was away for long, it is news")
	})
}

func TestOtherMachinesAreAskedSeldomWhileTheyAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPatient(t)
		w := &Watch{options: func() Options { return p.o }, log: slog.New(slog.DiscardHandler), found: map[string][]Finding{}, told: map[string]time.Time{}}
		var asked atomic.Int32
		var silent atomic.Bool
		done := make(chan struct{})
		ctx, stop := context.WithCancel(t.Context())
		go func() {
			defer close(done)
			w.repeat(ctx, check{area: "services", afar: true, run: func(_ context.Context, _ *Options) []Finding {
				if asked.Add(1); !silent.Load() {
					return nil
				}
				return []Finding{fault("it does not answer", "start it")}
			}})
		}()
		defer func() { stop(); <-done }()
		time.Sleep(far - time.Second)
		synctest.Wait()
		require.EqualValues(t, 1, asked.Load())
		silent.Store(true)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		require.EqualValues(t, 2, asked.Load())
		time.Sleep(near)
		synctest.Wait()
		require.EqualValues(t, 3, asked.Load(), "what was found is looked at again soon")
		time.Sleep(near)
		synctest.Wait()
		require.EqualValues(t, 3, asked.Load(), "and less often while it stays the same")
		silent.Store(false)
		time.Sleep(near)
		synctest.Wait()
		require.EqualValues(t, 4, asked.Load())
		time.Sleep(far / 2)
		synctest.Wait()
		require.EqualValues(t, 4, asked.Load())
	})
}
