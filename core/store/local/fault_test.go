package local

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/lmqgate/lmqgate/core/store"
	"github.com/stretchr/testify/require"
)

// put appends one message to the queue T%a% and waits for the callback.
func put(s *Store, payload string) (store.Position, error) {
	type result struct {
		p   store.Position
		err error
	}
	done := make(chan result, 1)
	m := &store.Message{Topic: "T/a", Payload: []byte(payload), QoS: 1}
	s.Append(context.Background(), store.Append{Message: m, Topic: "T", Key: "k", Queues: []string{"T%a%"}},
		func(p store.Position, err error) { done <- result{p, err} })
	select {
	case r := <-done:
		return r.p, r.err
	case <-time.After(time.Minute):
		return store.Position{}, errors.New("no callback")
	}
}

func readAll(t *testing.T, s *Store) []string {
	t.Helper()
	var all []string
	for offset := int64(0); ; {
		b, err := s.Read(context.Background(), store.QueueRef{Queue: "T%a%", Broker: Broker}, offset, 100)
		require.NoError(t, err)
		for _, r := range b.Records {
			all = append(all, string(r.Payload))
		}
		if offset = b.Next; offset >= b.Max {
			return all
		}
	}
}

var errDisk = errors.New("input/output error (injected)")

// childFaults is an environment variable. It makes the test binary run the cases that leave goroutines behind.
const childFaults = "LOCAL_STORE_TEST_FAULTS"

func TestAFailedDiskRefusesWritesAndAcknowledgesNothing(t *testing.T) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestChildWithFailingDisk$", "-test.v", "-test.timeout=10m") // the end of what hangs
	cmd.Env = append(os.Environ(), childFaults+"=1")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}

func TestChildWithFailingDisk(t *testing.T) {
	if os.Getenv(childFaults) == "" {
		t.Skip("runs as a child of the test about failed disks")
	}
	for name, fails := range map[string]func(errorfs.Op) bool{
		"sync fails":  func(op errorfs.Op) bool { return op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileSync },
		"write fails": func(op errorfs.Op) bool { return op.Kind == errorfs.OpFileWrite },
		"all fails":   func(op errorfs.Op) bool { return op.Kind.ReadOrWrite() == errorfs.OpIsWrite },
		"no new file": func(op errorfs.Op) bool { return op.Kind == errorfs.OpCreate || op.Kind == errorfs.OpReuseForWrite },
		"tables not": func(op errorfs.Op) bool {
			return strings.HasSuffix(op.Path, ".sst") && op.Kind.ReadOrWrite() == errorfs.OpIsWrite
		},
		"manifest not": func(op errorfs.Op) bool {
			return strings.Contains(op.Path, "MANIFEST") && op.Kind.ReadOrWrite() == errorfs.OpIsWrite
		},
		"log file only": func(op errorfs.Op) bool {
			return strings.HasSuffix(op.Path, ".log") && op.Kind.ReadOrWrite() == errorfs.OpIsWrite
		},
	} {
		t.Run(name, func(t *testing.T) {
			var on atomic.Bool
			mem := vfs.NewCrashableMem()
			fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
				if on.Load() && fails(op) {
					return errDisk
				}
				return nil
			}))
			s, err := New(Options{Path: "mem", fs: fs})
			require.NoError(t, err)
			require.NoError(t, s.Start(context.Background()))
			require.NoError(t, s.CreateTopic(context.Background(), "T", 1))
			_, err = put(s, "before")
			require.NoError(t, err)

			on.Store(true)
			acked := []string{"before"}
			filler := strings.Repeat("x", 512<<10)
			for i := 0; ; i++ { // until the fault occurs, which in some cases takes a full memtable
				require.Less(t, i, 1000, "the fault was never met")
				payload := fmt.Sprintf("%d %s", i, filler)
				if _, err = put(s, payload); err != nil {
					break
				}
				acked = append(acked, payload)
			}
			require.ErrorIs(t, err, store.ErrUnavailable)
			require.ErrorIs(t, s.Ready(context.Background()), store.ErrUnavailable)
			_, err = put(s, "after")
			require.ErrorIs(t, err, store.ErrUnavailable)
			if s.failure.Load() != nil {
				err = s.Commit(
					context.Background(),
					"c",
					1,
					[]store.Offset{{QueueRef: store.QueueRef{Queue: "T%a%", Broker: Broker}, Next: 1}},
				)
				require.ErrorIs(t, err, store.ErrUnavailable)
			}
			require.Equal(t, len(acked), len(readAll(t, s)), "what was acknowledged stays readable, and nothing else is")

			disk := mem.CrashClone(vfs.CrashCloneCfg{})
			_ = s.Close() // must return even if something hangs
			again := start(t, Options{Path: "mem", fs: disk})
			got := readAll(t, again)
			require.GreaterOrEqual(t, len(got), len(acked))
			require.Equal(t, acked, got[:len(acked)], "a restart recovers what was acknowledged")
			_, err = put(again, "on")
			require.NoError(t, err)
		})
	}
}

// diskUsage is a file system whose free space the test sets.
type diskUsage struct {
	vfs.FS
	free atomic.Uint64
}

func (d *diskUsage) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: d.free.Load()}, nil
}

