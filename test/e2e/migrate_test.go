package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/meta/migration"
	"github.com/lmqgate/lmqgate/core/pluginhost"
	"github.com/lmqgate/lmqgate/plugins/meta-etcd/etcdtest"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// etcdMeta is the configuration of meta-etcd on an etcd, under a prefix.
func etcdMeta(c *etcdtest.Cluster, prefix string) settings {
	return settings{"plugin": "meta-etcd", "config": settings{"endpoints": c.Endpoints(), "prefix": prefix, "request_timeout": "5s"}}
}

// withNext returns a metadata block with a migration target.
func withNext(meta, next settings) settings {
	out := maps.Clone(meta)
	out["next"] = next
	return settings{"meta": out}
}

// inMeta calls a meta plugin that the test starts.
func inMeta(t *testing.T, block settings, f func(ctx context.Context, c pluginv1.MetaClient)) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context()) // tests also clean up with it
	host, err := pluginhost.New(
		pluginhost.Options{Dir: filepath.Join(bin, "plugins"), NodeID: "test", DataDir: t.TempDir(), ConfigDir: t.TempDir()},
	)
	require.NoError(t, err)
	defer host.Close()
	config, _ := block["config"].(settings)
	p, err := host.Start(ctx, block["plugin"].(string), pluginv1.Kind_KIND_META, config)
	require.NoError(t, err)
	f(ctx, p.Meta())
}

// churn is a load of clients that retain messages and subscribe persistently, with a record of what was acknowledged.
type churn struct {
	t       *testing.T
	stop    atomic.Bool
	workers sync.WaitGroup

	mu       sync.Mutex
	retained map[string]string   // topic -> payload
	filters  map[string][]string // client id -> filters
	refused  int
	clients  []*client
}

// begin starts a publisher and a subscriber on a gateway.
func (c *churn) begin(g *Gateway, topic string) {
	pub := g.connect(c.t, g.Name("retaining"))
	sub := g.connect(c.t, g.Name("subscribing"), persistent)
	idle := g.connect(c.t, g.Name("idle"), persistent)
	c.clients = append(c.clients, pub, sub, idle)
	c.workers.Go(func() {
		for i := 0; !c.stop.Load(); i++ {
			name, text := fmt.Sprintf("%s/%s/%d", topic, g.ID, i%50), fmt.Sprint(i)
			token := pub.Publish(name, 1, true, text)
			if !token.WaitTimeout(patience) || token.Error() != nil {
				c.t.Errorf("retained message %s of %s was not acknowledged: %v", text, name, token.Error())
				return
			}
			c.mu.Lock()
			c.retained[name] = text
			c.mu.Unlock()
		}
	})
	c.workers.Go(func() {
		for i := 0; !c.stop.Load(); i++ {
			filter := fmt.Sprintf("%s/to/%s/%d/+", topic, g.ID, i)
			code := sub.trySubscribe(filter, 1)[filter]
			c.mu.Lock()
			if code == 1 {
				c.filters[sub.id] = append(c.filters[sub.id], filter)
			} else {
				c.refused++
			}
			c.mu.Unlock()
			time.Sleep(20 * time.Millisecond)
		}
	})
}

// end stops the load, and requires that nobody was disconnected.
func (c *churn) end() {
	c.t.Helper()
	c.stop.Store(true)
	c.workers.Wait()
	for _, m := range c.clients {
		require.True(c.t, m.IsConnected(), "client %q was disconnected", m.id)
	}
	require.NotEmpty(c.t, c.retained)
	c.t.Logf("%d retained topics, %v subscriptions, %d refused", len(c.retained), len(c.filters), c.refused)
}

// check requires, through a gateway, that everything acknowledged exists.
func (c *churn) check(g *Gateway, topic string) {
	c.t.Helper()
	reader := g.connect(c.t, g.Name("reader"))
	eventually(c.t, patience, func() error {
		// Subscribe again each time: this gateway learns of another gateway's retained message a moment later, and sends it only on a
		// SUBSCRIBE.
		reader.subscribe(topic+"/#", 1)
		reader.settle()
		got := map[string]string{}
		for _, m := range reader.messages() {
			got[m.Topic()] = string(m.Payload())
		}
		for name, text := range c.retained {
			if got[name] != text {
				return fmt.Errorf("the retained message of %s is %q, and %q was acknowledged", name, got[name], text)
			}
		}
		return nil
	})
	reader.Disconnect(0)
}

