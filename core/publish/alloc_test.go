package publish

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/store"
)

// A message costs these allocations besides the store's: the job, the lane's name, the callback, and the lookup of its queues.
func TestAMessageCostsPublishingSixAllocations(t *testing.T) {
	p := New(Options{Store: instant{}, Catalog: flat{}, Meta: flat{}, Retainer: flat{}})
	defer p.Close()
	l := p.Lanes("client", nil)
	m := &store.Message{Topic: "T/a/b", QoS: 1, Created: time.Now()}
	failed := 0
	done := func(err error) {
		if err != nil {
			failed++
		}
	}
	each := testing.AllocsPerRun(1000, func() { l.Publish(m, done) })
	t.Logf("%.1f allocations a message", each)
	require.LessOrEqual(t, each, 6.0)
	require.Zero(t, failed)
}
