package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/plugins/sdk"
	"github.com/lmqgate/lmqgate/plugins/sdk/plugintest"
)

func TestThePluginKeepsTheContract(t *testing.T) {
	profile, err := plugintest.LoadProfile(plugintest.ProfileName)
	require.NoError(t, err)
	t.Run("in this process", func(t *testing.T) {
		plugintest.RunAuth(t, plugintest.AuthPlugin(func() sdk.AuthPlugin { return &plugin{} }), profile)
	})
	t.Run("as a program", func(t *testing.T) {
		plugintest.RunAuth(t, plugintest.Build(t, "."), profile)
	})
}
