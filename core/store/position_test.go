package store

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPositionsOfOneBrokerAreOrderedByItsLogUnlessItMayHaveBegunANewOne(t *testing.T) {
	const minute = 60_000
	for _, c := range []struct {
		what          string
		before, after Position
	}{
		{"by the log", Position{Broker: "a", Log: 1, Time: 5}, Position{Broker: "a", Log: 2, Time: 6}},
		{"by the log where clocks differ", Position{Broker: "a", Log: 1, Time: minute}, Position{Broker: "a", Log: 2, Time: 6}},
		{"by time where the log began anew", Position{Broker: "a", Log: 900, Time: 5}, Position{Broker: "a", Log: 2, Time: 2 * minute}},
		{"by time between brokers", Position{Broker: "b", Log: 900, Time: 5}, Position{Broker: "a", Log: 2, Time: 6}},
		{"by time where the log is not known", Position{Broker: "a", Log: -1, Time: 5}, Position{Broker: "a", Log: 2, Time: 6}},
		{"by broker at the same time", Position{Broker: "a", Log: 9, Time: 5}, Position{Broker: "b", Log: 2, Time: 5}},
	} {
		require.True(t, c.before.Before(c.after), c.what)
		require.False(t, c.after.Before(c.before), c.what)
		require.False(t, c.before.Before(c.before), c.what)
	}
	require.True(t, Position{Broker: "a", Partition: 1, Offset: 2, Log: 3, Time: 4}.Same(Position{Broker: "a", Partition: 1, Offset: 2, Log: 3, Time: 5}))
	require.False(t, Position{Broker: "a", Partition: 1, Offset: 2, Log: 3, Time: 4}.Same(Position{Broker: "a", Partition: 1, Offset: 1, Log: 3, Time: 4}))
}
