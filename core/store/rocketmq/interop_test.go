package rocketmq

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/remoting"
	"github.com/lmqgate/lmqgate/test/rocketmq/cluster"
)

func TestIntegrationMessagesOfARocketMQProducerReachTheTail(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	s := open(t, c)
	topic := newTopic(t, s, 1)
	var tail collector
	tl, err := s.Tail(t.Context(), topic, tail.take)
	require.NoError(t, err)
	defer tl.Close()
	p, err := rocketmq.NewProducer(producer.WithNameServer(c.Namesrv()), producer.WithGroupName("app"), producer.WithInstanceName(topic))
	require.NoError(t, err)
	require.NoError(t, p.Start())
	defer func() { require.NoError(t, p.Shutdown()) }()
	big := strings.Repeat("compressed by the producer ", 1000)
	plain := primitive.NewMessage(topic, []byte("plain"))
	compressed := primitive.NewMessage(topic, []byte(big))
	queued := primitive.NewMessage(topic, []byte("queued"))
	queued.WithProperty(propDispatch, lmqPrefix+topic+"%a%,"+lmqPrefix+topic+"%+%")
	for _, m := range []*primitive.Message{plain, compressed, queued} {
		_, err := p.SendSync(t.Context(), m)
		require.NoError(t, err)
	}
	got := tail.await(t, 3)
	require.Equal(t, "plain", string(got[0].Payload))
	require.Equal(t, topic, got[0].Topic)
	require.Equal(t, byte(1), got[0].QoS)
	require.Empty(t, got[0].Entries)
	require.Equal(t, big, string(got[1].Payload))
	require.Equal(t, topic+"/a", got[2].Topic)
	require.Equal(t, "queued", string(readAll(t, s, topic+"%a%", 1)[0].Payload))
}

func TestIntegrationTheNameOfAQueueTwiceInOneRecordMovesNoPlaces(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	s := open(t, c)
	topic := newTopic(t, s, 1)
	ref := store.QueueRef{Queue: topic + "%a%", Broker: c.BrokerNames()[0]}
	group := store.Group{QueueRef: ref, Name: "g"}
	put := func(text string, queues ...string) store.Position {
		return appendOne(t, s, store.Append{Message: message(topic+"/a", text), Topic: topic, Key: "k", Queues: queues})
	}
	put("0", ref.Queue, ref.Queue)
	require.NoError(t, s.PlaceGroup(t.Context(), group, 0))
	put("1", ref.Queue)
	last := put("2", ref.Queue)
	addr := c.Brokers()[0]
	require.Eventually(t, func() bool { return s.indexed(t.Context(), addr, ref.Queue, 2, last.Log) }, patience, 20*time.Millisecond)
	require.False(t, s.indexed(t.Context(), addr, ref.Queue, 1, last.Log))
	require.False(t, s.indexed(t.Context(), addr, ref.Queue, -1, last.Log))
	bounds, err := s.Bounds(t.Context(), ref)
	require.NoError(t, err)
	require.EqualValues(t, 3, bounds.Max)
	batch, err := s.Read(t.Context(), ref, 0, 32)
	require.NoError(t, err)
	require.Equal(t, []int64{0, 1, 2}, batch.Offsets)
	stated, _ := batch.Records[2].Offset(ref.Queue)
	require.EqualValues(t, 3, stated, "the broker counts twice")
	// A group acknowledges what it was handed, and nothing else.
	var receipts []string
	require.Eventually(t, func() bool {
		out, err := s.Pop(t.Context(), group, 32, time.Minute, time.Second)
		require.NoError(t, err)
		for _, h := range out {
			receipts = append(receipts, strings.Fields(h.Receipt)[7])
			require.NoError(t, s.PopAck(t.Context(), group, []string{h.Receipt}))
		}
		return len(receipts) == 3
	}, patience, 20*time.Millisecond)
	require.Equal(t, []string{"0", "1", "2"}, receipts)
}

func TestIntegrationARocketMQConsumerReceivesTheMessagesAndNoFollowUps(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	s := open(t, c)
	topic := newTopic(t, s, 4)
	var mu sync.Mutex
	got := map[string]string{}
	pc, err := rocketmq.NewPushConsumer(consumer.WithNameServer(c.Namesrv()), consumer.WithGroupName("g_"+topic), consumer.WithInstance(topic),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset))
	require.NoError(t, err)
	require.NoError(t, pc.Subscribe(topic, consumer.MessageSelector{Type: consumer.TAG, Expression: tagMQTT},
		func(_ context.Context, msgs ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
			mu.Lock()
			defer mu.Unlock()
			for _, m := range msgs {
				got[string(m.Body)] += m.GetProperty(propTopic) + m.GetProperty(propPublisher)
			}
			return consumer.ConsumeSuccess, nil
		}))
	require.NoError(t, pc.Start())
	defer func() { require.NoError(t, pc.Shutdown()) }()
	queues := make([]string, 500)
	for i := range queues {
		queues[i] = fmt.Sprintf("%s%%%0100d", topic, i)
	}
	m := message(topic+"/a", "many queues")
	m.Publisher = "dev"
	appendOne(t, s, store.Append{Message: m, Topic: topic, Key: "k", Queues: queues})
	appendOne(t, s, store.Append{Message: message(topic+"/b", "few"), Topic: topic, Key: "k"})
	require.Eventually(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(got) >= 2
	}, patience, 50*time.Millisecond)
	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, map[string]string{"many queues": topic + "/adev", "few": topic + "/b"}, got)
}

