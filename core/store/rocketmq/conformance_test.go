package rocketmq

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/store/storetest"
	"github.com/lmqgate/lmqgate/test/rocketmq/cluster"
)

func TestIntegrationTheStoreConforms(t *testing.T) {
	s := open(t, sharedCluster(t))
	f := storetest.Factory{
		Open:       func(*testing.T) store.Store { return s },
		Patience:   2 * time.Minute,
		MaxPayload: 4<<20 - 64<<10, TooLarge: 4<<20 + 1,
		InvalidTopic:      "sensor.1",
		Epochs:            true,
		LongestGroupQueue: 205,
		Strangers:         true,
		Load:              0.5,
		Parallel:          true,
	}
	if !cluster.Brief() {
		f.OpenCrashable, f.OpenExpiring = crashable, startExpiring(t)
	}
	storetest.Run(t, f)
}

// crashable returns a store, and a function that kills and restarts its broker. The store keeps running. Brokers write committed offsets to
// disk in intervals, so the function waits for the next write before it kills the broker.
func crashable(t *testing.T) (store.Store, func(*testing.T) store.Store) {
	c := harmedCluster(t)
	s := open(t, c)
	offsets := filepath.Join(c.Dir(), "broker-a", "store", "config", "lmqConsumerOffset.json")
	return s, func(t *testing.T) store.Store {
		// A write that ends after now may have read the offsets before. The write that follows it has not.
		first := awaitWrite(t, offsets, time.Now())
		awaitWrite(t, offsets, first)
		c.KillBroker(0)
		require.NoError(t, c.RestartBroker(t.Context(), 0))
		return s
	}
}

// awaitWrite waits until a file was last written after a moment, and returns the moment of that write.
func awaitWrite(t *testing.T, file string, after time.Time) (written time.Time) {
	t.Helper()
	require.Eventually(t, func() bool {
		info, err := os.Stat(file) // the broker replaces the file, so it is missing for a moment
		if err != nil {
			return false
		}
		written = info.ModTime()
		return written.After(after)
	}, patience, 20*time.Millisecond, "the broker writes %s", file)
	return written
}

// startExpiring starts a broker that retains only its newest file of 1 MiB. Brokers first look for old files a minute after they start, so
// the other cases run in the meantime.
func startExpiring(t *testing.T) func(*testing.T) (store.Store, func(*testing.T)) {
	hours := make([]string, 24)
	for i := range hours {
		hours[i] = fmt.Sprintf("%02d", i)
	}
	c := cluster.ForTest(t, cluster.Options{Broker: map[string]string{
		"mappedFileSizeCommitLog": "1048576", "maxMessageSize": "131072",
		"fileReservedTime": "0", "deleteWhen": strings.Join(hours, ";"), "cleanResourceInterval": "500",
	}})
	return func(t *testing.T) (store.Store, func(*testing.T)) {
		s := open(t, c)
		return s, func(t *testing.T) {
			filler := newTopic(t, s, 1)
			queues, err := filepath.Glob(filepath.Join(c.Dir(), "broker-a", "store", "consumequeue", lmqPrefix+"*"))
			require.NoError(t, err)
			require.NotEmpty(t, queues)
			require.Eventually(t, func() bool {
				appendOne(t, s, store.Append{Message: message(filler, strings.Repeat("x", 100_000)), Topic: filler, Key: "k"})
				for _, dir := range queues {
					b, err := s.Bounds(t.Context(), store.QueueRef{Queue: strings.TrimPrefix(filepath.Base(dir), lmqPrefix), Broker: "broker-a"})
					if err != nil || b.Min < b.Max {
						return false
					}
				}
				return true
			}, patience, 50*time.Millisecond, "the broker keeps the records")
		}
	}
}
