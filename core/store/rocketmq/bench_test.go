package rocketmq

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/store"
)

// The baseline is a producer that sends the same messages (256 bytes, two light message queues) with rocketmq-client-go alone, in the same
// run:
//
//	LMQGATE_ROCKETMQ=5.4.0 go test ./core/store/rocketmq -run '^$' -bench Append -benchtime 20000x

func BenchmarkAppend(b *testing.B) {
	for _, flight := range []int{1, 256} {
		b.Run(fmt.Sprintf("producer/inflight=%d", flight), func(b *testing.B) { benchProducer(b, flight) })
		b.Run(fmt.Sprintf("client-go/inflight=%d", flight), func(b *testing.B) { benchStore(b, flight, true) })
		b.Run(fmt.Sprintf("remoting/inflight=%d", flight), func(b *testing.B) { benchStore(b, flight, false) })
	}
}

const benchPayload = 256

func report(b *testing.B) {
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}

func benchProducer(b *testing.B, flight int) {
	c := sharedCluster(b)
	s := open(b, c)
	topic := newTopic(b, s, 4)
	p, err := newClientGo(Options{Namesrv: c.Namesrv(), NodeID: "bench", SendTimeout: s.opts.SendTimeout, Log: testLog(b)})
	require.NoError(b, err)
	require.NoError(b, p.start())
	defer p.close()
	body := make([]byte, benchPayload)
	send := func(key int, done func(error)) {
		m := primitive.NewMessage(topic, body)
		m.WithTag(tagMQTT)
		m.WithProperty(propDispatch, lmqPrefix+topic+"%a%,"+lmqPrefix+topic+"%+%")
		m.Queue = &primitive.MessageQueue{Topic: topic, BrokerName: "broker-a", QueueId: key % s.queuesOf(b, topic)}
		if err := p.producer.SendAsync(context.Background(), func(_ context.Context, _ *primitive.SendResult, err error) { done(err) }, m); err != nil {
			done(err)
		}
	}
	run(b, flight, send)
}

func (s *Store) queuesOf(b *testing.B, topic string) int {
	rt, err := s.routes.topic(b.Context(), topic)
	require.NoError(b, err)
	return len(rt.writable)
}

func benchStore(b *testing.B, flight int, viaClientGo bool) {
	s := open(b, sharedCluster(b))
	if viaClientGo {
		c, err := newClientGo(s.opts)
		require.NoError(b, err)
		require.NoError(b, c.start())
		s.sender.close()
		s.sender = c
	}
	topic := newTopic(b, s, 4)
	body := make([]byte, benchPayload)
	queues := []string{topic + "%a%", topic + "%+%"}
	run(b, flight, func(key int, done func(error)) {
		s.Append(context.Background(), store.Append{
			Message: &store.Message{Topic: topic + "/a", Payload: body, QoS: 1, Publisher: "bench"},
			Topic:   topic, Key: fmt.Sprint(key), Queues: queues,
		}, func(_ store.Position, err error) { done(err) })
	})
}

// run sends b.N messages, one at a time for each key.
func run(b *testing.B, keys int, send func(key int, done func(error))) {
	one := func(key int) {
		ch := make(chan error, 1)
		send(key, func(err error) { ch <- err })
		if err := <-ch; err != nil {
			b.Error(err)
		}
	}
	one(0) // sets up routes and connections
	var wg sync.WaitGroup
	next := make(chan struct{}, b.N)
	for range b.N {
		next <- struct{}{}
	}
	close(next)
	b.ReportAllocs()
	b.ResetTimer()
	for k := range keys {
		wg.Go(func() {
			for range next {
				one(k)
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	report(b)
}

// BenchmarkLane sends messages of one key, which must keep their order: one by one, as messages with queues are sent, and in batches of up
// to a window of 256. The baseline is a bare producer with 256 messages in flight, which keeps no order:
//
//	LMQGATE_ROCKETMQ=5.4.0 go test ./core/store/rocketmq -run '^$' -bench Lane -benchtime 20000x -count 5
func BenchmarkLane(b *testing.B) {
	b.Run("producer/inflight=256", func(b *testing.B) { benchProducer(b, 256) })
	b.Run("one by one", func(b *testing.B) { benchLane(b, 1) })
	b.Run("batches of up to 256", func(b *testing.B) { benchLane(b, 256) })
}

func benchLane(b *testing.B, window int) {
	s := open(b, sharedCluster(b))
	topic := newTopic(b, s, 4)
	m := &store.Message{Topic: topic + "/a", Payload: make([]byte, benchPayload), QoS: 1, Publisher: "bench"}
	waiting := make([]store.Append, window)
	for i := range waiting {
		waiting[i] = store.Append{Message: m, Topic: topic, Key: "k"}
	}
	send := func(n int) int {
		type outcome struct {
			n   int
			err error
		}
		ch := make(chan outcome, 1)
		s.AppendBatch(b.Context(), waiting[:n], func(n int, _ store.Position, err error) { ch <- outcome{n, err} })
		o := <-ch
		require.NoError(b, o.err)
		return o.n
	}
	send(1) // sets up routes and connections
	b.ReportAllocs()
	b.ResetTimer()
	for sent := 0; sent < b.N; {
		sent += send(min(window, b.N-sent))
	}
	b.StopTimer()
	report(b)
}
