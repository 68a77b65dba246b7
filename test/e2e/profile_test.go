package e2e

import (
	"os"
	"testing"

	"github.com/lmqgate/lmqgate/plugins/meta-etcd/etcdtest"
	"github.com/lmqgate/lmqgate/test/rocketmq/cluster"
)

// settings are a part of a configuration file.
type settings = map[string]any

// profile is one way to run the gateway: its store, its metadata backend and its auth plugin.
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
		// Tests count records, and a record that is sent again may be there twice.
		"store": settings{"type": "rocketmq", "rocketmq": settings{"namesrv": namesrv, "send_timeout": "30s"}},
		// One user has the sessions of all tests that share these name servers.
		"limits": settings{"identity": settings{"share": 100}},
		"meta":   settings{"plugin": "meta-namesrv", "config": settings{"namesrv": namesrv}},
	}
}

// everywhere runs a scenario on each profile, concurrently.
func everywhere(t *testing.T, scenario func(t *testing.T, p profile)) {
	t.Helper()
	for _, p := range stores() {
		name := p.name
		if v := os.Getenv(cluster.EnvVersion); v != "" && name == rocketmqProfile.name {
			name += "-" + v
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			scenario(t, p)
		})
	}
}

// stores returns the profiles that differ in the store. A run for an additional version of RocketMQ omits the local one.
func stores() []profile {
	if cluster.VersionRun() {
		return []profile{rocketmqProfile}
	}
	return []profile{localProfile, rocketmqProfile}
}

// withEachPlugin runs a scenario everywhere, on the local store with each other auth plugin, and on both stores with metadata in etcd. Only
// auth.plugin, auth.config, meta.plugin, meta.config and the credentials differ.
func withEachPlugin(t *testing.T, scenario func(t *testing.T, p profile)) {
	t.Helper()
	everywhere(t, scenario)
	if cluster.VersionRun() {
		return
	}
	for _, scheme := range []*authScheme{fileScheme, jwtScheme, httpScheme} {
		p := localProfile
		p.auth = scheme
		t.Run(p.name+"-"+scheme.plugin, func(t *testing.T) {
			t.Parallel()
			scenario(t, p)
		})
	}
	for _, p := range stores() {
		t.Run(p.name+"-meta-etcd", func(t *testing.T) {
			t.Parallel()
			scenario(t, onEtcd(p, etcdtest.Start(t, etcdtest.Options{})))
		})
	}
}

// onEtcd returns a profile with its metadata in etcd.
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
