package doctor

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/config"
	"github.com/lmqgate/lmqgate/remoting"
	"github.com/lmqgate/lmqgate/test/rocketmq/cluster"
)

func TestABrokerWithoutLightMessageQueuesAndWithAnotherTimeIsFound(t *testing.T) {
	rmq := cluster.ForTest(t, cluster.Options{Broker: map[string]string{"enableLmq": "false", "enableMultiDispatch": "false"}})
	p, ctx := newPatient(t), t.Context()
	p.c.Store.Type, p.c.Store.RocketMQ.Namesrv = config.StoreRocketMQ, append(rmq.Namesrv(), p.closed())
	p.o.RocketMQ = remoting.New(remoting.Config{})
	t.Cleanup(func() { _ = p.o.RocketMQ.Close() })
	p.o.ValidTopic = func(name string) bool { return name == cluster.ProbeTopic }
	p.o.Machine.Now = func() time.Time { return time.Now().Add(-10 * time.Minute) }
	// A broker that has just started on a busy machine may not answer in time, which is a finding, too.
	require.EventuallyWithT(t, func(t *assert.CollectT) {
		var faults, warnings []string
		for _, f := range Run(ctx, p.o) {
			switch {
			case f.Level == Fault:
				faults = append(faults, f.What+" "+f.Remedy)
			case f.Level == Warning && !strings.Contains(f.What, "older than") && !strings.Contains(f.What, "the disk of broker"): // it is this machine's
				warnings = append(warnings, f.What)
			}
		}
		require.Len(t, faults, 1, "%v", faults)
		require.Contains(t, faults[0], "enableLmq=true and enableMultiDispatch=true")
		require.Len(t, warnings, 2, "of the name server that does not answer, and of the clock: %v", warnings)
		require.Regexp(t, `the clock of broker \S+ is \S+ ahead of that of this machine`, warnings[1])
	}, 2*time.Minute, 100*time.Millisecond)
}
