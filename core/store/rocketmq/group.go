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

// A shared group is a RocketMQ consumer group that pops its light message queue (RIP-19). The broker tracks which records were handed out,
// for how long, and which were acknowledged. Records not acknowledged in time go to a retry topic of the group and are handed out again
// from there.

const (
	// groupPrefix begins the names of shared groups' consumer groups; no client's group begins with it. lmqPrefix makes brokers accept a
	// group that nobody created, and store its progress with that of light message queues.
	groupPrefix = lmqPrefix + shareName
	shareName   = "$share%"
	// maxName is the longest name of a file or directory, in bytes: a broker creates a directory with the name of a retry topic.
	maxName = 255
	// popBusy is the pause after another node's Pop had the queue, or finished a moment ago.
	popBusy = 5 * time.Millisecond
	// popAgainFirst and popAgainLast are the shortest and longest intervals at which an idle group is popped for records that came back: no
	// hint announces those.
	popAgainFirst = 500 * time.Millisecond
	popAgainLast  = 2 * time.Second
)

// popGroup returns the consumer group of a shared group. It contains the group's name if that is made of plain characters, else a hash.
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

// popNames returns the RocketMQ names of a group: its consumer group and its topic.
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
		// Once the broker was asked, wait for its answer: records that it hands out must reach the caller; otherwise they would stay hidden
		// for nothing.
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

// popped is the result of one pop.
type popped struct {
	out []store.Handout
	// passed counts the records that the broker handed out but that are not in out.
	passed int
	// rest is above 0, without records, if another node's pop had the queue.
	rest int64
}

// pop asks the broker once. It acknowledges records that do not count or cannot be read, so that they do not come again for ever.
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

// repair resets a group to the minimum of a queue that has begun again; the broker itself would continue at the queue's end.
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
			return nil // its visibility timeout has passed: the broker may have handed it out to another consumer
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

// GroupLeft implements store.Store: it counts the records behind the group's progress in its queue and in its retry topics. A broker
// records the progress of a pop a few seconds late.
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
				continue // no record of the group has come back yet
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

// behind returns how many records of a topic's first queue lie behind a group's progress.
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

// EndGroup implements store.Store. It removes the retry topics. A small entry of the progress remains, as with clients.
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
		// Brokers of 5.1.4 cannot delete a topic with wildcards or "$" in its name. The topic stays and loses its records to retention.
		if err != nil && !remoting.IsCode(err, remoting.TopicNotExist, remoting.SystemError) {
			return groupError("end", g, err)
		}
		for _, addr := range s.opts.Namesrv {
			_ = s.client.DeleteTopicInNamesrv(ctx, addr, retry) // else it disappears with the broker's next registration
		}
	}
	return nil
}
