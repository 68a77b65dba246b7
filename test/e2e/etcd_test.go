package e2e

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/lmqgate/lmqgate/plugins/meta-etcd/etcdtest"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// residents are clients that are connected before something happens to etcd, and must not notice it.
type residents struct {
	t             *testing.T
	g             *Gateway
	topic         string
	pub           *client
	clean, stored *client
	sent          int
}

func settle(t *testing.T, g *Gateway, topic string) *residents {
	r := &residents{t: t, g: g, topic: topic, pub: g.connect(t, g.Name("publisher")), clean: g.connect(t, g.Name("clean")),
		stored: g.connect(t, g.Name("stored"), persistent)}
	r.clean.subscribe(topic+"/n", 1)
	r.stored.subscribe(topic+"/n", 1)
	r.pub.publishRetain(topic+"/kept", 1, true, "before")
	r.publish(10)
	return r
}

// publish publishes numbered messages, each acknowledged.
func (r *residents) publish(n int) {
	r.t.Helper()
	for range n {
		r.pub.publish(r.topic+"/n", 1, strconv.Itoa(r.sent))
		r.sent++
	}
}

// check requires that nobody was disconnected and nothing was lost.
func (r *residents) check() {
	r.t.Helper()
	r.publish(10)
	for _, c := range []*client{r.clean, r.stored} {
		require.True(r.t, c.IsConnected(), "client %q was disconnected", c.id)
		c.await(r.sent)
		require.Equal(r.t, numbers(0, r.sent), c.payloads())
	}
	require.True(r.t, r.pub.IsConnected())
}

// goesOn waits until everything that needs metadata works and the node is ready.
func (r *residents) goesOn(retained string) {
	r.t.Helper()
	eventually(r.t, patience, func() error {
		if code, body := r.g.Get("/readyz"); code != 200 {
			return errors.New(body)
		}
		return nil
	})
	late := r.g.connect(r.t, r.g.Name("late-"+retained), persistent)
	late.subscribe(r.topic+"/late/"+retained+"/+", 1)
	r.pub.publishRetain(r.topic+"/kept", 1, true, retained)
	late.subscribe(r.topic+"/kept", 1)
	require.Equal(r.t, retained, string(late.await(1)[0].Payload()))
	late.Disconnect(100)
}

func TestClientsStayConnectedWhileEtcdIsAwayAndAllResumesByItself(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.Start(t, etcdtest.Options{Members: 3})
	g := start(t, onEtcd(localProfile, etcd))
	r := settle(t, g, "away")
	for i := range 3 {
		etcd.Stop(i)
	}
	gone := time.Now()
	require.Equal(t, byte(0x80), r.stored.trySubscribe("away/more", 1)["away/more"])
	r.clean.subscribe("away/more", 1)
	_, err := g.tryConnect(t, g.Name("new"), persistent)
	require.ErrorIs(t, err, packets.ErrorRefusedServerUnavailable, "CONNACK 0x03")
	fresh := g.connect(t, g.Name("fresh"))
	fresh.subscribe("away/n", 1)
	// A retained message waits; messages to other topics do not.
	waiting := g.connect(t, g.Name("waiting"))
	token := waiting.Publish("away/kept", 1, true, "during")
	r.publish(50)
	require.False(t, token.WaitTimeout(time.Second), "a retained message is not acknowledged before it is durable")
	eventually(t, patience, func() error {
		if code, body := g.Get("/readyz"); code != 503 || !strings.Contains(body, etcd.Endpoints()[0]) {
			return fmt.Errorf("readyz answers %d: %s", code, body)
		}
		return nil
	})
	require.Contains(t, g.Log(), "subscription refused", "the log says what was refused")
	// Longer than every timeout, and longer than nodes live without a heartbeat.
	for time.Since(gone) < 22*time.Second {
		r.publish(10)
		time.Sleep(500 * time.Millisecond)
	}
	etcd.StartMembers()
	require.True(t, token.WaitTimeout(patience))
	require.NoError(t, token.Error())
	fresh.await(50)
	fresh.forget()
	kept := g.connect(t, g.Name("kept"))
	kept.subscribe("away/kept", 1)
	require.Equal(t, "during", string(kept.await(1)[0].Payload()))
	r.goesOn("after")
	r.check()
	require.NotContains(t, g.Log(), "nodes lost")
}

