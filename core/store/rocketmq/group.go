package rocketmq

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/remoting"
)

// A shared group is a consumer group of RocketMQ that pops its light message queue (RIP-19): the broker keeps what was handed out,
// for how long, and what was acknowledged. What is not acknowledged in time goes to a retry topic of the group, from where it is
// handed out again.

const (
	// groupPrefix begins the consumer groups of shared groups: no client's group begins so. lmqPrefix makes brokers take a group
	// that nobody created, and keep its progress with that of light message queues.
	groupPrefix = lmqPrefix + shareName
	shareName   = "$share%"
	// maxName is the longest name of a file or directory: a broker makes a directory of a retry topic's name.
	maxName = 255
	// popBusy is the pause after another node's Pop had the queue, or left a moment ago.
	popBusy = 5 * time.Millisecond
	// popAgain is how often an idle group is asked for what came back, which no hint tells of; at first, and at the most.
	popAgainFirst = 500 * time.Millisecond
	popAgainLast  = 2 * time.Second
)

// popGroup names the consumer group of a shared group: legible where the name allows it.
func popGroup(name string) string {
	plain := name != "" && len(name) <= 64
	for i := 0; i < len(name) && plain; i++ {
		c := name[i]
		plain = c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.'
	}
	if plain {
		return groupPrefix + name
	}
	sum := sha256.Sum256([]byte(name))
	return groupPrefix + "~" + hex.EncodeToString(sum[:12])
}

// popNames returns the RocketMQ names of a group: consumer group and topic.
func popNames(g store.Group) (group, topic string, err error) {
	group, topic = popGroup(g.Name), lmqPrefix+g.Queue
	if n := len(remoting.PopRetryTopic(topic, group, "1")); n > maxName {
		return "", "", fmt.Errorf("%w: group %q of queue %q: its retry topic's name has %d bytes, %d are possible; use a shorter group name or filter",
			store.ErrTooLarge, clip(g.Name), clip(g.Queue), n, maxName)
	}
	return group, topic, nil
}

func groupError(what string, g store.Group, err error) error {
	return fmt.Errorf("%s group %q of queue %q on %q: %w", what, clip(g.Name), clip(g.Queue), g.Broker, err)
}

// PlaceGroup implements store.Store.
func (s *Store) PlaceGroup(ctx context.Context, g store.Group, offset int64) error {
	group, topic, err := popNames(g)
	if err != nil {
		return err
	}
	if err := s.begin(); err != nil {
		return err
	}
	defer s.end()
	err = s.atQueue(ctx, g.Broker, func(addr string) error {
		return s.client.UpdateConsumerOffset(ctx, addr, group, topic, 0, offset)
	})
	if err != nil {
		return groupError("place", g, err)
	}
	return nil
}

