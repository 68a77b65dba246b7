package gateway

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/config"
)

// TestOperatorsAreShownEveryLimitOfTheConfiguration: a new key is a line of seenBounds, or is named here with what shows it.
func TestOperatorsAreShownEveryLimitOfTheConfiguration(t *testing.T) {
	elsewhere := map[string]string{
		"limits.client.flaps": "bans", "limits.address.failed_logins": "bans", "limits.cluster.reserve": "metadata keys",
		"limits.address.loopback":    "limits.address.unauthenticated", // says for whom that is
		"limits.node.connect_memory": "limits.node.unauthenticated",    // of the same connections
	}
	g := &Gateway{}
	var shown []string
	for _, b := range g.seenBounds() {
		require.NotContains(t, shown, b.key)
		require.NotEmpty(t, b.what, b.key)
		shown = append(shown, b.key)
	}
	keys := 0
	for _, key := range config.Keys() {
		if !strings.HasPrefix(key, "limits.") || strings.Count(key, ".") < 2 || strings.HasSuffix(key, "_rate") && key != "limits.address.connect_rate" {
			continue
		}
		keys++
		if other := elsewhere[key]; other != "" {
			key = other
		}
		require.True(t, slices.Contains(shown, key), key)
	}
	require.Greater(t, keys, 15)
	require.Contains(t, shown, "limits.*.*_rate")
}
