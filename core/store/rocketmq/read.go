package rocketmq

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/remoting"
)

// maxPull is how many messages one pull asks for. Brokers send at most 32 unless configured otherwise.
const maxPull = 256

// Read implements store.Store.
func (s *Store) Read(ctx context.Context, q store.QueueRef, offset int64, max int) (store.Batch, error) {
	b, err := s.read(ctx, q.Broker, lmqPrefix+q.Queue, 0, q.Queue, offset, max)
	if err != nil {
		return store.Batch{}, fmt.Errorf("read queue %q on %q at %d: %w", clip(q.Queue), q.Broker, offset, err)
	}
	return b, nil
}

// ReadPartition implements store.Store.
func (s *Store) ReadPartition(ctx context.Context, topic string, p store.Partition, offset int64, max int) (store.Batch, error) {
	b, err := s.read(ctx, p.Broker, topic, p.ID, "", offset, max)
	if err != nil {
		return store.Batch{}, fmt.Errorf("read topic %q, queue %d on %q at %d: %w", clip(topic), p.ID, p.Broker, offset, err)
	}
	return b, nil
}

// read pulls once, or twice if retention has removed the beginning. queue is the name of the light message queue; empty for a physical
// queue.
func (s *Store) read(ctx context.Context, name, topic string, id int32, queue string, offset int64, limit int) (store.Batch, error) {
	if err := s.begin(); err != nil {
		return store.Batch{}, err
	}
	defer s.end()
	req := remoting.PullRequest{Group: pullGroup, Topic: topic, Queue: id, Offset: offset, Max: min(max(limit, 1), maxPull)}
	pull, err := s.pull(ctx, name, req)
	if err != nil {
		return store.Batch{}, err
	}
	if pull.Code == remoting.PullOffsetMoved && offset > pull.Max {
		s.metrics.resets.Inc()
		return store.Batch{Next: pull.Min, Min: pull.Min, Max: pull.Max, Cuts: pull.cuts}, nil
	}
	if pull.Code == remoting.PullOffsetMoved && pull.Next > offset {
		// The wanted records are gone; the remaining ones begin at Next.
		req.Offset = pull.Next
		if pull, err = s.pull(ctx, name, req); err != nil {
			return store.Batch{}, err
		}
	}
	b := store.Batch{Min: pull.Min, Max: pull.Max, Cuts: pull.cuts}
	b.Records, b.Offsets, b.Next = s.records(name, queue, req.Offset, pull, true)
	b.Next = max(b.Next, req.Offset)
	s.metrics.read.WithLabelValues("read").Add(float64(len(b.Records)))
	return b, nil
}

// pullAnswer is an answer to a pull, with how often the broker's log had been cut by then.
type pullAnswer struct {
	*remoting.PullResult
	cuts int32
}

// pull sends a pull request to a broker's master. It repeats the request where the answer came over a connection that nothing has come over
// yet, and the broker's log has to be compared first.
func (s *Store) pull(ctx context.Context, name string, p remoting.PullRequest) (pullAnswer, error) {
	l := s.lineages.of(name)
	for range maxPulls {
		res, err := s.pullOnce(ctx, name, p)
		if err != nil {
			return pullAnswer{}, err
		}
		if cuts, ok := l.take(res); ok {
			return pullAnswer{res, cuts}, nil
		}
		if err := s.compare(ctx, name, l); err != nil {
			return pullAnswer{}, err
		}
	}
	return pullAnswer{}, brokerError(name, fmt.Errorf("%w: its connections keep breaking", store.ErrUnavailable))
}

// maxPulls bounds how often one pull is sent.
const maxPulls = 4

// pullOnce sends a pull request. It tries once more if the connection was dead, with the broker's present address.
func (s *Store) pullOnce(ctx context.Context, name string, p remoting.PullRequest) (*remoting.PullResult, error) {
	var res *remoting.PullResult
	err := s.asks(p.Topic)(ctx, name, func(addr string) (err error) {
		res, err = s.client.PullMessage(ctx, addr, p)
		return err
	})
	return res, err
}

// asks returns atQueue for light message queues, and atBroker for topics.
func (s *Store) asks(topic string) func(ctx context.Context, name string, f func(addr string) error) error {
	if strings.HasPrefix(topic, lmqPrefix) {
		return s.atQueue
	}
	return s.atBroker
}