// checkSessions requires that sessions and subscriptions exist: messages that they match arrive.
func (c *churn) checkSessions(g *Gateway) {
	c.t.Helper()
	pub := g.connect(c.t, g.Name("checking"))
	for id, filters := range c.filters {
		m := g.connect(c.t, id, persistent)
		require.True(c.t, m.present, "the session of %q is there", id)
		for _, f := range filters {
			pub.publish(strings.TrimSuffix(f, "+")+"x", 1, f)
		}
		m.await(len(filters))
		require.Subset(c.t, m.payloads(), filters)
	}
}

func TestGatewaysOnRocketMQMigrateFromNameServersToEtcdUnderLoad(t *testing.T) {
	onOneNode(t, ownNodes)
	namesrv := rocketmqCluster.get(t).Namesrv()
	source := settings{"plugin": "meta-namesrv", "config": settings{"namesrv": namesrv}}
	etcd := etcdtest.Start(t, etcdtest.Options{})
	target := etcdMeta(etcd, "/lmqgate")
	t.Cleanup(func() { // other tests use these name servers
		inMeta(t, source, func(ctx context.Context, c pluginv1.MetaClient) {
			require.NoError(t, migration.Board{Client: c}.RemovePlan(ctx))
		})
	})
	one := start(t, rocketmqProfile, withNext(source, target))
	two := start(t, rocketmqProfile, withNext(source, target))
	topic := one.Topic("moving")
	eventually(t, patience, func() error {
		if !strings.Contains(two.CLI("topic", "list", "--config", two.config(), "--admin", "http://"+two.Admin).OK(), topic) {
			return fmt.Errorf("topic %s is not known to the second gateway", topic)
		}
		return nil
	})
	load := &churn{t: t, retained: map[string]string{}, filters: map[string][]string{}}
	load.begin(one, topic)
	load.begin(two, topic)

	out := one.CLI("meta", "migrate", "--from", one.config()).OK()
	t.Log(out)
	require.Contains(t, out, "moved to meta-etcd")
	require.Contains(t, out, one.ID)
	require.Contains(t, out, two.ID)
	for _, g := range []*Gateway{one, two} {
		require.Contains(t, g.Plugins(), "meta-etcd")
		code, body := g.Get("/readyz")
		require.Equal(t, 200, code, body)
	}
	time.Sleep(time.Second) // more load, on the new backend
	load.end()
	require.Contains(t, one.CLI("meta", "migrate", "--from", one.config()).OK(), "an earlier run had moved it")
	load.check(one, topic)
	load.check(two, topic)

	// A gateway that restarts with the old configuration follows the move; with the new one it needs no name server for its metadata.
	for _, m := range load.clients {
		m.Disconnect(100)
	}
	one.Restart()
	require.Contains(t, one.Plugins(), "meta-etcd")
	load.check(one, topic)
	one.Stop()
	one.edit(func(s settings) { s["meta"] = target })
	one.Start()
	load.check(one, topic)
	load.checkSessions(one)
}

