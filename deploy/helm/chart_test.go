// Package helm tests the chart with Helm's own library. It is a module of its own, because Helm brings Kubernetes' libraries, which lmqgate
// does not need.
package helm

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
	"sigs.k8s.io/yaml"
)

type values = map[string]any

var secret = values{"secret": values{"env": values{"LMQGATE_ADMIN__TOKEN": "sixteen-bytes-or-more",
	"LMQGATE_AUTH__CONFIG__USERS": `[{"username": "device", "secret_key": "s"}]`}}}

func with(more values) values {
	out := values{}
	for k, v := range secret {
		out[k] = v
	}
	for k, v := range more {
		out[k] = v
	}
	return out
}

// rendered are the objects that the chart makes, by kind and name.
func rendered(t *testing.T, v values) map[string]values {
	t.Helper()
	all, err := render(t, v)
	require.NoError(t, err)
	out := map[string]values{}
	for file, text := range all {
		if strings.HasSuffix(file, "NOTES.txt") {
			require.Contains(t, text, "port-forward gate-lmqgate-0")
			continue
		}
		for _, doc := range strings.Split(text, "\n---\n") {
			if strings.TrimSpace(doc) == "" {
				continue
			}
			var object values
			require.NoError(t, yaml.UnmarshalStrict([]byte(doc), &object), "%s:\n%s", file, doc)
			if object == nil {
				continue
			}
			name := object["kind"].(string) + " " + at(object, "metadata", "name").(string)
			require.NotContains(t, out, name)
			out[name] = object
		}
	}
	return out
}

func render(t *testing.T, v values) (map[string]string, error) {
	t.Helper()
	chart, err := loader.Load("lmqgate")
	require.NoError(t, err)
	all, err := chartutil.ToRenderValues(chart, v, chartutil.ReleaseOptions{Name: "gate", Namespace: "iot"}, chartutil.DefaultCapabilities)
	require.NoError(t, err)
	return engine.Render(chart, all)
}

// at follows keys and, as numbers, places in lists.
func at(v any, path ...any) any {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := v.(values)
			v = m[p]
		case int:
			v = v.([]any)[p]
		}
	}
	return v
}

func TestTheChartPassesLint(t *testing.T) {
	for _, m := range lint.All("lmqgate", secret, "iot", true).Messages {
		require.Less(t, m.Severity, support.WarningSev, "%s: %v", m.Path, m.Err)
	}
}

func TestTheChartMakesGatewaysThatCannotDoHarm(t *testing.T) {
	objects := rendered(t, secret)
	set := objects["StatefulSet gate-lmqgate"]
	require.NotNil(t, set)
	require.Len(t, objects, 6)
	require.EqualValues(t, 3, at(set, "spec", "replicas"))
	require.Equal(t, at(set, "spec", "selector", "matchLabels"), at(objects["Service gate-lmqgate"], "spec", "selector"))
	pod := at(set, "spec", "template", "spec")
	require.Equal(t, true, at(pod, "securityContext", "runAsNonRoot"))
	container := at(pod, "containers", 0)
	require.Equal(t, "lmqgate:0.1.0", at(container, "image"))
	require.Equal(t, true, at(container, "securityContext", "readOnlyRootFilesystem"))
	require.Equal(t, "metadata.name", at(container, "env", 0, "valueFrom", "fieldRef", "fieldPath"), "node.id is the pod's name")
	require.Equal(t, "gate-lmqgate", at(container, "envFrom", 0, "secretRef", "name"))
	require.Equal(t, "/readyz", at(container, "readinessProbe", "httpGet", "path"))
	require.Equal(t, "sixteen-bytes-or-more", at(objects["Secret gate-lmqgate"], "stringData", "LMQGATE_ADMIN__TOKEN"))
	require.Contains(t, objects, "PodDisruptionBudget gate-lmqgate")

	var config values
	require.NoError(t, yaml.Unmarshal([]byte(at(objects["ConfigMap gate-lmqgate"], "data", "lmqgate.yaml").(string)), &config))
	chart, err := loader.Load("lmqgate")
	require.NoError(t, err)
	require.Equal(t, at(chart.Values, "config", "store"), config["store"])
	require.NotContains(t, at(objects["ConfigMap gate-lmqgate"], "data", "lmqgate.yaml"), "sixteen-bytes-or-more")
}

func TestSecretsAreWantedOrNamed(t *testing.T) {
	_, err := render(t, values{})
	require.ErrorContains(t, err, "secret.existing")
	objects := rendered(t, values{"secret": values{"existing": "mine"}})
	require.NotContains(t, objects, "Secret gate-lmqgate")
	require.Equal(t, "mine", at(objects["StatefulSet gate-lmqgate"], "spec", "template", "spec", "containers", 0, "envFrom", 0, "secretRef", "name"))
}

func TestOptionsOfTheChart(t *testing.T) {
	objects := rendered(t, with(values{"replicas": 1, "persistence": values{"enabled": true, "storageClassName": "fast"},
		"serviceMonitor": values{"enabled": true}, "service": values{"type": "LoadBalancer", "annotations": values{"a": "b"}},
		"image": values{"tag": "9"}, "podAnnotations": values{"x": "y"}, "nodeSelector": values{"disk": "ssd"}}))
	require.NotContains(t, objects, "PodDisruptionBudget gate-lmqgate")
	require.Contains(t, objects, "ServiceMonitor gate-lmqgate")
	require.Equal(t, "LoadBalancer", at(objects["Service gate-lmqgate"], "spec", "type"))
	set := objects["StatefulSet gate-lmqgate"]
	require.Equal(t, "fast", at(set, "spec", "volumeClaimTemplates", 0, "spec", "storageClassName"))
	require.Equal(t, "lmqgate:9", at(set, "spec", "template", "spec", "containers", 0, "image"))
	require.Equal(t, "y", at(set, "spec", "template", "metadata", "annotations", "x"))
	require.Equal(t, "ssd", at(set, "spec", "template", "spec", "nodeSelector", "disk"))
}

func TestAnotherConfigurationRestartsTheGateways(t *testing.T) {
	sum := func(v values) any {
		return at(rendered(t, v)["StatefulSet gate-lmqgate"], "spec", "template", "metadata", "annotations", "checksum/config")
	}
	require.NotEqual(t, sum(secret), sum(with(values{"config": values{"log": values{"level": "debug"}}})))
}
