package abuse

import (
	"context"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// full says whether the loads run at full size.
var full = os.Getenv("LMQGATE_ABUSE") == "full"

const (
	// restsFor is how long the latency at rest is measured; lastsFor is the duration of a load.
	restsFor = 5 * time.Second
	lastsFor = 20 * time.Second
	// logBytes bounds how much a gateway may log in that time.
	logBytes = 16 << 20
	// least is a latency that is always acceptable, however small the latency at rest is.
	least = 100 * time.Millisecond
)

func TestHonestClientsGoOnUnderAllHostileLoadsAtOnceWithinTheMemory(t *testing.T) {
	if full {
		t.Skip("each load is run by itself, and all together")
	}
	g := start(t)
	p := honest(t, g)
	under(t, g, 8*time.Second, 0.1, loads)
	p.end(t)
	bounds(t, g)
}

func TestHonestClientsHardlyNoticeHostileLoads(t *testing.T) {
	if !full {
		t.Skip("run by make abuse")
	}
	for _, l := range slices.Concat(loads, separate, []load{{name: "all at once"}}) {
		t.Run(l.name, func(t *testing.T) {
			some := []load{l}
			if l.run == nil {
				some = loads
			}
			g := start(t)
			p := honest(t, g)
			time.Sleep(restsFor) // the duration of the measurement
			idle := p.p99()
			under(t, g, lastsFor, 1, some)
			busy := p.p99()
			p.end(t)
			t.Logf("%-36s p99 at rest %6s, under load %8s; memory %4d MiB; log %5d KiB", l.name, idle.Round(100*time.Microsecond),
				busy.Round(100*time.Microsecond), g.peak()>>20, g.logged()>>10)
			bounds(t, g)
			require.LessOrEqual(t, busy, max(10*idle, least), "the 99th percentile of honest clients' latencies")
		})
	}
}

// under runs loads for a while, in a process of their own. Meanwhile new honest clients must be admitted.
func under(t *testing.T, g *gateway, lasts time.Duration, size float64, some []load) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), lasts)
	defer cancel()
	attack := hostile{Addr: g.addr, Size: size, Lasts: lasts}
	for _, l := range some {
		attack.Loads = append(attack.Loads, l.name)
	}
	wait := attack.start(t)
	for n := 0; ctx.Err() == nil; n++ {
		require.NoError(t, newcomer(t.Context(), g, n), "a new honest client")
		select {
		case <-ctx.Done():
		case <-time.After(lasts / 8):
		}
	}
	wait()
}

// bounds checks the bounds that hold under any load.
func bounds(t *testing.T, g *gateway) {
	t.Helper()
	require.Less(t, g.peak(), int64(memoryLimit), "resident memory")
	require.Less(t, g.logged(), int64(logBytes), "bytes of the log")
	require.NoError(t, g.cmd.Process.Signal(syscall.Signal(0)), "the gateway runs")
}
