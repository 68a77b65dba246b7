package rocketmq

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"sync"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/remoting"
)

// target is where one record is sent.
type target struct {
	topic string
	store.Partition
	addr string
}

// sent is a broker's answer to a send.
type sent struct {
	queue  int32
	offset int64
	log    int64
	logs   []int64 // of a batch; nil if the broker did not report them
	// unsynced: the record is stored, but the broker's slave was not available.
	unsynced bool
}

// position returns where the broker has stored message number i of what was sent.
func (s *sent) position(broker string, i int) store.Position {
	p := store.Position{Broker: broker, Partition: s.queue, Offset: s.offset + int64(i), Log: -1, Time: time.Now().UnixMilli()}
	switch {
	case i == 0:
		p.Log = s.log
	case i < len(s.logs):
		p.Log = s.logs[i]
	}
	return p
}

// sender sends one record once, and calls done exactly once, from any goroutine; done must not block. A refusal by the broker is a
// *sendError.
//
// There are two senders. Package remoting is the default. It combines waiting requests into one write, and encodes headers in the form that
// brokers decode fastest. rocketmq-client-go's producer writes each message in four pieces, which costs gateway and broker about half of
// their throughput (docs/performance.md). Package remoting also supports TLS with verification and client certificates, and signatures with
// a security token. rocketmq-client-go's producer is there for those who want Apache's own.
type sender interface {
	start() error
	send(ctx context.Context, t target, r record, done func(sent, error))
	close()
}

// batchSender is a sender that can send several records that the broker stores atomically: all of them, in order and next to each other, or
// none. The sent passed to done describes the first record.
type batchSender interface {
	sendBatch(ctx context.Context, t target, rs []record, done func(sent, error))
}

// sendError is a broker's refusal.
type sendError struct {
	code   int
	remark string
}

func (e *sendError) Error() string {
	return fmt.Sprintf("the broker answered %d: %s", e.code, e.remark)
}

func newSender(o Options) (sender, error) {
	switch {
	case o.Producer == ProducerRemoting:
		return newRemotingSender(o), nil
	case o.Producer != ProducerClientGo:
		return nil, fmt.Errorf("no such producer: %q", o.Producer)
	case o.TLS != nil || o.SecurityToken != "":
		return nil, errors.New("rocketmq-client-go's producer can neither verify certificates nor sign with a security token; " +
			"set store.rocketmq.producer to remoting")
	default:
		return newClientGo(o)
	}
}

// clientGo sends with rocketmq-client-go's producer.
type clientGo struct {
	producer rocketmq.Producer
	// routed contains the topics whose route the producer knows. For other topics the call to send asks the name servers, and may block.
	routed sync.Map
}

func newClientGo(o Options) (*clientGo, error) {
	bridgeLog(o.Log)
	addrs := make([]string, len(o.Namesrv))
	for i, a := range o.Namesrv {
		addrs[i] = "http://" + a // without the prefix, the producer accepts only IP addresses
	}
	opts := []producer.Option{
		producer.WithNsResolver(primitive.NewPassthroughResolver(addrs)),
		producer.WithGroupName(producerGroup),
		// The process shares clients by this name; a unique name gives each store its own client.
		producer.WithInstanceName(o.NodeID + "#" + strconv.FormatInt(time.Now().UnixNano(), 36)),
		producer.WithRetry(0),
		producer.WithSendMsgTimeout(o.SendTimeout),
		producer.WithQueueSelector(producer.NewManualQueueSelector()),
		producer.WithCompressMsgBodyOverHowmuch(math.MaxInt), // never compress: payloads are small, and processor time is scarce
	}
	if o.AccessKey != "" {
		opts = append(opts, producer.WithCredentials(primitive.Credentials{AccessKey: o.AccessKey, SecretKey: o.SecretKey}))
	}
	p, err := rocketmq.NewProducer(opts...)
	if err != nil {
		return nil, err
	}
	return &clientGo{producer: p}, nil
}

func (c *clientGo) start() error { return c.producer.Start() }

func (c *clientGo) close() { _ = c.producer.Shutdown() }

