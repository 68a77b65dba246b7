package e2e

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/apache/rocketmq-client-go/v2/rlog"
	"github.com/stretchr/testify/require"
)

// application is a RocketMQ application: it knows Apache RocketMQ and rocketmq-client-go, and nothing of the gateway.
type application struct {
	t       *testing.T
	namesrv []string
	prod    rocketmq.Producer

	mu  sync.Mutex
	got []*primitive.MessageExt
}

func newApplication(t *testing.T) *application {
	t.Helper()
	rlog.SetLogLevel("fatal")
	return &application{t: t, namesrv: rocketmqCluster.get(t).Namesrv()}
}

// consume starts a push consumer of a topic's messages with a tag, from the beginning of the topic.
func (a *application) consume(topic, tag string) {
	a.t.Helper()
	c, err := rocketmq.NewPushConsumer(consumer.WithNameServer(a.namesrv), consumer.WithGroupName("app_"+topic),
		consumer.WithInstance("consumer_"+topic), consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset))
	require.NoError(a.t, err)
	require.NoError(a.t, c.Subscribe(topic, consumer.MessageSelector{Type: consumer.TAG, Expression: tag},
		func(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.got = append(a.got, messages...)
			return consumer.ConsumeSuccess, nil
		}))
	require.NoError(a.t, c.Start())
	a.t.Cleanup(func() { _ = c.Shutdown() })
}

// await waits until the consumer has n messages.
func (a *application) await(n int) []*primitive.MessageExt {
	a.t.Helper()
	var out []*primitive.MessageExt
	eventually(a.t, patience, func() error {
		a.mu.Lock()
		defer a.mu.Unlock()
		if len(a.got) < n {
			return fmt.Errorf("the RocketMQ consumer has %d of %d messages", len(a.got), n)
		}
		out = append([]*primitive.MessageExt(nil), a.got...)
		return nil
	})
	return out
}

// send sends a message with properties, given as name, value, name, value.
func (a *application) send(topic, body string, properties ...string) {
	a.t.Helper()
	if a.prod == nil {
		p, err := rocketmq.NewProducer(producer.WithNameServer(a.namesrv), producer.WithGroupName("app_producer"),
			producer.WithInstanceName("producer_"+topic))
		require.NoError(a.t, err)
		require.NoError(a.t, p.Start())
		a.t.Cleanup(func() { _ = p.Shutdown() })
		a.prod = p
	}
	m := primitive.NewMessage(topic, []byte(body))
	for i := 0; i < len(properties); i += 2 {
		m.WithProperty(properties[i], properties[i+1])
	}
	eventually(a.t, patience, func() error { // a new topic's route takes a moment
		_, err := a.prod.SendSync(context.Background(), m)
		return err
	})
}

func TestARocketMQConsumerGetsWhatMQTTClientsPublish(t *testing.T) {
	t.Parallel()
	g := start(t, rocketmqProfile)
	app := newApplication(t)
	topic := g.Topic("toapp")
	pub := g.connect(t, g.Name("publisher"))
	for i := range 20 {
		pub.publish(topic+"/device/"+strconv.Itoa(i), byte(i%3), "value "+strconv.Itoa(i))
	}
	pub.publish(topic+"/empty", 1, "")
	app.consume(topic, "MQTT_COMMON")
	byName := map[string]*primitive.MessageExt{}
	for _, m := range app.await(21) {
		byName[m.GetProperty("originMqttTopic")] = m
	}
	require.Len(t, byName, 21)
	for i := range 20 {
		m := byName[topic+"/device/"+strconv.Itoa(i)]
		require.NotNil(t, m, i)
		require.Equal(t, "value "+strconv.Itoa(i), string(m.Body))
		require.Equal(t, topic, m.Topic)
		require.Equal(t, "MQTT_COMMON", m.GetTags())
		require.Equal(t, strconv.Itoa(i%3), m.GetProperty("qosLevel"))
		require.Equal(t, "false", m.GetProperty("IS_EMPTY_MSG"))
	}
	require.Equal(t, "true", byName[topic+"/empty"].GetProperty("IS_EMPTY_MSG"))
	// And while it runs.
	pub.publish(topic+"/live", 1, "live")
	require.Equal(t, "live", string(app.await(22)[21].Body))
}

