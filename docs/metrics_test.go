package docs

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/lmqgate/lmqgate/core/auth"
	"github.com/lmqgate/lmqgate/core/backlog"
	"github.com/lmqgate/lmqgate/core/cluster"
	"github.com/lmqgate/lmqgate/core/delivery"
	"github.com/lmqgate/lmqgate/core/events"
	"github.com/lmqgate/lmqgate/core/gateway"
	"github.com/lmqgate/lmqgate/core/limits"
	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/mqtt"
	"github.com/lmqgate/lmqgate/core/pluginhost"
	"github.com/lmqgate/lmqgate/core/publish"
	"github.com/lmqgate/lmqgate/core/session"
	"github.com/lmqgate/lmqgate/core/store/local"
	"github.com/lmqgate/lmqgate/core/store/rocketmq"
	"github.com/lmqgate/lmqgate/core/tracing"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

// collected is a Registerer that notes names, types and labels. A registry would not do: it shows vectors only once used.
type collected map[string]metric

type metric struct{ kind, labels string }

var descriptor = regexp.MustCompile(`^Desc\{fqName: "([^"]+)".*variableLabels: \{(.*)\}\}$`)

func (c collected) Register(m prometheus.Collector) error {
	descs := make(chan *prometheus.Desc, 16)
	m.Describe(descs)
	close(descs)
	for d := range descs {
		parts := descriptor.FindStringSubmatch(d.String())
		if parts == nil {
			return fmt.Errorf("cannot read %s", d)
		}
		c[parts[1]] = metric{kindOf(m), parts[2]}
	}
	return nil
}

func (c collected) MustRegister(list ...prometheus.Collector) {
	for _, m := range list {
		if err := c.Register(m); err != nil {
			panic(err)
		}
	}
}

// unstarted are counters that have labels and no series yet.
type unstarted struct {
	collected
	names map[string]bool
}

func (u unstarted) Register(m prometheus.Collector) error {
	if _, ok := m.(*prometheus.CounterVec); ok {
		series, descs := make(chan prometheus.Metric, 1000), make(chan *prometheus.Desc, 1)
		m.Collect(series)
		m.Describe(descs)
		if len(series) == 0 {
			u.names[descriptor.FindStringSubmatch((<-descs).String())[1]] = true
		}
	}
	return u.collected.Register(m)
}

func (u unstarted) MustRegister(list ...prometheus.Collector) {
	for _, m := range list {
		if err := u.Register(m); err != nil {
			panic(err)
		}
	}
}

func (collected) Unregister(prometheus.Collector) bool { return false }

func kindOf(m prometheus.Collector) string {
	name := strings.ToLower(fmt.Sprintf("%T", m))
	switch {
	case strings.Contains(name, "histogram"):
		return "histogram"
	case strings.Contains(name, "counter"):
		return "counter"
	default: // gauges, and gauges that are computed
		return "gauge"
	}
}

// metricsOf makes what registers metrics, by directory. Nothing is started.
var metricsOf = map[string]func(t *testing.T, r prometheus.Registerer){
	"core/limits":  func(_ *testing.T, r prometheus.Registerer) { limits.NewWatermark(1).Register(r) },
	"core/auth":    func(_ *testing.T, r prometheus.Registerer) { auth.New(auth.Options{Registerer: r}) },
	"core/backlog": func(_ *testing.T, r prometheus.Registerer) { backlog.New(backlog.Options{Registerer: r}) },
	"core/cluster": func(_ *testing.T, r prometheus.Registerer) {
		cluster.New(cluster.Options{NodeID: "node", Registerer: r})
	},
	"core/delivery": func(_ *testing.T, r prometheus.Registerer) { delivery.New(delivery.Options{Registerer: r}).Close() },
	"core/meta": func(t *testing.T, r prometheus.Registerer) {
		t.Helper()
		_, err := meta.New(meta.Options{Client: pluginv1.NewMetaClient(nil), NodeID: "n", Registerer: r,
			Traits: func() *pluginv1.MetaTraits { return nil }})
		require.NoError(t, err)
	},
	"core/events": func(_ *testing.T, r prometheus.Registerer) { events.New(events.Options{Registerer: r}) },
	"core/tracing": func(t *testing.T, r prometheus.Registerer) {
		t.Helper()
		tracer, err := tracing.New(tracing.Options{Endpoint: "http://127.0.0.1:1", Registerer: r})
		require.NoError(t, err)
		tracer.Close(t.Context())
	},
	"core/gateway": func(_ *testing.T, r prometheus.Registerer) { gateway.RegisterMetrics(r) },
	"core/mqtt": func(_ *testing.T, r prometheus.Registerer) {
		mqtt.New(mqtt.Options{Registerer: r, Listeners: []mqtt.Listener{{Type: "tcp"}}})
	},
	"core/pluginhost": func(t *testing.T, r prometheus.Registerer) {
		t.Helper()
		h, err := pluginhost.New(pluginhost.Options{Dir: t.TempDir(), Registerer: r})
		require.NoError(t, err)
		require.NoError(t, h.Close())
	},
	"core/publish": func(_ *testing.T, r prometheus.Registerer) { publish.New(publish.Options{Registerer: r}).Close() },
	"core/session": func(_ *testing.T, r prometheus.Registerer) { session.NewManager(session.Options{Registerer: r}) },
	"core/store/local": func(t *testing.T, r prometheus.Registerer) {
		t.Helper()
		s, err := local.New(local.Options{Path: t.TempDir(), Registerer: r})
		require.NoError(t, err)
		require.NoError(t, s.Close())
	},
	"core/store/rocketmq": func(t *testing.T, r prometheus.Registerer) {
		t.Helper()
		s, err := rocketmq.New(rocketmq.Options{Namesrv: []string{"127.0.0.1:1"}, NodeID: "docs", Registerer: r})
		require.NoError(t, err)
		require.NoError(t, s.Close())
	},
}

var metricRow = regexp.MustCompile("(?m)^\\| `(lmqgate_[a-z0-9_]+)` \\| ([a-z]+) \\|\\s*([^|]*?)\\s*\\|")

func TestTheMetricsPageListsEveryMetricWithItsTypeAndLabels(t *testing.T) {
	files, err := filepath.Glob("../core/*/metrics.go")
	require.NoError(t, err)
	deeper, err := filepath.Glob("../core/*/*/metrics.go")
	require.NoError(t, err)
	for _, f := range append(files, deeper...) {
		dir := strings.TrimPrefix(filepath.ToSlash(filepath.Dir(f)), "../")
		require.Contains(t, metricsOf, dir, "%s has metrics that this test does not know: add it", dir)
	}
	have := collected{}
	for _, register := range metricsOf {
		register(t, have)
	}
	page, err := os.ReadFile("metrics.md")
	require.NoError(t, err)
	told := collected{}
	for _, row := range metricRow.FindAllStringSubmatch(string(page), -1) {
		told[row[1]] = metric{row[2], strings.ReplaceAll(strings.ReplaceAll(row[3], "`", ""), ", ", ",")}
	}
	require.Equal(t, have, told)
}

// TestCountersWithKnownLabelsAreThereFromTheStart: without a reading of 0, a rate does not see the first event.
func TestCountersWithKnownLabelsAreThereFromTheStart(t *testing.T) {
	have := unstarted{collected{}, map[string]bool{}}
	for _, register := range metricsOf {
		register(t, have)
	}
	require.Equal(t, map[string]bool{ // names of plugins are known once they run
		"lmqgate_plugin_restarts_total": true, "lmqgate_plugin_calls_total": true, "lmqgate_plugin_swaps_total": true,
	}, have.names)
}
