package local

import (
	"context"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/store/storetest"
	"github.com/lmqgate/lmqgate/internal/leftover"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv(childFaults) != "" { // a store whose disk has failed leaves goroutines behind, see walFS
		os.Exit(m.Run())
	}
	goleak.VerifyTestMain(leftover.Patient(m))
}

// start opens and starts a store, and closes it when the test ends.
func start(t testing.TB, o Options) *Store {
	t.Helper()
	if o.Path == "" {
		o.Path = t.TempDir()
	}
	s, err := New(o)
	require.NoError(t, err)
	require.NoError(t, s.Start(context.Background()))
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func TestLocalStoreConforms(t *testing.T) {
	t.Parallel()
	storetest.Run(t, factory(SyncAlways))
}

func TestLocalStoreWithIntervalSyncConforms(t *testing.T) {
	t.Parallel()
	f := factory(SyncInterval)
	f.Load = 0.3
	f.OpenCrashable = nil // a crash may lose what the interval has not synced yet
	storetest.Run(t, f)
}

func factory(mode SyncMode) storetest.Factory {
	return storetest.Factory{
		Open: func(t *testing.T) store.Store { return start(t, Options{Path: "mem", Sync: mode, fs: vfs.NewMem()}) },
		OpenCrashable: func(t *testing.T) (store.Store, func(*testing.T) store.Store) {
			fs := vfs.NewCrashableMem()
			s := start(t, Options{Path: "mem", Sync: mode, fs: fs})
			return s, func(t *testing.T) store.Store {
				// Unsynced data is lost. The old store goes on running on a file system that nobody uses any more.
				return start(t, Options{Path: "mem", Sync: mode, fs: fs.CrashClone(vfs.CrashCloneCfg{})})
			}
		},
		OpenExpiring: func(t *testing.T) (store.Store, func(*testing.T)) {
			var skew atomic.Int64
			s := start(t, Options{
				Path: "mem", Sync: mode, fs: vfs.NewMem(), Retention: time.Hour,
				now: func() time.Time { return time.Now().Add(time.Duration(skew.Load())) },
			})
			return s, func(t *testing.T) {
				skew.Add(int64(2 * time.Hour))
				require.NoError(t, s.expire())
			}
		},
		MaxPayload:   DefaultMaxRecord - 4096,
		TooLarge:     DefaultMaxRecord,
		InvalidTopic: "a+b",
		Epochs:       true,
	}
}
