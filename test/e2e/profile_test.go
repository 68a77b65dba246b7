package e2e

import (
	"os"
	"testing"

	"github.com/lmqgate/lmqgate/test/rocketmq/cluster"
)

// settings are a part of a configuration file.
type settings = map[string]any

// profile is one way to run the gateway: where messages and metadata are kept, and who may do what.
type profile struct {
	name     string
	settings func(t *testing.T) settings
	auth     *authScheme // nil: auth-hmac
}

var (
	localProfile = profile{name: "local", settings: func(*testing.T) settings {
		return settings{"store": settings{"type": "local"}, "meta": settings{"plugin": "meta-local"}}
	}}
	rocketmqProfile = profile{name: "rocketmq", settings: func(t *testing.T) settings {
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

// withoutRocketMQ leaves a test that is slow and needs no RocketMQ to the run with the recommended version, where several are run
// one after the other.
func withoutRocketMQ(t *testing.T) {
	t.Helper()
	if v := os.Getenv(cluster.EnvVersion); v != "" && v != cluster.Versions[0] {
		t.Skipf("it needs no RocketMQ and runs with %s", cluster.Versions[0])
	}
}