// TestAMigrationThatCannotBeMadeLeavesEverythingAsItIs uses gateways that share nothing but their metadata, which is all that
// matters here.
func TestAMigrationThatCannotBeMadeLeavesEverythingAsItIs(t *testing.T) {
	t.Parallel()
	etcd, away := etcdtest.Start(t, etcdtest.Options{}), etcdtest.Start(t, etcdtest.Options{})
	source, target := etcdMeta(etcd, "/a"), etcdMeta(etcd, "/b")
	one := start(t, localProfile, withNext(source, target))
	two := start(t, localProfile, settings{"meta": source})
	topic := "still"
	load := &churn{t: t, retained: map[string]string{}, filters: map[string][]string{}}
	load.begin(one, topic)
	load.begin(two, topic)
	refused := func(says string, args ...string) {
		t.Helper()
		r := one.CLI(append([]string{"meta", "migrate"}, args...)...)
		require.Equal(t, 1, r.code, r.stdout)
		require.Contains(t, r.stderr, says)
		require.Equal(t, 1, strings.Count(r.stderr, "\n"), r.stderr)
	}

	refused("has no meta.next: write the target of the migration there", "--from", one.config())
	two.edit(func(s settings) { s["meta"] = withNext(source, etcdMeta(etcd, "/elsewhere"))["meta"] })
	refused("another backend than the one that the migration goes to", "--from", one.config())

	away.Stop(0)
	down := settings{"meta": etcdMeta(away, "/b")}
	file := configure(t, localProfile, down)
	refused("its backend does not answer", "--from", one.config(), "--to", file.config())

	inMeta(t, etcdMeta(etcd, "/full"), func(ctx context.Context, c pluginv1.MetaClient) {
		_, err := c.Put(ctx, &pluginv1.PutRequest{Namespace: "lmqgate.sessions", Key: "somebody", Value: []byte("x")})
		require.NoError(t, err)
	})
	file = configure(t, localProfile, settings{"meta": etcdMeta(etcd, "/full")})
	refused(`the target is not empty`, "--from", one.config(), "--to", file.config())
	refused("in use by gateways", "--from", one.config(), "--to", one.config())

	// A killed command leaves all gateways where they are, or moves all.
	two.edit(func(s settings) { s["meta"] = withNext(source, target)["meta"] })
	for _, after := range []time.Duration{time.Second, 5 * time.Second, 6500 * time.Millisecond} {
		cmd := exec.Command(filepath.Join(bin, "lmqgate"), "meta", "migrate", "--from", one.config(), "--hold", "2s")
		require.NoError(t, cmd.Start())
		time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
	}
	t.Log(one.CLI("meta", "migrate", "--from", one.config()).OK())
	load.end()
	load.check(one, topic)
	load.check(two, topic)
}

func TestAGatewayThatIsPausedDuringAMigrationFollowsAndLosesNothing(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.Start(t, etcdtest.Options{})
	source, target := etcdMeta(etcd, "/a"), etcdMeta(etcd, "/b")
	one := start(t, localProfile, withNext(source, target))
	two := start(t, localProfile, withNext(source, target))
	topic := "paused"
	load := &churn{t: t, retained: map[string]string{}, filters: map[string][]string{}}
	load.begin(one, topic)
	pub := two.connect(t, two.Name("publisher"))
	pub.publishRetain(topic+"/two", 1, true, "before")

	require.NoError(t, two.cmd.Process.Signal(syscall.SIGSTOP))
	eventually(t, patience, func() error { // a signal takes effect a moment later
		for _, p := range processes(t) {
			if p.pid == two.PID() && p.state == "T" {
				return nil
			}
		}
		return errors.New("the gateway is not stopped yet")
	})
	token := pub.Publish(topic+"/two", 1, true, "while paused")
	out := one.CLI("meta", "migrate", "--from", one.config()).OK()
	require.NoError(t, two.cmd.Process.Signal(syscall.SIGCONT))
	require.Contains(t, out, "taken for lost")
	require.True(t, token.WaitTimeout(patience), "the message is acknowledged once the gateway runs again")
	require.NoError(t, token.Error())
	load.end()
	load.retained[topic+"/two"] = "while paused"
	load.check(one, topic)
	load.check(two, topic)
	require.True(t, pub.IsConnected())
	// A reload detects that the file is from before the move.
	serving := two.Plugins()["meta-etcd"].PID
	require.NotZero(t, serving)
	two.reload().OK()
	require.Equal(t, serving, two.Plugins()["meta-etcd"].PID)
	inMeta(t, source, func(ctx context.Context, c pluginv1.MetaClient) {
		resp, err := c.Get(ctx, &pluginv1.GetRequest{Namespace: "lmqgate.retained", Key: topic + "/two"})
		require.NoError(t, err)
		require.NotContains(t, string(resp.GetEntry().GetValue()), "d2hpbGUgcGF1c2Vk", "nothing was written to the old backend")
	})
}
