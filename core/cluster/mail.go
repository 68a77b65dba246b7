package cluster

import (
	"context"
	"errors"
	"time"

	"github.com/lmqgate/lmqgate/core/store"
)

const (
	// letterMessages and letterBytes are the approximate bounds of one letter.
	letterMessages = 512
	letterBytes    = 128 << 10
	// boxMost bounds the messages that wait for one inbox while the store does not answer. Waiting claims are announced again, so dropping
	// messages only delays them.
	boxMost = 1 << 16
	// letterTimeout bounds one attempt to store a letter; retryPause is the first pause between attempts.
	letterTimeout = 10 * time.Second
	retryPause    = 100 * time.Millisecond
)

// box holds the messages to be sent to one inbox. One goroutine at a time sends them, so that they arrive in order.
type box struct {
	to    string
	queue []outgoing
	// waits are the messages in the queue that are repeated until answered; each needs to be in the queue only once.
	waits map[sameness]struct{}
	busy  bool
	// since is when the goroutine began to store the present letter; zero: there is none.
	since time.Time
}

// sameness identifies repetitions of a message.
type sameness struct {
	kind, client, claim, from, silent string
	fresh                             bool
	hops                              int
	call                              int64
}

// repeats reports whether the message is repeated until it is answered, and returns the identity of its repetitions.
func (m *message) repeats() (sameness, bool) {
	switch m.Kind {
	case kindClaim, kindWait, kindYield, kindCall, kindPing, kindPong, kindWoke:
		return sameness{m.Kind, m.Client, m.Claim, m.From, m.Silent, m.Fresh, m.Hops, m.Call}, true
	}
	return sameness{}, false
}

type outgoing struct {
	m message
	// made is when the claim was made that the message announces; zero for other messages.
	made time.Time
	// stored is called, with the mutex held, once the letter is stored; it may be nil.
	stored func()
	// claim is the transient claim that the message announces; nil for other messages.
	claim *Claim
}

// post sends a message to a node. Called with mu held.
func (c *Cluster) post(to string, m message) { c.postWith(to, m, nil) }

func (c *Cluster) postWith(to string, m message, stored func()) {
	c.postOut(to, outgoing{m: m, stored: stored})
}

// postOut puts a message into the box of a node. It returns false if the message is left out. Called with mu held.
func (c *Cluster) postOut(to string, o outgoing) bool {
	if c.stopped {
		c.metrics.left.Inc()
		return false
	}
	b := c.boxes[to]
	if b == nil {
		b = &box{to: to, waits: map[sameness]struct{}{}}
		c.boxes[to] = b
	}
	same, repeats := o.m.repeats()
	if _, waits := b.waits[same]; waits && repeats {
		return true
	}
	if len(b.queue) >= boxMost {
		c.metrics.left.Inc()
		return false
	}
	if repeats {
		b.waits[same] = struct{}{}
	}
	b.queue = append(b.queue, o)
	if !b.busy {
		b.busy = true
		c.wg.Go(func() { c.deliver(b) })
	}
	return true
}

// deliver sends the messages of a box until the box is empty or the node stops.
func (c *Cluster) deliver(b *box) {
	for {
		c.mu.Lock()
		batch := b.take()
		if len(batch) == 0 || c.ctx.Err() != nil {
			b.busy, b.since = false, time.Time{}
			if len(b.queue) == 0 {
				delete(c.boxes, b.to)
			}
			c.mu.Unlock()
			return
		}
		b.since = time.Now()
		c.mu.Unlock()
		c.mail(b.to, batch)
	}
}

