package abuse

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// envHostile makes this test program play hostile clients, and nothing else. Its value is a hostile in JSON. The honest clients, whose
// latencies are measured, are in another process, so that they do not wait for the scheduler of this one.
const envHostile = "LMQGATE_ABUSE_HOSTILE"

// hostile describes hostile clients of a gateway.
type hostile struct {
	Addr  string
	Loads []string // by name
	Size  float64
	Lasts time.Duration
}

// start starts the clients. wait returns once they have ended.
func (h *hostile) start(t *testing.T) (wait func()) {
	t.Helper()
	spec, err := json.Marshal(h)
	require.NoError(t, err)
	self, err := os.Executable()
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), h.Lasts+2*patience)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = append(os.Environ(), envHostile+"="+string(spec))
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	require.NoError(t, cmd.Start())
	return func() {
		t.Helper()
		require.NoError(t, cmd.Wait(), "the process of the hostile clients")
	}
}

// attacks plays hostile clients in this process, and returns its exit status.
func attacks(spec string) int {
	var h hostile
	if err := json.Unmarshal([]byte(spec), &h); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	ctx, cancel := context.WithTimeout(context.Background(), h.Lasts)
	defer cancel()
	all := slices.Concat(loads, separate)
	var wg sync.WaitGroup
	for _, name := range h.Loads {
		i := slices.IndexFunc(all, func(l load) bool { return l.name == name })
		if i < 0 {
			fmt.Fprintf(os.Stderr, "there is no load %q\n", name)
			return 2
		}
		wg.Go(func() { all[i].run(ctx, &gateway{addr: h.Addr}, h.Size) })
	}
	wg.Wait()
	return 0
}
