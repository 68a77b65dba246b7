package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/plugins/sdk/plugintest"
	rocketmq "github.com/lmqgate/lmqgate/test/rocketmq/cluster"
)

func TestThePluginKeepsTheContract(t *testing.T) {
	if rocketmq.VersionRun() {
		t.Skip("the plugin's logic was tested with another version; TestOnRealNamesrvs has each command that it sends")
	}
	c := rocketmq.ForTest(t, rocketmq.Options{Namesrvs: 2, Brokers: rocketmq.NoBroker})
	profile, err := plugintest.LoadProfile(plugintest.ProfileName, `config.namesrv=["`+c.Namesrv()[0]+`", "`+c.Namesrv()[1]+`"]`)
	require.NoError(t, err)
	plugintest.RunMeta(t, plugintest.Build(t, "."), profile)
}
