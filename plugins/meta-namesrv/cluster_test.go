package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lmqgate/lmqgate/internal/leftover"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
	"github.com/lmqgate/lmqgate/plugins/sdk"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(leftover.Patient(m)) }

// fleet is a set of in-memory name servers, for timing that real ones do not allow (namesrv_rocketmq_test.go uses real ones).
type fleet struct {
	mu      sync.Mutex
	tables  map[string]map[string]map[string]string // namesrv -> namespace -> key -> value
	down    map[string]bool
	puts    int
	gate    chan struct{} // when set, puts wait for it
	waiting atomic.Int32
}

var errRefused = errors.New("connection refused")

func newFleet() *fleet {
	return &fleet{tables: map[string]map[string]map[string]string{}, down: map[string]bool{}}
}

func (f *fleet) edit(ctx context.Context, addr, ns string, change func(map[string]string)) error {
	f.mu.Lock()
	gate := f.gate
	f.mu.Unlock()
	if gate != nil {
		f.waiting.Add(1)
		select {
		case <-gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down[addr] {
		return errRefused
	}
	if f.tables[addr] == nil {
		f.tables[addr] = map[string]map[string]string{}
	}
	if f.tables[addr][ns] == nil {
		f.tables[addr][ns] = map[string]string{}
	}
	f.puts++
	change(f.tables[addr][ns])
	return nil
}

func (f *fleet) PutKVConfig(ctx context.Context, addr, ns, key, value string) error {
	return f.edit(ctx, addr, ns, func(t map[string]string) { t[key] = value })
}

func (f *fleet) DeleteKVConfig(ctx context.Context, addr, ns, key string) error {
	return f.edit(ctx, addr, ns, func(t map[string]string) { delete(t, key) })
}

func (f *fleet) GetKVConfig(_ context.Context, addr, ns, key string) (string, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down[addr] {
		return "", false, errRefused
	}
	v, ok := f.tables[addr][ns][key]
	return v, ok, nil
}

func (f *fleet) ListKVConfig(_ context.Context, addr, ns string) (map[string]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down[addr] {
		return nil, errRefused
	}
	if t := maps.Clone(f.tables[addr][ns]); t != nil {
		return t, nil
	}
	return map[string]string{}, nil
}

func (f *fleet) setDown(addr string, down bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down[addr] = down
}

func (f *fleet) text(addr, ns, key string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.tables[addr][ns][key]
}

// on activates a plugin on a fleet.
func on(t *testing.T, f *fleet, addrs ...string) *namesrv {
	n := newNamesrv()
	n.cluster = startCluster(addrs, f, slog.New(slog.DiscardHandler))
	t.Cleanup(func() { require.NoError(t, n.Deactivate(context.Background())) })
	return n
}

func putValue(t *testing.T, n *namesrv, ns, key, value string) int64 {
	t.Helper()
	resp, err := n.Put(t.Context(), &pluginv1.PutRequest{Namespace: ns, Key: key, Value: []byte(value)})
	require.NoError(t, err)
	require.True(t, resp.GetDone())
	return resp.GetRevision()
}

func value(t *testing.T, n *namesrv, ns, key string) string {
	t.Helper()
	resp, err := n.Get(t.Context(), &pluginv1.GetRequest{Namespace: ns, Key: key})
	require.NoError(t, err)
	if !resp.GetFound() {
		return "(absent)"
	}
	return string(resp.GetEntry().GetValue())
}

func list(t *testing.T, n *namesrv, ns string) map[string]string {
	t.Helper()
	got := map[string]string{}
	require.NoError(t, n.List(t.Context(), &pluginv1.ListRequest{Namespace: ns}, func(p *pluginv1.ListResponse) error {
		require.Positive(t, p.GetRevision())
		for _, e := range p.GetEntries() {
			require.Positive(t, e.GetRevision())
			got[e.GetKey()] = string(e.GetValue())
		}
		return nil
	}))
	return got
}

func eventually(t *testing.T, cond func() bool) {
	t.Helper()
	require.Eventually(t, cond, time.Minute, 5*time.Millisecond)
}

func TestKeysAndValuesOfAnyBytesComeBack(t *testing.T) {
	n := on(t, newFleet(), "a", "b")
	want := map[string]string{}
	for i, key := range []string{"", "~", "t/+/#", "ü,\"\\ \x01\x7f", "$SYS/x", "a b", "{\"k\":1}", strings.Repeat("k", 3000)} {
		want[key] = fmt.Sprintf("value %d \x00\xff", i)
		putValue(t, n, "lmqgate.x", key, want[key])
	}
	require.Equal(t, want, list(t, n, "lmqgate.x"))
	for key, v := range want {
		require.Equal(t, v, value(t, n, "lmqgate.x", key))
	}
}

func TestTheNamespaceLMQIsWrittenAsItIs(t *testing.T) {
	f := newFleet()
	n := on(t, f, "a", "b")
	first := putValue(t, n, upstream, "topic", "topic/+,topic/#")
	require.Equal(t, "topic/+,topic/#", f.text("a", upstream, "topic"))
	require.Equal(t, "topic/+,topic/#", f.text("b", upstream, "topic"))
	require.NoError(t, f.PutKVConfig(t.Context(), "a", upstream, "topic", " by , hand"))
	get, err := n.Get(t.Context(), &pluginv1.GetRequest{Namespace: upstream, Key: "topic"})
	require.NoError(t, err)
	require.Equal(t, " by , hand", string(get.GetEntry().GetValue()))
	require.Greater(t, get.GetEntry().GetRevision(), first)
	again, err := n.Get(t.Context(), &pluginv1.GetRequest{Namespace: upstream, Key: "topic"})
	require.NoError(t, err)
	require.Equal(t, get.GetEntry().GetRevision(), again.GetEntry().GetRevision())
}

func TestTheHighestRevisionWinsWhereverItIs(t *testing.T) {
	f := newFleet()
	n := on(t, f, "a", "b")
	putValue(t, n, "x", "k", "old")
	old := f.text("b", "x", "k")
	putValue(t, n, "x", "k", "new")
	require.NoError(t, f.PutKVConfig(t.Context(), "b", "x", "k", old))
	require.Equal(t, "new", value(t, n, "x", "k"))
	require.Equal(t, map[string]string{"k": "new"}, list(t, n, "x"))
	eventually(t, func() bool { return f.text("b", "x", "k") == f.text("a", "x", "k") })
}

func TestAWriteHasAHigherRevisionThanWhatItsWriterHadRead(t *testing.T) {
	f := newFleet()
	n := on(t, f, "a")
	future := time.Now().Add(time.Hour).UnixMicro()
	require.NoError(t, f.PutKVConfig(t.Context(), "a", "x", "k", encodeItem(stamp{future, "other"}, false, []byte("theirs"))))
	require.Equal(t, "theirs", value(t, n, "x", "k"))
	require.Greater(t, putValue(t, n, "x", "k", "mine"), future)
	require.Equal(t, "mine", value(t, n, "x", "k"))
}

func TestANamesrvThatWasAwayIsBroughtUpToDate(t *testing.T) {
	f := newFleet()
	n := on(t, f, "a", "b")
	putValue(t, n, "x", "gone", "v")
	putValue(t, n, upstream, "topic", "one")
	putValue(t, n, upstream, "dropped", "one")
	f.setDown("b", true)
	putValue(t, n, "x", "k", "v")
	putValue(t, n, upstream, "topic", "two")
	for _, d := range []*pluginv1.DeleteRequest{{Namespace: "x", Key: "gone"}, {Namespace: upstream, Key: "dropped"}} {
		_, err := n.Delete(t.Context(), d)
		require.NoError(t, err)
	}
	require.Equal(t, "(absent)", value(t, n, "x", "gone"))
	f.setDown("b", false)
	eventually(t, func() bool {
		return f.text("b", "x", "k") == f.text("a", "x", "k") && f.text("b", upstream, "topic") == "two" &&
			f.text("b", upstream, "dropped") == "" && f.text("b", "x", "gone") == f.text("a", "x", "gone")
	})
	require.Equal(t, map[string]string{"k": "v"}, list(t, n, "x"))
}

func TestAnEmptyNamesrvIsFilled(t *testing.T) {
	f := newFleet()
	one := on(t, f, "a")
	putValue(t, one, "x", "k", "v")
	putValue(t, one, upstream, "ALL_FIRST_TOPICS", "t")
	both := on(t, f, "a", "b")
	require.Equal(t, map[string]string{"k": "v"}, list(t, both, "x"))
	eventually(t, func() bool { return f.text("b", "x", "k") != "" && f.text("b", upstream, "ALL_FIRST_TOPICS") == "t" })
}

func TestWithoutAnyNamesrvCallsAreUnavailableAndNothingIsWrittenLater(t *testing.T) {
	f := newFleet()
	n := on(t, f, "a", "b")
	f.setDown("a", true)
	f.setDown("b", true)
	_, err := n.Put(t.Context(), &pluginv1.PutRequest{Namespace: upstream, Key: "k", Value: []byte("v")})
	require.Equal(t, codes.Unavailable, status.Code(err))
	require.ErrorContains(t, err, "connection refused")
	_, err = n.Get(t.Context(), &pluginv1.GetRequest{Namespace: "x", Key: "k"})
	require.Equal(t, codes.Unavailable, status.Code(err))
	require.Error(t, n.Health(t.Context()))
	f.setDown("a", false)
	f.setDown("b", false)
	putValue(t, n, "x", "other", "v")
	require.NoError(t, n.Health(t.Context()))
	require.Equal(t, "(absent)", value(t, n, upstream, "k"))
	for _, p := range n.cluster.peers {
		require.Empty(t, p.misses())
	}
}

func TestWaitingWritesOfAKeyBecomeOne(t *testing.T) {
	f := newFleet()
	f.gate = make(chan struct{})
	n := on(t, f, "a")
	p := n.cluster.peers[0]
	var wg sync.WaitGroup
	write := func(i int) {
		wg.Go(func() {
			_, err := n.Put(context.Background(), &pluginv1.PutRequest{Namespace: "x", Key: "k", Value: fmt.Append(nil, i)})
			require.NoError(t, err)
		})
	}
	queued := func() int { p.mu.Lock(); defer p.mu.Unlock(); return len(p.queue) }
	write(0)
	eventually(t, func() bool { return f.waiting.Load() == 1 && queued() == 0 }) // the first is in flight
	for i := range 50 {
		write(i)
	}
	eventually(t, func() bool { return queued() == 50 })
	close(f.gate)
	wg.Wait()
	require.Equal(t, 2, f.puts)
}

func TestARepairDoesNotUndoALaterWrite(t *testing.T) {
	f := newFleet()
	n := on(t, f, "a")
	putValue(t, n, "x", "k", "old")
	p, old := n.cluster.peers[0], f.text("a", "x", "k")
	repair := change{"x", "k", &old, unchanged(p, "x", "k", text{old, true})}
	putValue(t, n, "x", "k", "new")
	require.NoError(t, <-p.enqueue([]change{repair}))
	require.Equal(t, "new", value(t, n, "x", "k"))
}

func TestRemovalsAreForgottenOnceEveryNamesrvHasThem(t *testing.T) {
	f := newFleet()
	n := on(t, f, "a", "b")
	putValue(t, n, "x", "k", "v")
	_, err := n.Delete(t.Context(), &pluginv1.DeleteRequest{Namespace: "x", Key: "k"})
	require.NoError(t, err)
	n.cluster.repair(t.Context(), time.Now())
	require.NotEmpty(t, f.text("a", "x", "k"))
	later := time.Now().Add(purgeAfter + time.Minute)
	f.setDown("b", true)
	n.cluster.repair(t.Context(), later)
	require.NotEmpty(t, f.text("a", "x", "k"), "b might still have the value")
	f.setDown("b", false)
	eventually(t, func() bool {
		n.cluster.repair(t.Context(), later)
		return f.text("a", "x", "k") == "" && f.text("b", "x", "k") == ""
	})
}

func TestPastTheLimitsWritesAreRefusedWithTheRemedy(t *testing.T) {
	n := on(t, newFleet(), "a")
	_, err := n.Put(t.Context(), &pluginv1.PutRequest{Namespace: "x", Key: "k", Value: make([]byte, maxValueBytes+1)})
	require.Equal(t, codes.ResourceExhausted, status.Code(err))
	items := map[string]item{}
	for i := range maxKeys {
		items[fmt.Sprint(i)] = item{raw: "v"}
	}
	n.cluster.usage.listed("x", items)
	_, err = n.Put(t.Context(), &pluginv1.PutRequest{Namespace: "y", Key: "k", Value: []byte("v")})
	require.Equal(t, codes.ResourceExhausted, status.Code(err))
	require.ErrorContains(t, err, "lmqgate meta migrate")
	require.ErrorContains(t, err, "etcd")
	_, err = n.Put(t.Context(), &pluginv1.PutRequest{Namespace: "x", Key: "7", Value: []byte("v")})
	require.NoError(t, err, "what is there may still be changed")
	_, err = n.Delete(t.Context(), &pluginv1.DeleteRequest{Namespace: "x", Key: "8"})
	require.NoError(t, err)
	_, err = n.Put(t.Context(), &pluginv1.PutRequest{Namespace: "y", Key: "k", Value: []byte("v")})
	require.NoError(t, err, "a removed key makes room")
}

func TestAValueWrittenByHandIsTakenAsItIs(t *testing.T) {
	f := newFleet()
	n := on(t, f, "a")
	require.NoError(t, f.PutKVConfig(t.Context(), "a", "x", "k", `{"v":1}`))
	require.Equal(t, `{"v":1}`, value(t, n, "x", "k"))
	putValue(t, n, "x", "k", "ours")
	require.Equal(t, "ours", value(t, n, "x", "k"))
}

func TestConfigurationMistakesAreNamed(t *testing.T) {
	for block, key := range map[string]string{
		`{}`:                          "namesrv",
		`{"namesrv": []}`:             "namesrv",
		`{"namesrv": ["host"]}`:       "namesrv[0]",
		`{"namesrv": ["h:1", "h:1"]}`: "namesrv[1]",
		`{"namesrv": ["h:1"], "access_key": "a"}`:                              "secret_key",
		`{"namesrv": ["h:1"], "tls": {"cert_file": "x"}}`:                      "tls.key_file",
		`{"namesrv": ["h:1"], "tls": {"enabled": true, "ca_file": "/none/x"}}`: "tls.ca_file",
		`{"namesrv": ["h:1"], "nmesrv": 1}`:                                    "nmesrv",
	} {
		problems := newNamesrv().Configure(t.Context(), sdk.Setup{Config: []byte(block)})
		require.NotEmpty(t, problems, block)
		require.Equal(t, key, problems[0].Key, block)
	}
	require.Empty(t, newNamesrv().Configure(t.Context(), sdk.Setup{Config: []byte(`{"namesrv": ["h:1"], "tls": {}}`)}))
}

func FuzzDecodedKeysEncodeToThemselves(f *testing.F) {
	f.Add("~")
	f.Add("a~2fb")
	f.Fuzz(func(t *testing.T, s string) {
		if key, ok := decodeKey(s); ok {
			require.Equal(t, s, encodeKey(key))
		}
		key, ok := decodeKey(encodeKey(s))
		require.True(t, ok)
		require.Equal(t, s, key)
	})
}

func FuzzAnyTextDecodesToAnItem(f *testing.F) {
	f.Add("1:5:w:p:YQ")
	f.Add("1:5:w:d:")
	f.Fuzz(func(t *testing.T, s string) {
		if it := decodeItem(s); !it.foreign && !it.removed {
			again := decodeItem(encodeItem(it.stamp, it.removed, it.value))
			require.Equal(t, it.value, again.value)
			require.Equal(t, it.stamp, again.stamp)
		}
	})
}