func TestAnAlmostFullDiskRefusesAppendsUntilThereIsSpace(t *testing.T) {
	fs := &diskUsage{FS: vfs.NewMem()}
	fs.free.Store(1 << 30)
	s := start(t, Options{Path: "mem", fs: fs})
	require.NoError(t, s.CreateTopic(context.Background(), "T", 1))
	_, err := put(s, "1")
	require.NoError(t, err)
	fs.free.Store(1 << 20)
	s.checkSpace()
	_, err = put(s, "2")
	require.ErrorIs(t, err, store.ErrUnavailable)
	require.ErrorIs(t, s.Ready(context.Background()), store.ErrUnavailable)
	ref := store.QueueRef{Queue: "T%a%", Broker: Broker}
	require.NoError(t, s.Commit(context.Background(), "c", 1, []store.Offset{{QueueRef: ref, Next: 1}}), "progress is still recorded")
	fs.free.Store(1 << 30)
	s.checkSpace()
	_, err = put(s, "3")
	require.NoError(t, err)
	require.NoError(t, s.Ready(context.Background()))
	require.Equal(t, []string{"1", "3"}, readAll(t, s))
}

func TestADirectoryInUseIsRefusedByName(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	start(t, Options{Path: dir})
	_, err := New(Options{Path: dir})
	require.ErrorContains(t, err, fmt.Sprintf("%q is in use by another process", dir))
}

func TestADirectoryThatCannotBeMadeIsNamed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err := New(Options{Path: filepath.Join(file, "store")})
	require.ErrorContains(t, err, file)
}

// childDir is an environment variable. It makes the test binary a process that appends until it is killed.
const childDir = "LOCAL_STORE_TEST_CHILD"

func TestChildThatAppendsUntilItIsKilled(t *testing.T) {
	dir := os.Getenv(childDir)
	if dir == "" {
		t.Skip("runs as a child of the kill test")
	}
	s, err := New(Options{Path: dir})
	require.NoError(t, err)
	require.NoError(t, s.Start(context.Background()))
	require.NoError(t, s.CreateTopic(context.Background(), "T", 1))
	out := make(chan string, 1024)
	for p := range 8 {
		go func() {
			for i := 0; ; i++ {
				payload := fmt.Sprintf("%d %d", p, i)
				if _, err := put(s, payload); err != nil {
					out <- "error " + err.Error()
					return
				}
				out <- payload
			}
		}()
	}
	for line := range out { // one write per line: everything in the pipe was acknowledged
		if _, err := fmt.Println("acked " + line); err != nil {
			return
		}
	}
}

func TestAKilledProcessLosesNothingAcknowledged(t *testing.T) {
	dir := t.TempDir()
	acked := map[string]bool{}
	for round := range 3 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestChildThatAppendsUntilItIsKilled$")
		cmd.Env = append(os.Environ(), childDir+"="+dir)
		pipe, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		lines := bufio.NewReader(pipe)
		for n := 0; ; n++ {
			line, err := lines.ReadString('\n')
			if err != nil {
				require.ErrorIs(t, err, io.EOF)
				require.GreaterOrEqual(t, n, 500)
				break
			}
			payload, ok := strings.CutPrefix(strings.TrimSpace(line), "acked ")
			require.True(t, ok, "child says %q", line)
			acked[fmt.Sprintf("%d: %s", round, payload)] = true
			if n == 500 {
				require.NoError(t, cmd.Process.Kill()) // SIGKILL; the rest of the pipe is still read
			}
		}
		_ = cmd.Wait()

		s, err := New(Options{Path: dir})
		require.NoError(t, err)
		require.NoError(t, s.Start(context.Background()))
		found := map[string]int{}
		next := make([]int, 8)
		for _, payload := range readAll(t, s) {
			var p, i int
			_, err := fmt.Sscanf(payload, "%d %d", &p, &i)
			require.NoError(t, err)
			if i == 0 { // the child of a new round starts again from 0
				next[p] = 0
			}
			require.Equal(t, next[p], i, "publisher %d", p)
			next[p]++
			found[payload]++
		}
		for key := range acked {
			r, payload, _ := strings.Cut(key, ": ")
			require.Positive(t, found[payload], "acknowledged in round %s", r)
		}
		require.NoError(t, s.Close())
	}
}

func TestAFullDiskIsWaitedForAndNothingIsLost(t *testing.T) {
	for name, kinds := range map[string][]errorfs.OpKind{
		"write":  {errorfs.OpFileWrite},
		"create": {errorfs.OpCreate, errorfs.OpReuseForWrite},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var on atomic.Bool
			fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
				if on.Load() && slices.Contains(kinds, op.Kind) {
					return &os.PathError{Op: "write", Path: op.Path, Err: syscall.ENOSPC}
				}
				return nil
			}))
			s := start(t, Options{Path: "mem", fs: fs})
			require.NoError(t, s.CreateTopic(context.Background(), "T", 1))
			_, err := put(s, "before")
			require.NoError(t, err)
			acked := []string{"before"}
			on.Store(true)
			filler := strings.Repeat("x", 512<<10)
			for i := 0; ; i++ {
				require.Less(t, i, 1000, "the disk was never full")
				payload := fmt.Sprintf("%d %s", i, filler)
				if _, err = put(s, payload); err != nil {
					break
				}
				acked = append(acked, payload)
			}
			require.ErrorIs(t, err, store.ErrUnavailable)
			require.ErrorIs(t, s.Ready(context.Background()), store.ErrUnavailable)
			require.Equal(t, acked, readAll(t, s), "reading goes on")

			on.Store(false)
			require.Eventually(t, func() bool {
				_, err := put(s, "again")
				return err == nil
			}, time.Minute, 20*time.Millisecond)
			got := readAll(t, s)
			require.Equal(t, acked, got[:len(acked)])
			require.Equal(t, "again", got[len(got)-1])
			require.LessOrEqual(t, len(got), len(acked)+2, "the append that failed may have been stored")
		})
	}
}
