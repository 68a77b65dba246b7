package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/test/rocketmq/cluster"
)

// onEachVersion lists the tests of a run for an additional version (see cluster.VersionRun); only their profiles on RocketMQ run. Their
// outcome can depend on the version, and the tests of core/store/rocketmq, which also run on each version, do not show it: dispatch by other
// gateways and producers, point to point, what sessions find after a broker or a gateway was killed, and POP by members of groups.
var onEachVersion = []string{
	"TestARocketMQConsumerGetsWhatMQTTClientsPublish",
	"TestARocketMQMessageWithQueuesReachesSleepingSessions",
	"TestMQTT5PropertiesTravelThroughRocketMQBothWays",
	"TestNothingAcknowledgedIsLostWhenTheBrokerIsKilled",
	"TestAPersistentSessionGetsWhatItMissed",
	"TestAKilledGatewayKeepsSessionsRetainedMessagesAndSubscriptions",
	"TestPointToPointReachesItsClientOnly",
	"TestTopicsAreCreatedOnFirstUseWhereThatIsConfigured",
	"TestAKilledGatewaysMembersMessagesComeToOthers",
	"TestAGroupOfEveryTopicGetsWhatIsPublishedToOnesThatComeLater",
}

// briefly lists the tests of onEachVersion that are part of a brief run: storing and reading, dispatch by others, and POP.
var briefly = []string{
	"TestARocketMQConsumerGetsWhatMQTTClientsPublish",
	"TestARocketMQMessageWithQueuesReachesSleepingSessions",
	"TestMQTT5PropertiesTravelThroughRocketMQBothWays",
	"TestAPersistentSessionGetsWhatItMissed",
	"TestPointToPointReachesItsClientOnly",
	"TestAGroupOfEveryTopicGetsWhatIsPublishedToOnesThatComeLater",
}

// choose sets go test's flags -run and -parallel if they are not given: the tests of a version run, and more concurrent tests than there are
// processors, because they mostly wait.
func choose() error {
	if cluster.VersionRun() {
		tests := onEachVersion
		if cluster.Brief() {
			tests = briefly
		}
		if err := cluster.SetFlag("test.run", "^("+strings.Join(tests, "|")+")$"); err != nil {
			return err
		}
	}
	return cluster.SetFlag("test.parallel", strconv.Itoa(2*runtime.GOMAXPROCS(0)))
}

func TestTheTestsOfEachVersionExist(t *testing.T) {
	files, err := filepath.Glob("*_test.go")
	require.NoError(t, err)
	have := map[string]bool{}
	for _, f := range files {
		text, err := os.ReadFile(f)
		require.NoError(t, err)
		for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllStringSubmatch(string(text), -1) {
			have[m[1]] = true
		}
	}
	for _, name := range onEachVersion {
		require.True(t, have[name], "onEachVersion names %s, which is no test", name)
	}
	require.Subset(t, onEachVersion, briefly)
}