// mail stores messages as one letter, or as several if the store refuses a letter of this size. A single message that the store refuses is
// dropped.
func (c *Cluster) mail(to string, batch []outgoing) {
	c.mu.Lock()
	before := c.answersOf(to)
	c.mu.Unlock()
	switch err := c.send(to, batch); {
	case errors.Is(err, store.ErrTooLarge) && len(batch) > 1:
		c.mail(to, batch[:len(batch)/2])
		c.mail(to, batch[len(batch)/2:])
		return
	case errors.Is(err, store.ErrTooLarge):
		c.metrics.left.Inc()
		c.log.Warn("the store takes no letter of this size; leaving it out", "to", to, "kind", batch[0].m.Kind, "error", err)
		return
	case err != nil:
		return // the node is stopping
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range batch {
		if batch[i].stored != nil {
			batch[i].stored()
		}
		if p := c.peers[to]; p != nil && batch[i].m.wantsAnswer() && p.unanswered.IsZero() && p.answers == before {
			p.unanswered = time.Now()
		}
	}
}

// take removes and returns the messages for the next letter.
func (b *box) take() []outgoing {
	batch := b.next()
	for i := range batch {
		if same, repeats := batch[i].m.repeats(); repeats {
			delete(b.waits, same)
		}
	}
	return batch
}

func (b *box) next() []outgoing {
	size := 0
	for i := range b.queue {
		if size += b.queue[i].m.size(); i > 0 && (i == letterMessages || size > letterBytes) {
			batch := b.queue[:i:i]
			b.queue = b.queue[i:]
			return batch
		}
	}
	batch := b.queue
	b.queue = nil
	return batch
}

// send stores a letter, retrying as often as needed. It fails only with ErrTooLarge, or when the node stops.
func (c *Cluster) send(to string, batch []outgoing) error {
	for pause := retryPause; ; pause = min(2*pause, 2*time.Second) {
		l := letter{From: c.o.NodeID, Instance: c.instance, Messages: c.trying(batch)}
		body, err := l.encode()
		if err != nil {
			return err // strings and numbers always encode
		}
		err = c.store(c.ctx, to, body)
		splits := errors.Is(err, store.ErrTooLarge)
		c.tried(batch, err == nil, err != nil && (!splits || len(batch) > 1))
		if err == nil {
			c.failures.ok()
			return nil
		}
		if c.ctx.Err() != nil || splits {
			return err
		}
		if c.failures.first() {
			c.log.Warn("writing to another node's inbox failed; trying again", "to", to, "error", err)
		}
		select {
		case <-c.ctx.Done():
			return c.ctx.Err()
		case <-time.After(pause):
		}
	}
}

func (c *Cluster) store(ctx context.Context, to string, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, letterTimeout)
	defer cancel()
	if err := c.o.Ensure(ctx, Topic, topicQueues); err != nil {
		return err
	}
	queue := InboxQueue(to)
	m := &store.Message{Topic: Topic, Payload: body, Publisher: c.o.NodeID, Created: time.Now()}
	result := make(chan error, 1)
	c.o.Store.Append(ctx, store.Append{Message: m, Topic: Topic, Key: queue, Queues: []string{queue}},
		func(_ store.Position, err error) { result <- err })
	return <-result
}

// read handles records of this node's inbox.
func (c *Cluster) read(_ store.Partition, records []*store.Record) {
	for _, r := range records {
		if r.Topic != Topic {
			continue // anybody can publish to a queue of this name
		}
		l, err := decodeLetter(r.Payload)
		if err != nil {
			c.log.Warn("passing over a record in this node's inbox that is no letter", "position", r.Position, "error", err)
			continue
		}
		c.receive(l)
	}
}

// receive handles a letter.
func (c *Cluster) receive(l *letter) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		return
	}
	c.noteAbsence(time.Now())
	if l.From == c.o.NodeID {
		for i := range l.Messages {
			switch m := &l.Messages[i]; {
			case l.Instance != c.instance:
			case m.Kind == kindSelf:
				c.proven(time.Duration(m.Sent))
			case m.Kind == kindClaim:
				c.claimedHere(m)
			}
		}
		return
	}
	if l.talks() {
		for i := range l.Messages {
			c.handle(l.From, &l.Messages[i])
		}
		return
	}
	c.heard(l.From, l.Instance)
	c.look()
	for i := range l.Messages {
		if l.Messages[i].answers() {
			c.answered(l.From)
		}
		c.handle(l.From, &l.Messages[i])
	}
	c.look()
}

// tell gives a message to a node, which may be this one. Called with mu held.
func (c *Cluster) tell(to string, m message) {
	if to == c.o.NodeID {
		c.handle(to, &m)
		return
	}
	c.post(to, m)
}

// handle acts on one message. Called with mu held.
func (c *Cluster) handle(from string, m *message) {
	switch m.Kind {
	case kindClaim:
		if m.From != "" {
			from = m.From
		}
		c.claimed(from, m)
	case kindGone:
		c.gone(m.Client, m.Claim)
	case kindOwner:
		c.renewed(m)
	case kindGrant:
		c.granted(from, m)
	case kindYield:
		c.yield(from, m)
	case kindCall:
		c.called(from, m)
	case kindHeld:
		c.told(from, m)
	case kindWoke:
		c.woke(from, m)
	case kindWent:
		c.went(from, m)
	case kindPing:
		c.post(from, message{Kind: kindPong})
	case kindAsk, kindTell:
		c.asked(from, m)
	case kindReply:
		c.replied(from, m)
	case kindBye:
		c.left(from)
	}
}
