package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
	"github.com/lmqgate/lmqgate/plugins/sdk"
	"github.com/lmqgate/lmqgate/remoting"
	rocketmq "github.com/lmqgate/lmqgate/test/rocketmq/cluster"
)

// real activates the plugin on a cluster of real name servers.
func real(t *testing.T, addrs []string) *namesrv {
	t.Helper()
	n := newNamesrv()
	block, err := json.Marshal(map[string]any{"namesrv": addrs})
	require.NoError(t, err)
	require.Empty(t, n.Configure(t.Context(), sdk.Setup{Config: block}))
	require.NoError(t, n.Activate(t.Context()))
	t.Cleanup(func() { require.NoError(t, n.Deactivate(context.Background())) })
	return n
}

func TestOnRealNamesrvs(t *testing.T) {
	c := rocketmq.ForTest(t, rocketmq.Options{Namesrvs: 2, Brokers: rocketmq.NoBroker})
	ctx, addrs := t.Context(), c.Namesrv()
	n := real(t, addrs)

	odd := "t/+/#ü,\"\\ \x01"
	putValue(t, n, "lmqgate.x", odd, "\x00binary\xff")
	putValue(t, n, "lmqgate.x", "", "empty key")
	require.Equal(t, map[string]string{odd: "\x00binary\xff", "": "empty key"}, list(t, n, "lmqgate.x"))
	require.Equal(t, "\x00binary\xff", value(t, n, "lmqgate.x", odd))
	require.Equal(t, "(absent)", value(t, n, "lmqgate.none", "k"))
	require.Empty(t, list(t, n, "lmqgate.none"))

	// mqadmin reads on every name server what the plugin writes to LMQ, and vice versa.
	putValue(t, n, upstream, "first", "first/+,first/#")
	all := remoting.New(remoting.Config{RequestTimeout: time.Minute})
	defer func() { require.NoError(t, all.Close()) }()
	for _, addr := range addrs {
		v, found, err := all.GetKVConfig(ctx, addr, upstream, "first")
		require.NoError(t, err)
		require.True(t, found)
		require.Equal(t, "first/+,first/#", v)
	}
	_, err := c.Mqadmin(
		ctx,
		"updateKvConfig",
		"-s",
		upstream,
		"-k",
		"ALL_FIRST_TOPICS",
		"-v",
		"first,second",
		"-n",
		strings.Join(addrs, ";"),
	)
	require.NoError(t, err)
	require.Equal(t, "first,second", value(t, n, upstream, "ALL_FIRST_TOPICS"))

	// One name server is away: reads and writes continue, and it is repaired when it is back.
	c.KillNamesrv(1)
	putValue(t, n, "lmqgate.x", "while", "away")
	putValue(t, n, upstream, "first", "first/#")
	require.Equal(t, "away", value(t, n, "lmqgate.x", "while"))
	require.NoError(t, c.RestartNamesrv(ctx, 1))
	eventually(t, func() bool {
		a, _, _ := all.GetKVConfig(ctx, addrs[1], "lmqgate.x", "while")
		b, _, _ := all.GetKVConfig(ctx, addrs[1], upstream, "first")
		return a != "" && b == "first/#"
	})
	require.Equal(t, "empty key", value(t, n, "lmqgate.x", ""))

	// Both are restarted: their files have what was written.
	c.KillNamesrv(0)
	c.KillNamesrv(1)
	_, err = n.Put(ctx, &pluginv1.PutRequest{Namespace: "x", Key: "k"})
	require.Error(t, err)
	require.NoError(t, c.RestartNamesrv(ctx, 0))
	require.NoError(t, c.RestartNamesrv(ctx, 1))
	eventually(t, func() bool {
		get, err := n.Get(ctx, &pluginv1.GetRequest{Namespace: "lmqgate.x", Key: "while"})
		return err == nil && string(get.GetEntry().GetValue()) == "away"
	})
}

// BenchmarkPut measures sequential puts on a name server that already holds a number of keys.
func BenchmarkPut(b *testing.B) {
	const size = 400 // bytes of a value: a session with one subscription
	for _, keys := range []int{100, 1000, 2000, 5000, 10000} {
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			table := map[string]string{}
			for i := range keys {
				table[fmt.Sprintf("key/%d", i)] = encodeItem(stamp{1, "bench"}, false, []byte(strings.Repeat("x", size)))
			}
			file := filepath.Join(b.TempDir(), "kvConfig.json")
			data, err := json.Marshal(map[string]any{"configTable": map[string]any{"lmqgate.bench": table}})
			require.NoError(b, err)
			require.NoError(b, os.WriteFile(file, data, 0o600))
			c := rocketmq.ForTest(b, rocketmq.Options{Namesrv: map[string]string{"kvConfigPath": file}})
			client := remoting.New(remoting.Config{})
			defer func() { require.NoError(b, client.Close()) }()
			cl := startCluster(c.Namesrv(), client, slog.New(slog.DiscardHandler))
			defer cl.close()
			items, err := cl.list(b.Context(), "lmqgate.bench")
			require.NoError(b, err)
			require.GreaterOrEqual(b, len(items), keys)
			b.ReportMetric(float64(len(data)), "file-bytes")
			var slowest time.Duration
			for i := 0; b.Loop(); i++ {
				raw := encodeItem(stamp{cl.tick(), "bench"}, false, []byte(strings.Repeat("y", size)))
				begin := time.Now()
				require.NoError(b, cl.write(b.Context(), []change{{ns: "lmqgate.bench", key: fmt.Sprintf("key/%d", i%keys), value: &raw}}))
				slowest = max(slowest, time.Since(begin))
			}
			b.ReportMetric(float64(slowest.Milliseconds()), "slowest-ms")
		})
	}
}
