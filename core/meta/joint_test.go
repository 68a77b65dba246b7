package meta

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/meta/metatest"
)

// saveAll saves n sessions at once and returns each outcome.
func saveAll(m *Meta, n int) []error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			errs[i] = m.SaveSession(context.Background(), &Session{ClientID: fmt.Sprint("c", i), Epoch: 1})
		})
	}
	wg.Wait()
	return errs
}

func TestNewSessionsOfManyClientsShareWrites(t *testing.T) {
	on(t, metatest.Full(), func(t *testing.T, b *metatest.Backend) {
		m := start(t, b, "one")
		b.Delay(20 * time.Millisecond)
		puts, batches := b.Calls("Put"), b.Calls("Batch")
		const clients = 400
		for i, err := range saveAll(m, clients) {
			require.NoError(t, err, i)
		}
		require.Len(t, b.Keys(NamespaceSessions), clients)
		require.Less(t, b.Calls("Put")+b.Calls("Batch")-puts-batches, clients/4)
		for i := range clients { // each knows the revision of its record, so a further write finds nothing foreign
			s, err := m.LoadSession(t.Context(), fmt.Sprint("c", i))
			require.NoError(t, err)
			require.NotZero(t, s.stored.revision)
		}
	})
}

func TestASessionSavedInASharedBatchIsSavedAgain(t *testing.T) {
	on(t, metatest.Full(), func(t *testing.T, b *metatest.Backend) {
		m := start(t, b, "one")
		b.Delay(5 * time.Millisecond)
		var wg sync.WaitGroup
		errs := make([]error, 100)
		for i := range errs {
			wg.Go(func() {
				s := &Session{ClientID: fmt.Sprint("c", i), Epoch: 1}
				for range 5 {
					s.Epoch++
					if errs[i] = m.SaveSession(context.Background(), s); errs[i] != nil {
						return
					}
				}
				errs[i] = m.DropSession(context.Background(), s)
			})
		}
		wg.Wait()
		for i, err := range errs {
			require.NoError(t, err, i)
		}
		require.Empty(t, b.Keys(NamespaceSessions))
	})
}

func TestAConflictInASharedBatchFailsOnlyItsOwnWrite(t *testing.T) {
	on(t, metatest.Full(), func(t *testing.T, b *metatest.Backend) {
		m := start(t, b, "one")
		const clients = 100
		taken := map[int]bool{3: true, 50: true, 51: true, 99: true}
		for i := range taken {
			b.Edit(NamespaceSessions, fmt.Sprint("c", i), `{"epoch":7}`)
		}
		b.Delay(20 * time.Millisecond)
		for i, err := range saveAll(m, clients) {
			if taken[i] {
				require.ErrorIs(t, err, ErrConflict, i)
				require.Equal(t, `{"epoch":7}`, b.Value(NamespaceSessions, fmt.Sprint("c", i)))
			} else {
				require.NoError(t, err, i)
			}
		}
	})
}

func TestASharedBatchWhoseAnswerIsLostIsRecognised(t *testing.T) {
	on(t, metatest.Full(), func(t *testing.T, b *metatest.Backend) {
		m := start(t, b, "one", func(o *Options) { o.CallTimeout = 300 * time.Millisecond; o.WriteTimeout = time.Minute })
		b.Delay(20 * time.Millisecond)
		var lost sync.WaitGroup
		lost.Add(jointCalls + 1)
		hang := func() {}
		hang = func() { // the calls of their own, and the first Batch
			defer lost.Done()
			if b.Calls("Batch") == 0 {
				b.Hang(hang)
			}
		}
		b.Hang(hang)
		for i, err := range saveAll(m, 60) {
			require.NoError(t, err, i)
		}
		require.Len(t, b.Keys(NamespaceSessions), 60)
	})
}

func TestAFullBackendRefusesOnlyWhatDoesNotFitOfASharedBatch(t *testing.T) {
	on(t, metatest.Full(), func(t *testing.T, b *metatest.Backend) {
		m := start(t, b, "one")
		b.Delay(20 * time.Millisecond)
		used := 0
		for _, ns := range []string{NamespaceNodes, NamespaceUpstream, NamespaceTopics, NamespaceFilters, NamespaceSessions} {
			used += len(b.Keys(ns))
		}
		b.Limit(used + 30)
		saved := 0
		for _, err := range saveAll(m, 60) {
			if err == nil {
				saved++
			} else {
				require.ErrorIs(t, err, ErrLimit)
			}
		}
		require.Len(t, b.Keys(NamespaceSessions), saved)
		require.Positive(t, saved)
	})
}

func TestAWriteThatIsGivenUpLeavesTheOthersOfItsBatch(t *testing.T) {
	on(t, metatest.Full(), func(t *testing.T, b *metatest.Backend) {
		m := start(t, b, "one", func(o *Options) { o.HeartbeatInterval = time.Hour }) // its heartbeats are writes too
		b.Delay(50 * time.Millisecond)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		errs := make([]error, 40)
		for i := range errs {
			wg.Go(func() {
				c := t.Context()
				if i%2 == 1 {
					c = ctx
				}
				errs[i] = m.SaveSession(c, &Session{ClientID: fmt.Sprint("c", i), Epoch: 1})
			})
		}
		synctest.Wait() // each write is under way or waits for a batch
		cancel()
		wg.Wait()
		for i := 0; i < len(errs); i += 2 {
			require.NoError(t, errs[i], i)
		}
		eventually(t, func() bool { // nothing is under way any more, so a migration need not wait
			g, j := m.backend.gate, &m.backend.joint
			g.mu.Lock()
			underWay := g.underWay
			g.mu.Unlock()
			j.mu.Lock()
			defer j.mu.Unlock()
			return underWay == 0 && j.calls == 0
		})
	})
}
