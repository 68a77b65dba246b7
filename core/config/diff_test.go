package config

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDifferencesAreNamedByTheirKeys(t *testing.T) {
	load := func(sets ...string) *Config {
		c, err := Load("", append([]string{"store.type=local", "admin.token=t123456789abcdef"}, sets...), nil)
		require.NoError(t, err)
		return c
	}
	require.Empty(t, Differences(load(), load()))
	require.Empty(t, Differences(load(), load("plugins.checksums={}")))
	require.Equal(t, []string{"node.id", "listeners", "mqtt.max_connections", "auth.config", "store.rocketmq.tls.enabled", "store.local.sync",
		"topics.auto_create", "admin.token", "plugins.checksums", "log.level"},
		Differences(load(), load("node.id=x", `listeners=[{type: tcp, address: "127.0.0.1:1"}]`, "mqtt.max_connections=1",
			"auth.config={users: [{username: a, secret_key: b}]}", "store.rocketmq.tls={enabled: true}", "store.local.sync=1s",
			"topics.auto_create=false", "admin.token=u123456789abcdef", "plugins.checksums={a: 'sha256:"+
				"0000000000000000000000000000000000000000000000000000000000000000'}", "log.level=debug")))
}