// atQueue is atBroker for requests about light message queues.
func (s *Store) atQueue(ctx context.Context, name string, f func(addr string) error) error {
	return s.atBroker(ctx, name, func(addr string) error { return s.refusesQueues(name, f(addr)) })
}

// atBroker calls f with the address of a broker's master. A connection that turns out to be dead does not count as a failure yet: f is
// called once more, with the address that the name servers give then.
func (s *Store) atBroker(ctx context.Context, name string, f func(addr string) error) error {
	addr, err := s.routes.address(ctx, name)
	if err != nil {
		return brokerError(name, err)
	}
	err = f(addr)
	if !errors.Is(err, remoting.ErrConnection) || ctx.Err() != nil {
		return brokerError(name, err)
	}
	if st, rerr := s.routes.current(ctx, time.Second); rerr == nil {
		if b, ok := st.brokers[name]; ok {
			addr = b.addr
		}
	}
	return brokerError(name, f(addr))
}

// brokerError turns a failed request to a broker into an error of that broker that wraps store.ErrUnavailable.
func brokerError(name string, err error) error {
	if err == nil {
		return nil
	}
	return &store.BrokerError{Broker: name, Err: unavailable("request failed", err)}
}

// records decodes the records of a pull, and returns each record's offset in the queue that was pulled. Records that do not count are left
// out, and so are follow-ups if they are not wanted. next is where to continue. It lies before the end of the pull if the inflated bodies
// reach answerBudget.
func (s *Store) records(name, queue string, offset int64, pull pullAnswer, followUps bool) (records []*store.Record,
	offsets []int64, next int64) {
	records = make([]*store.Record, 0, len(pull.Messages))
	offsets = make([]int64, 0, len(pull.Messages))
	dense := pull.Next-offset == int64(len(pull.Messages))
	inflated := 0
	at := offset - 1
	for i := range pull.Messages {
		m := &pull.Messages[i]
		r, d := s.decode(name, m)
		r.Cuts = pull.cuts
		// The record's place in the pull gives its offset in the queue. The record's own entry can lie beyond it, if a producer named the
		// queue twice; it counts only where the pull leaves out records.
		switch own, ok := r.Offset(queue); {
		case queue == "":
			at = m.QueueOffset
		case dense:
			at = offset + int64(i)
		case ok && own > at && own < pull.Next:
			at = own
		default:
			at++
		}
		if d.foreign || d.followUp && !followUps {
			continue
		}
		if m.Compressed() && inflated >= answerBudget {
			return records, offsets, at
		}
		body, ok := s.body(name, m)
		if !ok {
			continue
		}
		if m.Compressed() {
			inflated += len(body)
		}
		d.setPayload(r, body)
		records = append(records, r)
		offsets = append(offsets, at)
	}
	return records, offsets, pull.Next
}

// Bounds implements store.Store.
func (s *Store) Bounds(ctx context.Context, q store.QueueRef) (store.Bounds, error) {
	if err := s.begin(); err != nil {
		return store.Bounds{}, err
	}
	defer s.end()
	var b store.Bounds
	err := s.atQueue(ctx, q.Broker, func(addr string) (err error) {
		if err := s.awaitIndex(ctx, q.Broker, addr); err != nil {
			return err
		}
		if b.Max, err = s.client.MaxOffset(ctx, addr, lmqPrefix+q.Queue, 0); err != nil || b.Max == 0 {
			b.Min = 0
			return err
		}
		b.Min, err = s.client.MinOffset(ctx, addr, lmqPrefix+q.Queue, 0)
		return err
	})
	if err != nil {
		return store.Bounds{}, fmt.Errorf("bounds of queue %q on %q: %w", clip(q.Queue), q.Broker, err)
	}
	b.Min = min(max(b.Min, 0), b.Max)
	return b, nil
}

// BoundsOn implements store.Store. Brokers have no request for several queues, so many requests run concurrently.
func (s *Store) BoundsOn(ctx context.Context, broker string, queues []string) ([]store.Bounds, error) {
	all := make([]store.Bounds, len(queues))
	err := s.each(ctx, len(queues), func(ctx context.Context, i int) (err error) {
		all[i], err = s.Bounds(ctx, store.QueueRef{Queue: queues[i], Broker: broker})
		return err
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}
