package deploy

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/lmqgate/lmqgate/core/config"
)

// TestTheChartsConfigurationIsValidAndOpenToItsPorts looks at the values of the Helm chart. deploy/helm renders it.
func TestTheChartsConfigurationIsValidAndOpenToItsPorts(t *testing.T) {
	var values struct {
		Config    map[string]any
		Ports     []struct{ Port string }
		AdminPort string `yaml:"adminPort"`
	}
	require.NoError(t, yaml.Unmarshal([]byte(text(t, "helm/lmqgate/values.yaml")), &values))
	rendered, err := yaml.Marshal(values.Config)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "lmqgate.yaml")
	require.NoError(t, os.WriteFile(file, rendered, 0o600))
	c, err := config.Load(file, nil, []string{"LMQGATE_NODE__ID=lmqgate-0", "LMQGATE_ADMIN__TOKEN=sixteen-bytes-or-more",
		`LMQGATE_AUTH__CONFIG__USERS=[{"username":"device","secret_key":"a-secret-of-ours"}]`})
	require.NoError(t, err)
	require.Equal(t, ":"+values.AdminPort, c.Admin.Address)
	var open []string
	for _, l := range c.Listeners {
		open = append(open, l.Address)
	}
	for _, p := range values.Ports {
		require.Contains(t, open, ":"+p.Port)
	}
	require.Len(t, values.Ports, len(open))
}
