// Package etcdtest runs real etcd members inside a test's process, on loopback and free ports. It is for tests only: no binary
// of the project contains it.
package etcdtest

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"

	"github.com/lmqgate/lmqgate/internal/freeport"
)

// Options of a cluster.
type Options struct {
	Members    int               // 0 means one
	Durable    bool              // with fsync, as in production; tests do not need it
	QuotaBytes int64             // of the database; 0 for etcd's default
	ClientTLS  transport.TLSInfo // of the client port; without a certificate there is no TLS
}

// Cluster is an etcd cluster of one or more members. It is not safe for concurrent use; it stops with the test.
type Cluster struct {
	t       testing.TB
	configs []func() *embed.Config
	members []*embed.Etcd // nil for one that is down
	fronts  []*front
	hosts   []string // of the fronts
	dirs    []string
}

// Start starts a cluster and waits until it has a leader.
func Start(t testing.TB, o Options) *Cluster {
	t.Helper()
	n := max(1, o.Members)
	c := &Cluster{t: t, members: make([]*embed.Etcd, n), fronts: make([]*front, n)}
	addrs := freeAddresses(t, 3*n)
	var initial []string
	for i := range n {
		initial = append(initial, fmt.Sprintf("m%d=http://%s", i, addrs[n+i]))
	}
	scheme := "http"
	if !o.ClientTLS.Empty() {
		scheme = "https"
	}
	for i := range n {
		c.hosts = append(c.hosts, addrs[2*n+i])
		c.dirs = append(c.dirs, filepath.Join(t.TempDir(), "etcd"))
		client, peer := url.URL{Scheme: scheme, Host: addrs[i]}, url.URL{Scheme: "http", Host: addrs[n+i]}
		c.configs = append(c.configs, func() *embed.Config {
			cfg := embed.NewConfig()
			cfg.Name, cfg.Dir = fmt.Sprintf("m%d", i), c.dirs[i]
			cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
			cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
			cfg.InitialCluster = strings.Join(initial, ",")
			if cfg.TickMs, cfg.ElectionMs = 50, 500; o.Members > 1 {
				cfg.TickMs, cfg.ElectionMs = 100, 1000 // on a busy machine, a leader that pauses briefly remains leader
			}
			cfg.UnsafeNoFsync = !o.Durable
			cfg.BcryptCost = 4 // the minimum
			cfg.QuotaBackendBytes = o.QuotaBytes
			cfg.ClientTLSInfo = o.ClientTLS
			cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
			return cfg
		})
	}
	t.Cleanup(c.stopAll)
	c.StartMembers()
	return c
}

// freeAddresses are addresses on loopback that nothing listens on.
func freeAddresses(t testing.TB, n int) []string {
	addrs := make([]string, n)
	for i := range addrs {
		var err error
		for addrs[i] == "" || slices.Contains(addrs[:i], addrs[i]) {
			addrs[i], err = freeport.Address()
			require.NoError(t, err)
		}
	}
	return addrs
}

// Endpoints are host:port of each member.
func (c *Cluster) Endpoints() []string { return c.hosts }

// patience is how long members may take to start and to elect a leader.
const patience = 2 * time.Minute

// StartMembers starts the members that are down, and waits for a leader.
func (c *Cluster) StartMembers() {
	c.t.Helper()
	for i, m := range c.members {
		if m == nil {
			e, err := embed.StartEtcd(c.configs[i]())
			require.NoError(c.t, err)
			c.members[i] = e
			c.fronts[i] = newFront(c.t, c.hosts[i], c.Direct(i))
		}
	}
	deadline := time.After(patience)
	for _, m := range c.members {
		select {
		case <-m.Server.ReadyNotify():
		case err := <-m.Err():
			require.NoError(c.t, err)
		case <-deadline:
			require.Fail(c.t, "etcd did not become ready", "within %v", patience)
		}
	}
}

// Leader waits until there is a leader, and returns its index.
func (c *Cluster) Leader() int {
	c.t.Helper()
	leader := -1
	require.Eventually(c.t, func() bool {
		leader = slices.IndexFunc(c.members, func(m *embed.Etcd) bool { return m != nil && m.Server.Leader() == m.Server.MemberID() })
		return leader >= 0
	}, patience, 5*time.Millisecond, "etcd has a leader")
	return leader
}

// MoveLeader makes the leader hand over to another member.
func (c *Cluster) MoveLeader(from, to int) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	leader, next := c.members[from].Server, c.members[to].Server.MemberID()
	require.NoError(c.t, leader.MoveLeader(ctx, uint64(leader.MemberID()), uint64(next)))
}

// Stop stops a member; its data stay.
func (c *Cluster) Stop(i int) {
	if m := c.members[i]; m != nil {
		c.fronts[i].close()
		m.Close()
		c.members[i], c.fronts[i] = nil, nil
	}
}

// Cut cuts the client connections of a running member and refuses new ones, until Join. Direct still reaches the member.
func (c *Cluster) Cut(i int) { c.fronts[i].close() }

// Join ends Cut.
func (c *Cluster) Join(i int) {
	c.t.Helper()
	c.fronts[i] = newFront(c.t, c.hosts[i], c.Direct(i))
}

// Direct is the host:port of a running member that Cut does not touch.
func (c *Cluster) Direct(i int) string { return c.members[i].Clients[0].Addr().String() }

// Wipe removes the data of a member that is down.
func (c *Cluster) Wipe(i int) { require.NoError(c.t, os.RemoveAll(c.dirs[i])) }

func (c *Cluster) stopAll() {
	for i := range c.members {
		c.Stop(i)
	}
}
