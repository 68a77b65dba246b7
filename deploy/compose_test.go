package deploy

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/lmqgate/lmqgate/core/config"
)

// service is what the tests look at of a service of compose.yaml.
type service struct {
	Image       string
	Environment map[string]string
	Volumes     []string
	Ports       []string
	DependsOn   []string `yaml:"depends_on"`
}

func composed(t *testing.T) (services map[string]service, volumes map[string]any) {
	t.Helper()
	var c struct {
		Services map[string]service
		Volumes  map[string]any
	}
	require.NoError(t, yaml.Unmarshal([]byte(text(t, "compose.yaml")), &c))
	return c.Services, c.Volumes
}

func TestComposeStartsAClusterWithItsMonitoringOnLoopback(t *testing.T) {
	services, _ := composed(t)
	require.Equal(t, []string{"broker", "etcd", "gate1", "gate2", "gate3", "grafana", "namesrv", "prometheus"},
		slices.Sorted(maps.Keys(services)))
	taken := map[string]bool{}
	for name, s := range services {
		if !strings.HasPrefix(name, "gate") {
			require.Regexp(t, `:v?\d+\.\d+\.\d+$`, s.Image, "%s has no version", name)
		}
		for _, port := range s.Ports {
			require.True(t, strings.HasPrefix(port, "127.0.0.1:"), "%s: %s is open to other machines", name, port)
			host := port[:strings.LastIndex(port, ":")]
			require.False(t, taken[host], "%s: %s is taken", name, host)
			taken[host] = true
		}
		for _, other := range s.DependsOn {
			require.Contains(t, services, other)
		}
	}
}

func TestFilesAndVolumesThatComposeMountsAreThere(t *testing.T) {
	services, volumes := composed(t)
	for name, s := range services {
		for _, v := range s.Volumes {
			from, _, _ := strings.Cut(v, ":")
			if !strings.HasPrefix(from, ".") {
				require.Contains(t, volumes, from, name)
				continue
			}
			info, err := os.Stat(from)
			require.NoError(t, err, name)
			require.False(t, info.IsDir(), "%s: %s would be made as a directory", name, from)
			require.True(t, strings.HasSuffix(v, ":ro"), "%s: %s", name, v)
		}
	}
}

var wanted = regexp.MustCompile(`\$\{(\w+):\?[^}]*\}`)

// TestTheGatewaysOfComposeHaveAValidConfiguration checks what `lmqgate config check` checks of a file, with the environment of each
// service, where the person who starts it has set what is wanted.
func TestTheGatewaysOfComposeHaveAValidConfiguration(t *testing.T) {
	services, _ := composed(t)
	ids := map[string]bool{}
	for _, name := range []string{"gate1", "gate2", "gate3"} {
		s := services[name]
		var file string
		for _, v := range s.Volumes {
			if from, ok := strings.CutSuffix(v, ":/etc/lmqgate/lmqgate.yaml:ro"); ok {
				file = from
			}
		}
		_, err := config.Load(file, nil, nil)
		require.ErrorContains(t, err, "admin.token", "it has no secrets of its own")
		var env []string
		for k, v := range s.Environment {
			env = append(env, k+"="+wanted.ReplaceAllString(v, "sixteen-bytes-or-more"))
		}
		c, err := config.Load(file, nil, env)
		require.NoError(t, err, name)
		require.False(t, ids[c.Node.ID], "node ids are unique")
		ids[c.Node.ID] = true
		for _, l := range c.Listeners {
			require.False(t, config.Loopback(l.Address), "%s: %s cannot be reached from outside of the container", name, l.Address)
		}
		for _, addr := range c.Store.RocketMQ.Namesrv {
			require.Contains(t, services, strings.TrimSuffix(addr, ":9876"))
		}
		_, endpoints := c.Meta.Config.Addresses()
		require.Len(t, endpoints, 1)
		require.Equal(t, "etcd:2379", endpoints[0].Dial)
	}
}

func TestTheBrokerOfComposeHasLightMessageQueues(t *testing.T) {
	conf := text(t, "compose/broker.conf")
	for _, line := range []string{"enableLmq = true", "enableMultiDispatch = true", "brokerIP1 = broker", "namesrvAddr = namesrv:9876"} {
		require.Contains(t, conf, "\n"+line+"\n")
	}
}

func TestPrometheusOfComposeScrapesEachGatewayAndHasTheRules(t *testing.T) {
	var c struct {
		RuleFiles     []string `yaml:"rule_files"`
		ScrapeConfigs []struct {
			StaticConfigs []struct{ Targets []string } `yaml:"static_configs"`
		} `yaml:"scrape_configs"`
	}
	require.NoError(t, yaml.Unmarshal([]byte(text(t, "compose/prometheus.yaml")), &c))
	require.Equal(t, []string{"gate1:8080", "gate2:8080", "gate3:8080"}, c.ScrapeConfigs[0].StaticConfigs[0].Targets)
	services, _ := composed(t)
	for _, file := range c.RuleFiles {
		require.True(t, slices.ContainsFunc(services["prometheus"].Volumes, func(v string) bool {
			return strings.HasSuffix(v, ":"+filepath.Join("/etc/prometheus", file)+":ro")
		}), file)
	}
}
