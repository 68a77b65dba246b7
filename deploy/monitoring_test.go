package deploy

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

var (
	metricRow = regexp.MustCompile("(?m)^\\| `(lmqgate_[a-z0-9_]+)` \\| ([a-z]+) \\|\\s*([^|]*?)\\s*\\|")
	metricUse = regexp.MustCompile(`\b((?:lmqgate|process|go)_[a-z0-9_]+)`)
	grouping  = regexp.MustCompile(`\bby \(([^)]*)\)`)
	reference = regexp.MustCompile(`\$labels\.([a-z_]+)|\{\{([a-z_]+)\}\}`)
)

// metricsOfTheGateway are the metrics that docs/metrics.md lists, with their types and labels; a test there compares it with the code.
func metricsOfTheGateway(t *testing.T) map[string][2]string {
	t.Helper()
	out := map[string][2]string{
		"process_resident_memory_bytes": {"gauge", ""}, "process_cpu_seconds_total": {"counter", ""},
	}
	for _, m := range metricRow.FindAllStringSubmatch(text(t, "../docs/metrics.md"), -1) {
		out[m[1]] = [2]string{m[2], m[3]}
	}
	require.Greater(t, len(out), 60)
	return out
}

// checkExpr requires that an expression asks for metrics that exist, by labels that they have, each in the way that fits its type.
func checkExpr(t *testing.T, known map[string][2]string, expr string, labels ...string) {
	t.Helper()
	require.Equal(t, strings.Count(expr, "("), strings.Count(expr, ")"), expr)
	require.Equal(t, strings.Count(expr, "{"), strings.Count(expr, "}"), expr)
	uses := metricUse.FindAllString(expr, -1)
	require.NotEmpty(t, uses, expr)
	has := []string{"instance", "le"}
	for _, name := range uses {
		m, ok := known[name]
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			if base, cut := strings.CutSuffix(name, suffix); cut && !ok {
				m, ok = known[base]
				require.Equal(t, "histogram", m[0], expr)
			}
		}
		require.True(t, ok, "%s asks for %s, which does not exist", expr, name)
		if m[0] == "counter" {
			require.Regexp(t, `(rate|increase)\(`+name+`\b`, expr, "a counter by itself says little")
		}
		for label := range strings.SplitSeq(m[1], ",") {
			has = append(has, strings.Trim(label, " `"))
		}
	}
	for _, g := range grouping.FindAllStringSubmatch(expr, -1) {
		labels = append(labels, strings.Split(strings.ReplaceAll(g[1], " ", ""), ",")...)
	}
	for _, label := range labels {
		require.True(t, slices.Contains(has, label), "%s: no label %s", expr, label)
	}
}

func referenced(texts ...string) (labels []string) {
	for _, s := range texts {
		for _, m := range reference.FindAllStringSubmatch(s, -1) {
			labels = append(labels, m[1]+m[2])
		}
	}
	return labels
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
	require.NoError(t, json.Unmarshal([]byte(text(t, "grafana/lmqgate.json")), &d))
	require.Equal(t, "lmqgate", d.UID)
	known := metricsOfTheGateway(t)
	ids := map[int]bool{}
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
			checkExpr(t, known, target.Expr, referenced(target.LegendFormat)...)
		}
	}
}

func TestTheAlertRulesAskForMetricsThatExistAndSayWhatToDo(t *testing.T) {
	var file struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert       string
				Expr        string
				For         string
				Labels      map[string]string
				Annotations map[string]string
			}
		}
	}
	in := yaml.NewDecoder(strings.NewReader(text(t, "prometheus/alerts.yaml")))
	in.KnownFields(true)
	require.NoError(t, in.Decode(&file))
	known := metricsOfTheGateway(t)
	seen := map[string]bool{}
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			require.Regexp(t, `^Lmqgate[A-Z][A-Za-z0-9]+$`, r.Alert)
			require.False(t, seen[r.Alert], r.Alert)
			seen[r.Alert] = true
			require.Contains(t, []string{"critical", "warning"}, r.Labels["severity"], r.Alert)
			require.NotEmpty(t, r.Annotations["summary"], r.Alert)
			require.NotEmpty(t, r.Annotations["remedy"], r.Alert)
			if r.For != "" {
				_, err := time.ParseDuration(r.For)
				require.NoError(t, err, r.Alert)
			}
			checkExpr(t, known, r.Expr, referenced(r.Annotations["summary"])...)
		}
	}
	require.NotEmpty(t, seen)
}
