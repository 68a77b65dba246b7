package gateway

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

func TestSysHasMosquittosNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := prometheus.NewRegistry()
		connected := prometheus.NewGauge(prometheus.GaugeOpts{Name: "lmqgate_sessions_connected"})
		packets := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "lmqgate_mqtt_packets_total"}, []string{"direction", "type"})
		r.MustRegister(connected, packets)
		s := &sysValues{registry: r, version: "1.2", started: time.Now()}
		value := func(name string) string {
			for _, v := range s.get() {
				if v.Topic == "$SYS/broker/"+name {
					return v.Payload
				}
			}
			return "none"
		}
		connected.Set(3)
		packets.WithLabelValues("in", "PUBLISH").Add(5)
		packets.WithLabelValues("in", "CONNECT").Add(2)
		packets.WithLabelValues("out", "PUBLISH").Add(9)
		for name, want := range map[string]string{"version": "lmqgate version 1.2", "clients/connected": "3", "messages/received": "7",
			"messages/sent": "9", "publish/messages/received": "5", "publish/messages/sent": "9", "uptime": "0 seconds",
			"load/messages/received/1min": "0.00"} {
			require.Equal(t, want, value(name), name)
		}
		packets.WithLabelValues("in", "PUBLISH").Add(60)
		connected.Set(1)
		require.Equal(t, "3", value("clients/connected"), "a moment later they are the same")
		time.Sleep(time.Minute)
		require.Equal(t, "1", value("clients/connected"))
		require.Equal(t, "3", value("clients/maximum"))
		require.Equal(t, "37.93", value("load/messages/received/1min"), "60 in a minute, on the way there")
		require.Equal(t, "60 seconds", value("uptime"))
	})
}
