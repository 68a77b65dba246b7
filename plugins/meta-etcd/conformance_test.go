package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/plugins/meta-etcd/etcdtest"
	"github.com/lmqgate/lmqgate/plugins/sdk"
	"github.com/lmqgate/lmqgate/plugins/sdk/plugintest"
)

func TestThePluginKeepsTheContract(t *testing.T) {
	cluster := etcdtest.Start(t, etcdtest.Options{})
	// On a busy machine etcd takes seconds for a value of a megabyte. The kit itself gives each call a bound.
	profile, err := plugintest.LoadProfile(plugintest.ProfileName, `config.endpoints=["`+cluster.Endpoints()[0]+`"]`, `config.request_timeout="60s"`)
	require.NoError(t, err)
	t.Run("in this process", func(t *testing.T) {
		plugintest.RunMeta(t, plugintest.MetaPlugin(func() sdk.MetaPlugin { return newEtcd() }), profile)
	})
	t.Run("as a program", func(t *testing.T) {
		plugintest.RunMeta(t, plugintest.Build(t, "."), profile)
	})
}