func (c *clientGo) send(ctx context.Context, t target, r record, done func(sent, error)) {
	props := make(map[string]string, len(r.props))
	for _, p := range r.props {
		props[p.Name] = p.Value
	}
	m := primitive.NewMessage(t.topic, r.body)
	m.WithProperties(props)
	m.Queue = &primitive.MessageQueue{Topic: t.topic, BrokerName: t.Broker, QueueId: int(t.ID)}
	if _, ok := c.routed.Load(t.topic); !ok {
		go c.sendAsync(ctx, m, done)
		return
	}
	c.sendAsync(ctx, m, done)
}

func (c *clientGo) sendAsync(ctx context.Context, m *primitive.Message, done func(sent, error)) {
	err := c.producer.SendAsync(ctx, func(_ context.Context, res *primitive.SendResult, err error) {
		if err != nil {
			done(sent{}, refusal(err))
			return
		}
		if _, known := c.routed.Load(m.Topic); !known {
			c.routed.Store(m.Topic, true)
		}
		done(result(res))
	}, m)
	if err != nil {
		go done(sent{}, err)
	}
}

func result(res *primitive.SendResult) (sent, error) {
	s := sent{queue: int32(res.MessageQueue.QueueId), offset: res.QueueOffset, log: -1}
	if n, err := remoting.LogOffset(res.OffsetMsgID); err == nil {
		s.log = n
	}
	switch res.Status {
	case primitive.SendOK:
		return s, nil
	case primitive.SendSlaveNotAvailable:
		s.unsynced = true
		return s, nil
	case primitive.SendFlushDiskTimeout:
		return s, &sendError{code: remoting.FlushDiskTimeout, remark: "stored, but not flushed to disk in time"}
	case primitive.SendFlushSlaveTimeout:
		return s, &sendError{code: remoting.FlushSlaveTimeout, remark: "stored, but not replicated in time"}
	}
	return s, fmt.Errorf("unknown send status %d", res.Status)
}

// refusal extracts the broker's code from the text of the producer's error.
func refusal(err error) error {
	var code int
	if n, _ := fmt.Sscanf(err.Error(), "CODE: %d", &code); n == 1 {
		return &sendError{code: code, remark: clip(err.Error())}
	}
	return err
}

// remotingSender sends with package remoting, over connections of its own, so that reads do not wait behind messages.
type remotingSender struct {
	client  *remoting.Client
	timeout time.Duration
}

func newRemotingSender(o Options) *remotingSender {
	return &remotingSender{client: remoting.New(o.Remoting()), timeout: o.SendTimeout}
}

func (*remotingSender) start() error { return nil }
func (s *remotingSender) close()     { _ = s.client.Close() }

func (s *remotingSender) send(ctx context.Context, t target, r record, done func(sent, error)) {
	s.client.Send(t.addr, remoting.SendRequest{
		Group: producerGroup, Topic: t.topic, Queue: t.ID, Properties: r.props, Body: r.body,
	}, s.patience(ctx), answered(done))
}

func (s *remotingSender) sendBatch(ctx context.Context, t target, rs []record, done func(sent, error)) {
	parts := make([]remoting.BatchPart, len(rs))
	for i, r := range rs {
		parts[i] = remoting.BatchPart{Properties: r.props, Body: r.body}
	}
	request := remoting.SendRequest{Group: producerGroup, Topic: t.topic, Queue: t.ID}
	s.client.SendBatch(t.addr, request, parts, s.patience(ctx), answered(done))
}

// patience returns how long to wait for an answer.
func (s *remotingSender) patience(ctx context.Context) time.Duration {
	if end, ok := ctx.Deadline(); ok {
		return min(s.timeout, time.Until(end))
	}
	return s.timeout
}

func answered(done func(sent, error)) func(remoting.SendResult, error) {
	return func(res remoting.SendResult, err error) {
		if refused, ok := errors.AsType[*remoting.Error](err); ok {
			err = &sendError{code: refused.Code, remark: refused.Remark}
		}
		done(sent{queue: res.Queue, offset: res.QueueOffset, log: res.Log, logs: res.Logs, unsynced: res.Unsynced}, err)
	}
}