func TestIntegrationTwentyThousandMessagesOfEightPublishersAreAllInTheQueueInOrder(t *testing.T) {
	t.Parallel()
	onOneVersion(t)
	s := open(t, sharedCluster(t))
	topic := newTopic(t, s, 4)
	queue := topic + "%a%"
	var tail collector
	tl, err := s.Tail(t.Context(), topic, tail.take)
	require.NoError(t, err)
	defer tl.Close()
	const publishers, each = 8, 2500
	var wg sync.WaitGroup
	for p := range publishers {
		wg.Go(func() {
			for i := range each {
				if _, err := appendWait(t.Context(), s, store.Append{
					Message: message(topic+"/a", fmt.Sprintf("%d/%d", p, i)), Topic: topic, Key: fmt.Sprint(p), Queues: []string{queue},
				}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	for _, records := range [][]*store.Record{tail.await(t, publishers*each), readAll(t, s, queue, publishers*each)} {
		require.Len(t, records, publishers*each)
		next := map[string]int{}
		for _, r := range records {
			p, number, _ := strings.Cut(string(r.Payload), "/")
			require.Equal(t, fmt.Sprint(next[p]), number)
			next[p]++
		}
	}
}

func TestIntegrationMqadminAndTheClientSeeTheSameConfigurationTable(t *testing.T) {
	t.Parallel()
	onOneVersion(t)
	c := sharedCluster(t)
	client := remoting.New(remoting.Config{RequestTimeout: patience})
	defer client.Close()
	_, err := c.Mqadmin(t.Context(), "updateKvConfig", "-s", "LMQ", "-k", "fromTool", "-v", "a/+,b/#")
	require.NoError(t, err)
	list, err := client.ListKVConfig(t.Context(), c.Namesrv()[0], "LMQ")
	require.NoError(t, err)
	require.Equal(t, "a/+,b/#", list["fromTool"])
	v, found, err := client.GetKVConfig(t.Context(), c.Namesrv()[0], "LMQ", "fromTool")
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, "a/+,b/#", v)
	require.NoError(t, client.DeleteKVConfig(t.Context(), c.Namesrv()[0], "LMQ", "fromTool"))
	_, found, err = client.GetKVConfig(t.Context(), c.Namesrv()[0], "LMQ", "fromTool")
	require.NoError(t, err)
	require.False(t, found)
}

func TestIntegrationTLSIsUsedOnEveryConnectionAndVerified(t *testing.T) {
	t.Parallel()
	onOneVersion(t)
	c := sharedCluster(t) // RocketMQ accepts TLS with a self-signed certificate unless it has another one
	s := openWith(t, Options{Namesrv: c.Namesrv(), TLS: &tls.Config{InsecureSkipVerify: true}})
	topic := newTopic(t, s, 1)
	var tail collector
	tl, err := s.Tail(t.Context(), topic, tail.take)
	require.NoError(t, err)
	defer tl.Close()
	appendOne(t, s, store.Append{Message: message(topic+"/a", "x"), Topic: topic, Key: "k", Queues: []string{topic + "%a%"}})
	tail.await(t, 1)
	readAll(t, s, topic+"%a%", 1)

	strict, err := New(Options{Namesrv: c.Namesrv(), TLS: &tls.Config{}, Log: testLog(t)})
	require.NoError(t, err)
	defer strict.Close()
	require.NoError(t, strict.Start(t.Context()))
	err = strict.Ready(t.Context())
	require.ErrorIs(t, err, store.ErrUnavailable)
	require.ErrorContains(t, err, "certificate")
}

func TestIntegrationRequestsAreSignedWhereTheBrokerWantsIt(t *testing.T) {
	t.Parallel()
	version := cluster.Wanted(t)
	const access, secret = "lmqgateAccess", "lmqgateSecret"
	o := cluster.Options{Dir: t.TempDir(), Client: remoting.Config{Credentials: remoting.Credentials{AccessKey: access, SecretKey: secret}}}
	if version < "5.3" {
		conf := filepath.Join(o.Dir, "broker-a", "conf")
		require.NoError(t, os.MkdirAll(conf, 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(conf, "plain_acl.yml"),
			[]byte("accounts:\n- accessKey: "+access+"\n  secretKey: "+secret+"\n  admin: true\n"), 0o600))
		o.Broker = map[string]string{"aclEnable": "true"}
	} else {
		o.Broker = map[string]string{
			"authenticationEnabled":                "true",
			"authenticationMetadataProvider":       "org.apache.rocketmq.auth.authentication.provider.LocalAuthenticationMetadataProvider",
			"initAuthenticationUser":               `{"username":"` + access + `","password":"` + secret + `"}`,
			"innerClientAuthenticationCredentials": `{"accessKey":"` + access + `","secretKey":"` + secret + `"}`,
		}
	}
	c := cluster.ForTest(t, o)
	s := openWith(t, Options{Namesrv: c.Namesrv(), AccessKey: access, SecretKey: secret})
	topic := newTopic(t, s, 1)
	queue := topic + "%a%"
	appendOne(t, s, store.Append{Message: message(topic+"/a", "x"), Topic: topic, Key: "k", Queues: []string{queue}})
	readAll(t, s, queue, 1)
	ref := store.QueueRef{Queue: queue, Broker: "broker-a"}
	require.NoError(t, s.Commit(t.Context(), "client", 1, []store.Offset{{QueueRef: ref, Next: 1}}))

	wrong := openWith(t, Options{Namesrv: c.Namesrv(), AccessKey: access, SecretKey: "not the secret"})
	_, err := wrong.Read(t.Context(), ref, 0, 1)
	require.ErrorIs(t, err, store.ErrUnavailable)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err = appendWait(ctx, wrong, store.Append{Message: message(topic+"/a", "y"), Topic: topic, Key: "k"})
	require.Error(t, err)
}