func TestANewLeaderOfEtcdIsNoticedByNobody(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.Start(t, etcdtest.Options{Members: 3})
	g := start(t, onEtcd(localProfile, etcd))
	r := settle(t, g, "leader")
	for round := range 2 {
		etcd.Stop(etcd.Leader())
		for i := range 5 {
			r.publish(5)
			// Requests that need metadata wait for the election, and are not refused.
			r.pub.publishRetain("leader/kept", 1, true, fmt.Sprint(round, i))
		}
		r.goesOn(fmt.Sprint("after-", round))
		etcd.StartMembers()
		etcd.Leader() // waits for one
	}
	r.check()
}

func TestCompactionOfEtcdWhileAGatewayWasCutOffCostsNothing(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.Start(t, etcdtest.Options{})
	one, two := start(t, onEtcd(localProfile, etcd)), start(t, onEtcd(localProfile, etcd))
	r := settle(t, one, "compacted")
	etcd.Cut(0)
	raw := etcdClient(t, etcd.Direct(0))
	inMeta(
		t,
		settings{"plugin": "meta-etcd", "config": settings{"endpoints": []string{etcd.Direct(0)}}},
		func(ctx context.Context, c pluginv1.MetaClient) {
			for i := range 20 {
				_, err := c.Put(
					ctx,
					&pluginv1.PutRequest{Namespace: "LMQ", Key: "ALL_FIRST_TOPICS", Value: []byte("compacted,second" + strconv.Itoa(i))},
				)
				require.NoError(t, err)
			}
		},
	)
	resp, err := raw.Get(t.Context(), "x")
	require.NoError(t, err)
	_, err = raw.Compact(t.Context(), resp.Header.Revision, clientv3.WithCompactPhysical())
	require.NoError(t, err)
	etcd.Join(0)
	for _, g := range []*Gateway{one, two} {
		eventually(t, patience, func() error {
			if list := g.CLI("topic", "list", "--config", g.config(), "--admin", "http://"+g.Admin).OK(); !strings.Contains(list, "second19") {
				return fmt.Errorf("the gateway knows the topics %q", list)
			}
			return nil
		})
	}
	r.goesOn("after")
	r.check()
}

func etcdClient(t *testing.T, endpoint string) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, Logger: zap.NewNop()})
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestAFullEtcdRefusesWhatNeedsItAndNothingElse(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.Start(t, etcdtest.Options{QuotaBytes: 2 << 20})
	g := start(t, onEtcd(localProfile, etcd))
	r := settle(t, g, "full")
	raw := etcdClient(t, etcd.Endpoints()[0])
	// etcd updates its size with each commit, ten times a second.
	eventually(t, patience, func() error {
		_, err := raw.Put(t.Context(), "fill/"+time.Now().String(), strings.Repeat("x", 256<<10))
		if err == nil {
			return errors.New("etcd is not full")
		}
		if !strings.Contains(err.Error(), "space") {
			return err
		}
		return nil
	})
	// If the refusal came when the entry was applied, etcd raises its alarm a moment later; until then small writes succeed.
	eventually(t, patience, func() error {
		if _, err := raw.Put(t.Context(), "fill/probe", "x"); err == nil {
			return errors.New("etcd takes small writes")
		}
		return nil
	})

	require.Equal(t, byte(0x80), r.stored.trySubscribe("full/more/+", 1)["full/more/+"])
	_, err := g.tryConnect(t, g.Name("new"), persistent)
	require.ErrorIs(t, err, packets.ErrorRefusedServerUnavailable, "CONNACK 0x03")
	r.clean.subscribe("full/more/+", 1)
	retaining := g.connect(t, g.Name("retaining"))
	token := retaining.Publish("full/kept", 1, true, "during")
	token.WaitTimeout(patience)
	require.Error(t, token.Error(), "a retained message that cannot be kept is not acknowledged")
	require.Contains(t, g.Log(), "NOSPACE")
	r.publish(50)
	kept := g.connect(t, g.Name("kept"))
	kept.subscribe("full/kept", 1)
	require.Equal(t, "before", string(kept.await(1)[0].Payload()))

	gone, err := raw.Delete(t.Context(), "fill/", clientv3.WithPrefix())
	require.NoError(t, err)
	_, err = raw.Compact(t.Context(), gone.Header.Revision, clientv3.WithCompactPhysical())
	require.NoError(t, err)
	_, err = raw.Defragment(t.Context(), etcd.Endpoints()[0])
	require.NoError(t, err)
	_, err = raw.AlarmDisarm(t.Context(), &clientv3.AlarmMember{})
	require.NoError(t, err)
	r.goesOn("after")
	r.check()
}
