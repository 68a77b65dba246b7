// Package prometheus tests the alert rules, and the Grafana dashboard beside them, with Prometheus' own parser and query engine. It is a
// module of its own, because lmqgate does not need Prometheus' libraries.
package prometheus

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/stretchr/testify/require"
)

// metric is what docs/metrics.md says of a metric.
type metric struct {
	kind   string
	labels []string
}

var (
	metricRow = regexp.MustCompile("(?m)^\\| `(lmqgate_[a-z0-9_]+)` \\| ([a-z]+) \\|\\s*([^|]*?)\\s*\\|")
	legend    = regexp.MustCompile(`\{\{([a-z_]+)\}\}`)
)

// metricsOfTheGateway reads docs/metrics.md; a test there compares it with the code.
func metricsOfTheGateway(t *testing.T) map[string]metric {
	t.Helper()
	page, err := os.ReadFile("../../docs/metrics.md")
	require.NoError(t, err)
	out := map[string]metric{"process_resident_memory_bytes": {kind: "gauge"}, "process_cpu_seconds_total": {kind: "counter"}}
	for _, m := range metricRow.FindAllStringSubmatch(string(page), -1) {
		out[m[1]] = metric{m[2], strings.FieldsFunc(m[3], func(r rune) bool { return strings.ContainsRune(" ,`", r) })}
	}
	require.Greater(t, len(out), 60)
	return out
}

// find returns the metric that a series belongs to; a histogram has three.
func find(t *testing.T, known map[string]metric, series string) metric {
	t.Helper()
	if m, ok := known[series]; ok {
		require.NotEqual(t, "histogram", m.kind, "%s is a histogram, so its series are %[1]s_bucket, _sum and _count", series)
		return m
	}
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		if m, ok := known[strings.TrimSuffix(series, suffix)]; ok && m.kind == "histogram" {
			if suffix == "_bucket" {
				m.labels = append(slices.Clone(m.labels), "le")
			}
			return metric{"counter", m.labels}
		}
	}
	t.Fatalf("the gateway has no metric %s", series)
	return metric{}
}

// check requires that an expression asks for metrics that exist, by labels that they have, and for counters as rates. It returns the labels
// of the metrics.
func check(t *testing.T, known map[string]metric, expr string) (has []string) {
	t.Helper()
	parsed, err := parser.ParseExpr(expr)
	require.NoError(t, err, expr)
	has = []string{"instance"}
	parser.Inspect(parsed, func(node parser.Node, path []parser.Node) error {
		s, ok := node.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		m := find(t, known, s.Name)
		has = append(has, m.labels...)
		for _, l := range s.LabelMatchers {
			require.Contains(t, append([]string{labels.MetricName, "instance"}, m.labels...), l.Name, expr)
		}
		if m.kind == "counter" {
			require.True(t, slices.ContainsFunc(path, func(n parser.Node) bool {
				f, ok := n.(*parser.Call)
				return ok && (f.Func.Name == "rate" || f.Func.Name == "increase")
			}), "%s: a counter by itself says little", expr)
		}
		return nil
	})
	parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
		if a, ok := node.(*parser.AggregateExpr); ok {
			require.Subset(t, has, a.Grouping, expr)
		}
		return nil
	})
	return has
}

// rules reads the alert rules as Prometheus does.
func rules(t *testing.T) (list []rulefmt.Rule) {
	t.Helper()
	file, errs := rulefmt.ParseFile("alerts.yaml", false, model.UTF8Validation)
	require.Empty(t, errs)
	for _, g := range file.Groups {
		list = append(list, g.Rules...)
	}
	require.NotEmpty(t, list)
	return list
}

func TestTheAlertRulesAskForMetricsThatExistAndSayWhatToDo(t *testing.T) {
	known, seen := metricsOfTheGateway(t), map[string]bool{}
	for _, r := range rules(t) {
		require.Regexp(t, `^Lmqgate[A-Z][A-Za-z0-9]+$`, r.Alert)
		require.False(t, seen[r.Alert], "%s is there twice", r.Alert)
		seen[r.Alert] = true
		require.Contains(t, []string{"critical", "warning"}, r.Labels["severity"], r.Alert)
		require.NotEmpty(t, r.Annotations["summary"], r.Alert)
		require.NotEmpty(t, r.Annotations["remedy"], r.Alert)
		check(t, known, r.Expr)
	}
}

func TestTheGrafanaDashboardAsksForMetricsThatExist(t *testing.T) {
	var d struct {
		UID    string
		Panels []struct {
			ID          int
			Type, Title string
			GridPos     struct{ X, Y, W, H int }
			Targets     []struct {
				Expr         string
				LegendFormat string
			}
		}
	}
	content, err := os.ReadFile("../grafana/lmqgate.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(content, &d))
	require.Equal(t, "lmqgate", d.UID)
	known, ids := metricsOfTheGateway(t), map[int]bool{}
	for _, p := range d.Panels {
		require.False(t, ids[p.ID], "panel %d is there twice", p.ID)
		ids[p.ID] = true
		require.LessOrEqual(t, p.GridPos.X+p.GridPos.W, 24, p.Title)
		if p.Type == "row" {
			continue
		}
		require.NotEmpty(t, p.Targets, p.Title)
		for _, target := range p.Targets {
			require.Contains(t, target.Expr, `instance=~"$instance"`, p.Title)
			has := check(t, known, strings.ReplaceAll(target.Expr, "$__rate_interval", "5m")) // Grafana's variable, for a parser that has none
			for _, m := range legend.FindAllStringSubmatch(target.LegendFormat, -1) {
				require.Contains(t, has, m[1], "%s: the legend of %s", p.Title, target.Expr)
			}
		}
	}
}
