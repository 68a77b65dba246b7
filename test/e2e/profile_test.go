package e2e

import (
	"os"
	"testing"

	"github.com/lmqgate/lmqgate/test/rocketmq/cluster"
)

// settings are a part of a configuration file.
type settings = map[string]any

// profile is one way to run the gateway: where messages and metadata are kept.
type profile struct {
	name     string
	settings func(t *testing.T) settings
}

var (
	localProfile = profile{"local", func(*testing.T) settings {
		return settings{"store": settings{"type": "local"}, "meta": settings{"plugin": "meta-local"}}
	}}
	rocketmqProfile = profile{"rocketmq", func(t *testing.T) settings {
		t.Helper()
		return rocketmqSettings(rocketmqCluster.get(t).Namesrv())
	}}
)

func rocketmqSettings(namesrv []string) settings {
	return settings{
		"store": settings{"type": "rocketmq", "rocketmq": settings{"namesrv": namesrv}},
		"meta":  settings{"plugin": "meta-namesrv", "config": settings{"namesrv": namesrv}},
	}
}

// everywhere runs a scenario on each profile.
func everywhere(t *testing.T, scenario func(t *testing.T, p profile)) {
	t.Helper()
	for _, p := range []profile{localProfile, rocketmqProfile} {
		name := p.name
		if v := os.Getenv(cluster.EnvVersion); v != "" && name == rocketmqProfile.name {
			name += "-" + v
		}
		t.Run(name, func(t *testing.T) { scenario(t, p) })
	}
}
