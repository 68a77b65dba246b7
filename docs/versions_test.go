package docs

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/test/rocketmq/cluster"
)

// TestTheVersionsOfRocketMQThatAreTestedAreKnownToTheTestsAndDocumented ties the Makefile to the tests and the README.
func TestTheVersionsOfRocketMQThatAreTestedAreKnownToTheTestsAndDocumented(t *testing.T) {
	makefile, err := os.ReadFile("../Makefile")
	require.NoError(t, err)
	found := regexp.MustCompile(`(?m)^ROCKETMQ_VERSIONS := (.+)$`).FindSubmatch(makefile)
	require.NotNil(t, found)
	tested := strings.Fields(string(found[1]))
	require.Equal(t, cluster.Versions[0], tested[0], "the recommended version comes first in both")
	require.Subset(t, cluster.Versions, tested)
	readme, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	for _, version := range tested {
		require.Contains(t, string(readme), version)
	}
}
