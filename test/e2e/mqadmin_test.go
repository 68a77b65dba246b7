package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/lmqgate/lmqgate/remoting"
	"github.com/stretchr/testify/require"
)

// operator changes the metadata with RocketMQ's own tools.
type operator struct {
	t *testing.T
	c *remoting.Client
}

func newOperator(t *testing.T) *operator {
	t.Helper()
	o := &operator{t: t, c: remoting.New(remoting.Config{RequestTimeout: patience})}
	t.Cleanup(func() { _ = o.c.Close() })
	return o
}

func (o *operator) mqadmin(args ...string) string {
	o.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	out, err := rocketmqCluster.get(o.t).Mqadmin(ctx, args...)
	require.NoError(o.t, err, out)
	return out
}

// get reads a key of upstream's namespace with getKVConfig.
func (o *operator) get(key string) (string, bool) {
	o.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	value, found, err := o.c.GetKVConfig(ctx, rocketmqCluster.get(o.t).Namesrv()[0], "LMQ", key)
	require.NoError(o.t, err)
	return value, found
}

func (o *operator) list(key string) []string {
	o.t.Helper()
	value, _ := o.get(key)
	return strings.Split(value, ",")
}

func (o *operator) put(key, value string) {
	o.t.Helper()
	o.mqadmin("updateKvConfig", "-s", "LMQ", "-k", key, "-v", value)
}

// awaitQueues waits until the light message queue of each filter, under upstream's name, has the given number of records.
func (o *operator) awaitQueues(filters []string, records int64) {
	o.t.Helper()
	broker := rocketmqCluster.get(o.t).Brokers()[0]
	eventually(o.t, 2*patience, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
		defer cancel()
		for _, f := range filters {
			queue := "%LMQ%" + strings.ReplaceAll(f, "/", "%") + "%"
			end, err := o.c.MaxOffset(ctx, broker, queue, 0)
			if err != nil {
				return err
			}
			if end != records {
				return fmt.Errorf("queue %q has %d records, not %d", queue, end, records)
			}
		}
		return nil
	})
}

func TestTheMetadataIsUpstreamsAndToolsReadIt(t *testing.T) {
	t.Parallel()
	g := start(t, rocketmqProfile)
	o := newOperator(t)
	topic := g.Topic("shared")
	require.Contains(t, o.list("ALL_FIRST_TOPICS"), topic)
	sub := g.connect(t, g.Name("sleeper"), persistent)
	sub.subscribe(topic+"/a/#", 1)
	eventually(t, patience, func() error {
		if got := o.list(topic); !slices.Contains(got, topic+"/a/#") && !slices.Contains(got, topic+"/a/#/") {
			return fmt.Errorf("LMQ/%s is %q", topic, got)
		}
		return nil
	})
	g.CLI("topic", "delete", topic, "--config", g.config(), "--admin", "http://"+g.Admin).OK()
	eventually(t, patience, func() error {
		if slices.Contains(o.list("ALL_FIRST_TOPICS"), topic) {
			return fmt.Errorf("ALL_FIRST_TOPICS has %q still", topic)
		}
		return nil
	})
}

func TestMetadataWrittenWithMqadminIsUsed(t *testing.T) {
	t.Parallel()
	g := start(t, rocketmqProfile)
	o := newOperator(t)
	app := newApplication(t)
	topic := g.Name("operators")
	o.mqadmin("updateTopic", "-c", "lmqgate-test", "-t", topic, "-r", "1", "-w", "1")
	all, found := o.get("ALL_FIRST_TOPICS")
	if found && all != "" {
		all += ","
	}
	o.put("ALL_FIRST_TOPICS", all+topic)
	o.put(topic, topic+"/+,"+topic+"/deep/#")
	eventually(t, patience, func() error {
		if !slices.Contains(strings.Split(g.CLI("topic", "list", "--config", g.config(), "--admin", "http://"+g.Admin).OK(), "\n"), topic) {
			return fmt.Errorf("the gateway does not list %q", topic)
		}
		return nil
	})
	app.consume(topic, "*")
	pub := g.connect(t, g.Name("publisher"))
	n := 0
	eventually(t, patience, func() error {
		pub.publish(topic+"/x", 1, "x")
		n++
		messages := app.await(n)
		if got := messages[n-1].GetProperty("INNER_MULTI_DISPATCH"); !slices.Contains(strings.Split(got, ","), "%LMQ%"+topic+"%+%") {
			return fmt.Errorf("a message to %q is dispatched to %q", topic+"/x", got)
		}
		return nil
	})
	pub.publish(topic+"/deep/er", 1, "y")
	got := app.await(n + 1)[n].GetProperty("INNER_MULTI_DISPATCH")
	require.Contains(t, strings.Split(got, ","), "%LMQ%"+topic+"%deep%#%")
	require.NotContains(t, strings.Split(got, ","), "%LMQ%"+topic+"%+%")

	// The gateway merges its additions with what the operator wrote.
	sub := g.connect(t, g.Name("sleeper"), persistent)
	sub.subscribe(topic+"/mine/+", 1)
	eventually(t, patience, func() error {
		value, _ := o.get(topic)
		for _, want := range []string{topic + "/+", topic + "/deep/#", topic + "/mine/+"} {
			if !strings.Contains(value+",", want+",") && !strings.Contains(value+",", want+"/,") {
				return fmt.Errorf("LMQ/%s is %q and lacks %q", topic, value, want)
			}
		}
		return nil
	})
}

func TestDispatchIsCompatibleWhileUpstreamGatewaysAreRegistered(t *testing.T) {
	t.Parallel()
	o := newOperator(t)
	app := newApplication(t)
	o.put("LMQ_CONNECT_NODES", "192.0.2.7")
	t.Cleanup(func() { o.mqadmin("deleteKvConfig", "-s", "LMQ", "-k", "LMQ_CONNECT_NODES") })
	g := start(t, rocketmqProfile)
	topic := g.Topic("mixed")
	pub := g.connect(t, g.Name("publisher"))
	pub.publish(topic+"/x", 1, "x")
	app.consume(topic, "MQTT_COMMON")
	require.Equal(t, "%LMQ%"+topic+"%x%", app.await(1)[0].GetProperty("INNER_MULTI_DISPATCH"))
}
