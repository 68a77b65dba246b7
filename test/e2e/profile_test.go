package e2e

import (
	"os"
	"testing"

	"github.com/lmqgate/lmqgate/plugins/meta-etcd/etcdtest"
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

// withEachPlugin runs a scenario everywhere, on the local store with each other auth plugin, and on both stores with metadata in
// etcd. Nothing but auth.plugin, auth.config, meta.plugin and meta.config, and what clients log in with, is different.
func withEachPlugin(t *testing.T, scenario func(t *testing.T, p profile)) {
	t.Helper()
	everywhere(t, scenario)
	for _, scheme := range []*authScheme{fileScheme, jwtScheme, httpScheme} {
		p := localProfile
		p.auth = scheme
		t.Run(p.name+"-"+scheme.plugin, func(t *testing.T) { scenario(t, p) })
	}
	for _, p := range []profile{localProfile, rocketmqProfile} {
		t.Run(p.name+"-meta-etcd", func(t *testing.T) {
			if p.name == rocketmqProfile.name {
				withoutOlderRocketMQ(t)
			}
			scenario(t, onEtcd(p, etcdtest.Start(t, etcdtest.Options{})))
		})
	}
}

// onEtcd is a profile with its metadata in etcd.
func onEtcd(p profile, c *etcdtest.Cluster) profile {
	before := p.settings
	p.settings = func(t *testing.T) settings {
		t.Helper()
		s := before(t)
		s["meta"] = etcdMeta(c, "/lmqgate")
		return s
	}
	return p
}

// withoutOlderRocketMQ leaves a test to which the version of RocketMQ does not matter, and which is slow, to the run with the
// recommended one, where several are run one after the other.
func withoutOlderRocketMQ(t *testing.T) {
	t.Helper()
	if v := os.Getenv(cluster.EnvVersion); v != "" && v != cluster.Versions[0] {
		t.Skipf("the version of RocketMQ does not matter to it; it runs with %s", cluster.Versions[0])
	}
}
