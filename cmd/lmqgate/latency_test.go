package main

import (
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestLatenciesAreThoseBetweenTwoReadings(t *testing.T) {
	before, err := parseMetrics([]byte(`# HELP lmqgate_mqtt_connect_seconds x
# TYPE lmqgate_mqtt_connect_seconds histogram
lmqgate_mqtt_connect_seconds_bucket{le="0.1"} 5
lmqgate_mqtt_connect_seconds_bucket{le="1"} 7
lmqgate_mqtt_connect_seconds_bucket{le="+Inf"} 7
lmqgate_mqtt_connect_seconds_sum 3
lmqgate_mqtt_connect_seconds_count 7
`))
	require.NoError(t, err)
	now, err := parseMetrics([]byte(`# TYPE lmqgate_mqtt_connect_seconds histogram
lmqgate_mqtt_connect_seconds_bucket{le="0.1"} 55
lmqgate_mqtt_connect_seconds_bucket{le="1"} 107
lmqgate_mqtt_connect_seconds_bucket{le="+Inf"} 107
# TYPE lmqgate_plugin_call_seconds histogram
lmqgate_plugin_call_seconds_bucket{method="/lmqgate.plugin.v1.Auth/Authenticate",plugin="auth-hmac",le="0.01"} 2
lmqgate_plugin_call_seconds_bucket{method="/lmqgate.plugin.v1.Auth/Authenticate",plugin="auth-hmac",le="+Inf"} 4
# TYPE lmqgate_meta_write_seconds histogram
lmqgate_meta_write_seconds_bucket{le="0.1"} 0
lmqgate_meta_write_seconds_bucket{le="+Inf"} 0
`))
	require.NoError(t, err)
	list := latencies(before, now, 10*time.Second)
	require.Len(t, list, 3)
	require.Equal(t, "CONNECT to CONNACK", list[0].Step)
	require.InDelta(t, 10, list[0].Rate, 1e-9)
	require.InDelta(t, 0.1, *list[0].Median, 1e-9)
	require.InDelta(t, 0.982, *list[0].P99, 1e-9)
	require.Equal(t, "metadata write", list[1].Step)
	require.Nil(t, list[1].P99, "nothing was written")
	require.Equal(t, "-", seconds(list[1].P99))
	require.Equal(t, "plugin auth-hmac /lmqgate.plugin.v1.Auth/Authenticate", list[2].Step)
	require.InDelta(t, 0.01, *list[2].P99, 1e-9, "beyond the last bound nothing is known")
}

func TestLatenciesSinceTheStart(t *testing.T) {
	r, err := parseMetrics([]byte(`# TYPE process_start_time_seconds gauge
process_start_time_seconds ` + strconv.FormatInt(time.Now().Add(-100*time.Second).Unix(), 10) + `
# TYPE lmqgate_mqtt_connect_seconds histogram
lmqgate_mqtt_connect_seconds_bucket{le="0.1"} 50
lmqgate_mqtt_connect_seconds_bucket{le="+Inf"} 50
`))
	require.NoError(t, err)
	list := latencies(nil, r, r.age())
	require.Len(t, list, 1)
	require.InDelta(t, 0.5, list[0].Rate, 0.1)
	require.False(t, idle(list))
	require.True(t, idle(latencies(r, r, time.Second)))
}
