package e2e

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"testing"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/remoting"
)

// decided is a transaction listener: the message's body is the outcome of the transaction.
type decided struct{}

func (decided) ExecuteLocalTransaction(m *primitive.Message) primitive.LocalTransactionState {
	return decided{}.outcome(string(m.Body))
}

func (decided) CheckLocalTransaction(m *primitive.MessageExt) primitive.LocalTransactionState {
	return decided{}.outcome(string(m.Body))
}

func (decided) outcome(body string) primitive.LocalTransactionState {
	switch body {
	case "committed":
		return primitive.CommitMessageState
	case "rolled back":
		return primitive.RollbackMessageState
	}
	return primitive.UnkonwnState
}

// transactions sends each body in a transaction of its own, with the given properties.
func (a *application) transactions(topic string, properties map[string]string, bodies ...string) {
	a.t.Helper()
	p, err := rocketmq.NewTransactionProducer(decided{}, producer.WithNameServer(a.namesrv), producer.WithGroupName("tx_"+topic),
		producer.WithInstanceName("tx_"+topic))
	require.NoError(a.t, err)
	require.NoError(a.t, p.Start())
	a.t.Cleanup(func() { _ = p.Shutdown() })
	for _, body := range bodies {
		m := primitive.NewMessage(topic, []byte(body))
		m.WithProperties(maps.Clone(properties)) // the producer modifies the map
		eventually(a.t, patience, func() error {
			_, err := p.SendMessageInTransaction(context.Background(), m)
			return err
		})
	}
}

// RocketMQ indexes its internal copies of a message into the same queues: undecided transactions, delays, retries, dead letters. And
// anybody can name the queues of another topic.
func TestOnlyWhatAnApplicationReallySentToTheTopicArrivesAndOnce(t *testing.T) {
	g := start(t, rocketmqProfile)
	app := newApplication(t)
	c := rocketmqCluster.get(t)
	broker := c.Brokers()[0]
	topic, other := g.Topic("wanted"), g.Topic("elsewhere")
	name := topic + "/x"
	online := g.connect(t, g.Name("online"))
	online.subscribe(topic+"/#", 1)
	awake := g.connect(t, g.Name("awake"), persistent)
	awake.subscribe(name, 1)
	elsewhere := g.connect(t, g.Name("elsewhere"))
	elsewhere.subscribe(other+"/#", 1)
	sleeper := g.connect(t, g.Name("sleeper"), persistent)
	sleeper.subscribe(name, 1)
	sleeper.leave()
	member := g.connect(t, g.Name("member"))
	member.trySubscribe("$share/"+g.Name("group")+"/"+name, 1) // the result names the filter without its group
	properties := map[string]string{"INNER_MULTI_DISPATCH": "%LMQ%" + topic + "%x%", "originMqttTopic": name, "qosLevel": "1"}
	var list []string
	for k, v := range properties {
		list = append(list, k, v)
	}

	app.transactions(topic, properties, "rolled back", "undecided", "committed")
	app.send(topic, "delayed", append(list, "DELAY", "1")...)
	app.send(other, "of another topic", list...)
	m := primitive.NewMessage(topic, []byte("could not be processed"))
	m.WithProperties(maps.Clone(properties))
	sent, err := app.prod.SendSync(context.Background(), m)
	require.NoError(t, err)

	// A consumer group sends it back: once for redelivery, once as a dead letter.
	rmq := remoting.New(remoting.Config{RequestTimeout: patience})
	defer rmq.Close()
	at, err := remoting.LogOffset(sent.OffsetMsgID)
	require.NoError(t, err)
	consumers := g.Name("consumers")
	for level, back := range map[int]string{1: "%RETRY%" + consumers, -1: "%DLQ%" + consumers} {
		resp, err := rmq.Invoke(context.Background(), broker, &remoting.Command{Code: 36, Ext: map[string]string{
			"offset": strconv.FormatInt(at, 10), "group": consumers, "delayLevel": strconv.Itoa(level), "originMsgId": sent.MsgID,
			"originTopic": topic, "unitMode": "false", "maxReconsumeTimes": "16",
		}})
		require.NoError(t, err)
		require.Zero(t, resp.Code, resp.Remark)
		eventually(t, patience, func() error {
			n, err := rmq.MaxOffset(context.Background(), broker, back, 0)
			if err == nil && n == 0 {
				err = fmt.Errorf("nothing is in %s yet", back)
			}
			return err
		})
	}

	want := []string{"committed", "could not be processed", "delayed"}
	for _, sub := range []*client{online, awake, member} {
		sub.await(len(want))
	}
	sleeper = g.connect(t, g.Name("sleeper"), persistent)
	sleeper.await(len(want))
	// A marker message proves that nothing else arrives.
	app.send(topic, "the end", list...)
	want = append(want, "the end")
	for _, sub := range []*client{online, awake, member, sleeper} {
		eventually(t, patience, func() error {
			if got := sub.payloads(); !slices.Contains(got, "the end") {
				return fmt.Errorf("%q has %q", sub.id, got)
			}
			return nil
		})
		require.ElementsMatch(t, want, sub.payloads(), sub.id)
	}
	app.send(other, "other's own", "originMqttTopic", other+"/y")
	elsewhere.await(1)
	require.Equal(t, []string{"other's own"}, elsewhere.payloads())
	// Nor does it arrive when everything is read again.
	for _, sub := range []*client{awake, sleeper} {
		sub.leave()
	}
	g.Restart()
	pub := g.connect(t, g.Name("publisher"))
	awake, sleeper = g.connect(t, awake.id, persistent), g.connect(t, sleeper.id, persistent)
	pub.publish(name, 1, "after all")
	for _, sub := range []*client{awake, sleeper} {
		sub.await(1)
		require.Equal(t, []string{"after all"}, sub.payloads(), sub.id)
	}
	_, page := g.Get("/metrics")
	require.Contains(t, page, "lmqgate_store_rocketmq_records_foreign_total")
}
