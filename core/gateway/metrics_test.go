package gateway

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

func TestTheDiskOfABrokerThatIsGoneIsForgotten(t *testing.T) {
	r := prometheus.NewRegistry()
	set := brokerDisks(r)
	set(map[string]float64{"a": 0.25, "b": 0.5})
	set(map[string]float64{"b": 0.75})
	families, err := r.Gather()
	require.NoError(t, err)
	require.Len(t, families, 1)
	require.Equal(t, "lmqgate_store_rocketmq_disk_used_ratio", families[0].GetName())
	require.Len(t, families[0].GetMetric(), 1)
	require.Equal(t, "b", families[0].GetMetric()[0].GetLabel()[0].GetValue())
	require.InDelta(t, 0.75, families[0].GetMetric()[0].GetGauge().GetValue(), 0)
}