func TestAPlainRocketMQMessageReachesOnlineSubscribersOfItsTopic(t *testing.T) {
	t.Parallel()
	g := start(t, rocketmqProfile)
	app := newApplication(t)
	topic := g.Topic("plain")
	exact := g.connect(t, g.Name("exact"))
	exact.subscribe(topic, 1)
	all := g.connect(t, g.Name("all"), persistent)
	all.subscribe(topic+"/#", 1) // # matches the parent level too
	sleeper := g.connect(t, g.Name("sleeper"), persistent)
	sleeper.subscribe(topic, 1)
	sleeper.leave()
	for i := range 5 {
		app.send(topic, "plain "+strconv.Itoa(i))
	}
	for _, c := range []*client{exact, all} {
		c.await(5)
		require.ElementsMatch(t, []string{"plain 0", "plain 1", "plain 2", "plain 3", "plain 4"}, c.payloads())
		require.Equal(t, topic, c.messages()[0].Topic())
	}
	// It is in no queue, so a sleeping session does not get it.
	sleeper = g.connect(t, g.Name("sleeper"), persistent)
	pub := g.connect(t, g.Name("publisher"))
	sleeper.only(pub, topic)
}

func TestARocketMQMessageWithQueuesReachesSleepingSessions(t *testing.T) {
	t.Parallel()
	g := start(t, rocketmqProfile)
	app := newApplication(t)
	topic := g.Topic("queued")
	exact := g.connect(t, g.Name("exact"), persistent)
	exact.subscribe(topic+"/r1", 1)
	exact.leave()
	wildcard := g.connect(t, g.Name("wildcard"), persistent)
	wildcard.subscribe(topic+"/+", 1)
	wildcard.leave()
	online := g.connect(t, g.Name("online"))
	online.subscribe(topic+"/#", 1)
	queues := "%LMQ%" + topic + "%r1%,%LMQ%" + topic + "%+%"
	app.send(topic, "with its topic", "INNER_MULTI_DISPATCH", queues, "originMqttTopic", topic+"/r1")
	app.send(topic, "without", "INNER_MULTI_DISPATCH", queues)
	want := []string{"with its topic", "without"}
	require.ElementsMatch(t, want, texts(online.await(2)))
	exact = g.connect(t, g.Name("exact"), persistent)
	require.ElementsMatch(t, want, texts(exact.await(2)))
	wildcard = g.connect(t, g.Name("wildcard"), persistent)
	require.ElementsMatch(t, want, texts(wildcard.await(2)))
}

// A broker counts such a queue twice and indexes it once: from then on records state offsets that are not their places.
func TestAProducerThatNamesAQueueTwiceCostsSessionsNothing(t *testing.T) {
	t.Parallel()
	g := start(t, rocketmqProfile)
	app := newApplication(t)
	topic := g.Topic("twice")
	reader := g.connect(t, g.Name("reader"), persistent)
	reader.subscribe(topic+"/#", 1)
	over := g.connect(t, g.Name("overlapping"), persistent)
	over.subscribe(topic+"/#", 1)
	over.subscribe(topic+"/+", 1)
	member := g.connect(t, g.Name("member"), persistent)
	require.Equal(t, map[string]byte{topic + "/#": 1}, member.trySubscribe("$share/workers/"+topic+"/#", 1))
	pub := g.connect(t, g.Name("publisher"))
	wild, one := "%LMQ%"+topic+"%#%", "%LMQ%"+topic+"%+%"
	var want []string
	publish := func(n int) {
		for range n {
			want = append(want, strconv.Itoa(len(want)))
			pub.publish(topic+"/x", 1, want[len(want)-1])
		}
	}
	twice := func() {
		want = append(want, strconv.Itoa(len(want)))
		app.send(topic, want[len(want)-1], "originMqttTopic", topic+"/x", "INNER_MULTI_DISPATCH", wild+","+one+","+wild+","+one+","+wild)
	}
	publish(3)
	for _, c := range []*client{reader, over, member} {
		require.ElementsMatch(t, want, texts(c.await(len(want))))
	}
	twice()
	publish(3)
	for _, c := range []*client{reader, over, member} {
		require.ElementsMatch(t, want, texts(c.await(len(want))))
	}
	reader.leave()
	reader.forget()
	from := len(want)
	publish(4)
	twice()
	publish(4)
	reader = g.connect(t, g.Name("reader"), persistent)
	require.ElementsMatch(t, want[from:], texts(reader.await(len(want)-from)))
	publish(2)
	require.ElementsMatch(t, want[from:], texts(reader.await(len(want)-from)))
	reader.leave() // what it has acknowledged must not come again
	reader = g.connect(t, g.Name("reader"), persistent)
	reader.only(pub, topic+"/end")
	for _, c := range []*client{over, member} {
		require.ElementsMatch(t, want, texts(c.await(len(want) + 1)[:len(want)]))
	}
}