// Pop implements store.Store.
func (s *Store) Pop(ctx context.Context, g store.Group, max int, hidden, wait time.Duration) ([]store.Handout, error) {
	group, topic, err := popNames(g)
	if err != nil {
		return nil, err
	}
	if err := s.begin(); err != nil {
		return nil, err
	}
	defer s.end()
	until := time.Now().Add(wait)
	hint := s.hints.of(s, g.QueueRef)
	defer hint.leave()
	again, resets := popAgainFirst, 0
	if _, resets = hint.seen(); hint.due(group) {
		resets = -1
	}
	for {
		n, now := hint.seen()
		if now != resets {
			if err := s.repair(ctx, g, group, topic); err != nil {
				return nil, groupError("pop of", g, err)
			}
			resets = now
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		// Once asked, the answer is waited for: what the broker hands out must reach the caller, or stays hidden in vain.
		p, err := s.pop(context.WithoutCancel(ctx), g, group, topic, hint.room(max), hidden)
		if err != nil {
			return nil, groupError("pop of", g, err)
		}
		hint.sized(p.out)
		left := time.Until(until)
		switch {
		case len(p.out) > 0 || left <= 0:
			return p.out, nil
		case p.passed > 0:
			continue
		case p.rest > 0:
			err = hint.wait(ctx, noHint, min(left, popBusy))
		default:
			err = hint.wait(ctx, n, min(left, again))
			again = min(2*again, popAgainLast)
		}
		if err != nil {
			return nil, err
		}
	}
}

// popped is what one pop brought.
type popped struct {
	out []store.Handout
	// passed is how many records the broker handed out that are not in out.
	passed int
	// rest over 0, without records: another node's pop had the queue.
	rest int64
}

// pop asks the broker once. Records that do not count or cannot be read are acknowledged, so that they do not come for ever.
func (s *Store) pop(ctx context.Context, g store.Group, group, topic string, limit int, hidden time.Duration) (popped, error) {
	var res *remoting.PopResult
	err := s.atQueue(ctx, g.Broker, func(addr string) (err error) {
		res, err = s.client.PopMessage(ctx, addr, g.Broker, remoting.PopRequest{Group: group, Topic: topic, Max: limit, Hidden: hidden},
			func(m *remoting.Message) (int64, bool) { return entryOf(m, g.Queue) })
		return err
	})
	if err != nil {
		return popped{}, err
	}
	origins := s.origins(ctx, g, res.Messages)
	p := popped{out: make([]store.Handout, 0, len(res.Messages)), rest: res.Rest}
	var done, back []string
	inflated := 0
	for i := range res.Messages {
		m := &res.Messages[i]
		receipt := m.Receipt.String()
		r, d, ok := s.decodePopped(g, m, origins)
		if d.foreign {
			done = append(done, receipt)
			continue
		}
		if !ok || m.Compressed() && inflated >= answerBudget {
			back = append(back, receipt)
			continue
		}
		body, ok := s.body(g.Broker, &m.Message)
		if !ok {
			done = append(done, receipt)
			continue
		}
		if m.Compressed() {
			inflated += len(body)
		}
		d.setPayload(r, body)
		p.out = append(p.out, store.Handout{Record: r, Receipt: receipt, Again: m.Receipt.Again()})
	}
	p.passed = len(done) + len(back)
	s.metrics.read.WithLabelValues("pop").Add(float64(len(p.out)))
	if len(done) > 0 {
		if err := s.PopAck(ctx, g, done); err != nil {
			s.log.Debug("acknowledging records that are passed over failed; they come again", "error", err)
		}
	}
	if len(back) > 0 {
		if _, err := s.PopHide(ctx, g, back, 0); err != nil {
			s.log.Debug("giving records back failed; they come again later", "error", err)
		}
	}
	return p, nil
}

// repair sets a group back to the minimum of a queue that has begun anew: the broker itself would go on at its end.
func (s *Store) repair(ctx context.Context, g store.Group, group, topic string) error {
	return s.atQueue(ctx, g.Broker, func(addr string) error {
		at, found, err := s.client.QueryConsumerOffset(ctx, addr, group, topic, 0)
		if err != nil || !found {
			return err
		}
		end, err := s.client.MaxOffset(ctx, addr, topic, 0)
		if err != nil || at <= end {
			return err
		}
		first, err := s.client.MinOffset(ctx, addr, topic, 0)
		if err != nil {
			return err
		}
		s.metrics.resets.Inc()
		s.log.Warn("a queue has begun anew, its group goes on with the new records", "queue", clip(g.Queue), "broker", g.Broker,
			"group", clip(g.Name), "offset", at, "end", end)
		return s.client.UpdateConsumerOffset(ctx, addr, group, topic, 0, max(first, 0))
	})
}

// PopAck implements store.Store.
func (s *Store) PopAck(ctx context.Context, g store.Group, receipts []string) error {
	group, topic, err := popNames(g)
	if err != nil {
		return err
	}
	parsed, err := parseReceipts(receipts)
	if err != nil || len(parsed) == 0 {
		return err
	}
	if err := s.begin(); err != nil {
		return err
	}
	defer s.end()
	err = s.atQueue(ctx, g.Broker, func(addr string) error {
		return s.client.AckPopped(ctx, addr, g.Broker, group, topic, parsed)
	})
	if err != nil {
		return groupError("acknowledge to", g, err)
	}
	return nil
}

// PopHide implements store.Store.
func (s *Store) PopHide(ctx context.Context, g store.Group, receipts []string, hidden time.Duration) ([]string, error) {
	group, topic, err := popNames(g)
	if err != nil {
		return nil, err
	}
	parsed, err := parseReceipts(receipts)
	if err != nil {
		return nil, err
	}
	if err := s.begin(); err != nil {
		return nil, err
	}
	defer s.end()
	out := make([]string, len(parsed))
	now := time.Now().UnixMilli()
	err = s.each(ctx, len(parsed), func(ctx context.Context, i int) error {
		r := parsed[i]
		if r.PopTime+r.Hidden < now {
			return nil // the broker may have handed it out to another
		}
		err := s.atBroker(ctx, g.Broker, func(addr string) error {
			next, err := s.client.HidePopped(ctx, addr, group, topic, r, hidden)
			out[i] = next.String()
			return err
		})
		if remoting.IsCode(err, remoting.NoMessage) || r.Again() && remoting.IsCode(err, remoting.TopicNotExist) {
			out[i], err = "", nil // retention removed it, or the whole retry topic is gone
		}
		return err
	})
	if err != nil {
		return nil, groupError("hide of", g, err)
	}
	return out, nil
}

func parseReceipts(texts []string) ([]remoting.Receipt, error) {
	out := make([]remoting.Receipt, len(texts))
	for i, text := range texts {
		r, err := remoting.ParseReceipt(text)
		if err != nil {
			return nil, err
		}
		out[i] = r
	}
	return out, nil
}

// GroupLeft implements store.Store: what lies behind the group's progress in its queue and in its retry topics. A broker notes the
// progress of a pop some seconds late.
func (s *Store) GroupLeft(ctx context.Context, g store.Group) (int64, error) {
	group, topic, err := popNames(g)
	if err != nil {
		return 0, err
	}
	if err := s.begin(); err != nil {
		return 0, err
	}
	defer s.end()
	var left int64
	err = s.atQueue(ctx, g.Broker, func(addr string) error {
		left = 0
		for _, name := range []string{topic, remoting.PopRetryTopic(topic, group, "1"), remoting.PopRetryTopic(topic, group, "2")} {
			n, err := s.behind(ctx, addr, group, name)
			if name != topic && remoting.IsCode(err, remoting.TopicNotExist, remoting.SystemError) {
				continue // nothing of the group has come back yet
			}
			if err != nil {
				return err
			}
			left += n
		}
		return nil
	})
	if err != nil {
		return 0, groupError("progress of", g, err)
	}
	return left, nil
}

// behind is how many records of a topic's first queue lie behind a group's progress.
func (s *Store) behind(ctx context.Context, addr, group, topic string) (int64, error) {
	end, err := s.client.MaxOffset(ctx, addr, topic, 0)
	if err != nil || end <= 0 {
		return 0, err
	}
	first, err := s.client.MinOffset(ctx, addr, topic, 0)
	if err != nil {
		return 0, err
	}
	next, found, err := s.client.QueryConsumerOffset(ctx, addr, group, topic, 0)
	if err != nil || !found {
		next = 0
	}
	return max(0, end-max(first, next)), err
}

// EndGroup implements store.Store. It removes the retry topic; of the progress a small entry stays, as with clients.
func (s *Store) EndGroup(ctx context.Context, g store.Group) error {
	group, topic, err := popNames(g)
	if err != nil {
		return err
	}
	if err := s.begin(); err != nil {
		return err
	}
	defer s.end()
	for _, form := range []string{"1", "2"} {
		retry := remoting.PopRetryTopic(topic, group, form)
		err := s.atBroker(ctx, g.Broker, func(addr string) error { return s.client.DeleteTopicInBroker(ctx, addr, retry) })
		// Brokers of 5.1.4 delete no topic with wildcards or "$" in its name; it stays, and loses its records to retention.
		if err != nil && !remoting.IsCode(err, remoting.TopicNotExist, remoting.SystemError) {
			return groupError("end", g, err)
		}
		for _, addr := range s.opts.Namesrv {
			_ = s.client.DeleteTopicInNamesrv(ctx, addr, retry) // it drops out with the broker's next registration
		}
	}
	return nil
}
