package limits

import (
	"runtime"
	"runtime/debug"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// patient is a heap whose figures the test sets.
type patient struct {
	*Heap
	live, allocs uint64
	percents     []int
	given        int
	now          time.Time
}

func newPatient(t *testing.T) *patient {
	t.Setenv("GOGC", "")
	p := &patient{Heap: NewHeap(), now: time.Unix(1, 0)}
	p.set = func(percent int) int { p.percents = append(p.percents, percent); return 0 }
	p.give = func() { p.given++ }
	return p
}

// tick advances the time while rate bytes are allocated per second.
func (p *patient) tick(d time.Duration, rate uint64) {
	for end := p.now.Add(d); p.now.Before(end); {
		p.now = p.now.Add(LookEvery)
		p.allocs += rate / uint64(time.Second/LookEvery)
		p.look(p.now, p.live, p.allocs)
	}
}

func TestGarbageMayGatherByHowMuchIsInUse(t *testing.T) {
	p := newPatient(t)
	for _, c := range []struct {
		live uint64
		want int
	}{{0, 250}, {10 << 20, 250}, {64 << 20, 100}, {66 << 20, 100}, {128 << 20, 50}, {1 << 30, 30}, {10 << 20, 250}} {
		p.live = c.live
		p.tick(LookEvery, 0)
		require.Equal(t, c.want, p.percents[len(p.percents)-1], "%d MiB", c.live>>20)
	}
	require.Len(t, p.percents, 5, "small changes are let be")
}

func TestWhoeverSetsGOGCIsHeard(t *testing.T) {
	p := newPatient(t)
	t.Setenv("GOGC", "75")
	p.fixed = NewHeap().fixed
	p.tick(time.Second, 0)
	require.Empty(t, p.percents)
}

func TestMemoryGoesBackWhenABurstIsOver(t *testing.T) {
	p := newPatient(t)
	p.live = 40 << 20
	p.tick(3*time.Second, 100<<20)
	p.tick(time.Second, 100<<20)
	require.Zero(t, p.given, "not while it lasts")
	p.tick(4*time.Second, quietRate/2)
	require.Equal(t, 1, p.given)
	p.tick(8*time.Second, quietRate/2)
	require.Equal(t, 1, p.given, "little was allocated since")
	p.tick(8*time.Second, quietRate/2)
	require.Equal(t, 2, p.given)
}

func TestTheProcessGivesBackWhatABurstTook(t *testing.T) {
	h := NewHeap()
	t.Cleanup(func() { debug.SetGCPercent(100) })
	done := make(chan byte)
	go func() { // has its own stack, which is gone afterwards
		burst := make([]byte, 128<<20)
		for i := 0; i < len(burst); i += 1 << 10 {
			burst[i] = 1
		}
		done <- burst[len(burst)/2]
	}()
	<-done
	for at := time.Now(); h.settled == 0; at = at.Add(LookEvery) {
		h.Tend(at)
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	require.Less(t, m.HeapSys-m.HeapReleased, uint64(64<<20))
}