func TestCompressedBodiesOfOtherClientsArrive(t *testing.T) {
	g := start(t, rocketmqProfile)
	app := newApplication(t)
	c := rocketmqCluster.get(t)
	topic := g.Topic("compressed")
	sub := g.connect(t, g.Name("subscriber"))
	sub.subscribe(topic, 1)
	body := func(s string) string { return strings.Repeat(s+"_", 1500) } // over the clients' threshold of 4 KiB
	app.send(topic, body("go-zlib"))
	require.Equal(t, body("go-zlib"), string(sub.await(1)[0].Payload()))
	for i, algorithm := range []string{"ZLIB", "LZ4", "ZSTD"} {
		t.Setenv("JAVA_TOOL_OPTIONS", "-Drocketmq.message.compressType="+algorithm)
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		out, err := c.Mqadmin(ctx, "sendMessage", "-t", topic, "-p", body(algorithm))
		cancel()
		require.NoError(t, err, out)
		require.Equal(t, body(algorithm), string(sub.await(i + 2)[i+1].Payload()))
	}
}

func TestNothingAcknowledgedIsLostWhenTheBrokerIsKilled(t *testing.T) {
	t.Parallel()
	g := start(t, rocketmqProfile)
	c := rocketmqCluster.get(t)
	topic := g.Topic("broker") + "/x"
	const publishers, before, after = 4, 100, 100
	sleeper := g.connect(t, g.Name("sleeper"), persistent)
	sleeper.subscribe(topic, 1)
	sleeper.leave()
	online := g.connect(t, g.Name("online"))
	online.subscribe(topic, 1)

	half := make(chan struct{}, publishers)
	acked := make(chan []string, publishers)
	stop := time.Now().Add(6 * time.Minute)
	for p := range publishers {
		id := g.Name("publisher" + strconv.Itoa(p))
		go func() {
			var done []string
			var pub *client
			defer func() { acked <- done }()
			for n := 0; n < before+after && time.Now().Before(stop); {
				if pub == nil {
					var err error
					if pub, err = g.tryConnect(t, id); err != nil {
						pub = nil
						time.Sleep(100 * time.Millisecond) // a client that reconnects
						continue
					}
				}
				token := pub.Publish(topic, 1, false, numbered(p, n))
				select {
				case <-token.Done():
				case <-pub.lost:
				case <-time.After(time.Minute):
				}
				select {
				case <-token.Done():
				default:
					pub.Disconnect(0)
					pub = nil
					continue // a retry; it may arrive twice
				}
				if token.Error() != nil {
					pub = nil
					continue
				}
				done = append(done, numbered(p, n))
				n++
				if n == before {
					half <- struct{}{}
				}
			}
		}()
	}
	for range publishers {
		<-half
	}
	c.KillBroker(0)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	require.NoError(t, c.RestartBroker(ctx, 0))
	var all []string
	for range publishers {
		all = append(all, <-acked...)
	}
	require.Len(t, all, publishers*(before+after), "the publishers go on after the restart")

	sleeper = g.connect(t, g.Name("sleeper"), persistent)
	for name, sub := range map[string]*client{"online": online, "sleeper": sleeper} {
		eventually(t, patience, func() error {
			have := map[string]bool{}
			for _, text := range sub.payloads() {
				have[text] = true
			}
			missing := 0
			for _, text := range all {
				if !have[text] {
					missing++
				}
			}
			if missing > 0 {
				return fmt.Errorf("%s lacks %d of %d acknowledged messages", name, missing, len(all))
			}
			return nil
		})
		checkOrder(t, name, sub.payloads(), publishers)
	}
}

// checkOrder requires that each publisher's numbers are in order; repetitions are allowed.
func checkOrder(t *testing.T, who string, payloads []string, publishers int) {
	t.Helper()
	first := make([]map[int]bool, publishers)
	last := make([]int, publishers)
	for i := range first {
		first[i], last[i] = map[int]bool{}, -1
	}
	for _, text := range payloads {
		var p, n int
		_, err := fmt.Sscanf(text, "%d/%d", &p, &n)
		require.NoError(t, err)
		if first[p][n] {
			continue
		}
		first[p][n] = true
		if n <= last[p] {
			var own []string
			for _, text := range payloads {
				if strings.HasPrefix(text, strconv.Itoa(p)+"/") {
					own = append(own, text)
				}
			}
			t.Fatalf("%s: %d of publisher %d comes after %d: %q", who, n, p, last[p], own)
		}
		last[p] = n
	}
}
