package publish

import (
	"context"
	"errors"
	"hash/maphash"
	"sync"
	"sync/atomic"

	"github.com/lmqgate/lmqgate/core/store"
)

// ErrEnded says that a message was not stored because its connection is over: the connection was closed, or an earlier message was not
// stored and the client cannot be told so.
var ErrEnded = errors.New("the connection is over")

// Lanes publish for one connection of a client, in order for each topic.
//
// A lane holds the messages of one client to one topic, in order of arrival, whichever connection they came from. One call to the store is
// under way at a time. Messages that arrive meanwhile wait and go to the store together. So messages from a client's new connection are
// stored after those from its old one.
type Lanes struct {
	p        *Publisher
	client   string
	identity atomic.Pointer[string] // the mark of the client's identity; see By
	holder   Holder
	corker   Corker // nil: the holder is none
	broken   atomic.Bool

	mu      sync.Mutex
	stopped bool
	pending int           // messages whose outcome is not known yet
	settled chan struct{} // closed once there is none; nil: nobody waits for that
}

// Holder reports whether nothing from a connection may be stored for now, because another node may have its client. Waiting messages are
// then stored later, or withheld if the lanes are broken.
type Holder interface {
	store.Holder
	// Lost reports whether another node has taken the client, so that nothing from the connection may be stored any more.
	Lost() bool
}

// Corker is a Holder whose connection can gather the answers of several messages. Between Cork and Uncork it may put off writing them.
type Corker interface {
	Cork()
	Uncork()
}

// Lanes makes the lanes of a client's connection. A nil holder never holds messages back.
func (p *Publisher) Lanes(client string, h Holder) *Lanes {
	corker, _ := h.(Corker)
	return &Lanes{p: p, client: client, holder: h, corker: corker}
}

// By says to which identity the client belongs from now on; see meta.Owner.Mark. The first-level topics that it makes are counted under it,
// and its messages have the identity's share of the store; see store.Append.
func (l *Lanes) By(identity string) { l.identity.Store(&identity) }

// mark returns what By was told last, or otherwise if there are no lanes or By was not called.
func (l *Lanes) mark(otherwise string) string {
	if l == nil {
		return otherwise
	}
	if identity := l.identity.Load(); identity != nil {
		return *identity
	}
	return otherwise
}

// Publish stores a message and then calls done exactly once, from any goroutine. done must not block. Publish itself may block while the
// store accepts no more messages (back-pressure). If Refused reports true for the error, a retry cannot help. ErrEnded means that the
// message was not stored, unless the store had not answered an earlier attempt. Any other error means that the store did not answer in
// time: the message may or may not be stored.
//
// The next message of the lane is handled after done has returned. A done that cannot tell the client about an error must call Break;
// otherwise later messages overtake this one when the client sends it again.
func (l *Lanes) Publish(m *store.Message, done func(error)) {
	j := &job{p: l.p, from: l, client: l.client, key: l.client + "\x00" + m.Topic, m: m, done: done}
	l.mu.Lock()
	if l.stopped {
		l.mu.Unlock()
		l.p.metrics.withheld.Inc()
		done(ErrEnded)
		return
	}
	l.pending++
	first := l.p.lanes.join(j)
	l.mu.Unlock()
	if first {
		j.run()
	}
}

// Stop makes the lanes accept no more messages; accepted ones are still stored. After Stop has returned, no message of this connection can
// be stored behind one from a newer connection.
func (l *Lanes) Stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopped = true
}

// Break stops the lanes and withholds the messages that still wait, also those that were to be tried again.
func (l *Lanes) Break() {
	l.broken.Store(true)
	l.Stop()
}

// forsaken reports whether the connection is over and nothing of it may be stored any more.
func (l *Lanes) forsaken() bool {
	if l == nil || l.holder == nil || !l.holder.Lost() {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stopped
}

// Settle waits until the outcome of every message of this connection is known, or until ctx ends. After Stop or Break, nothing of the
// connection is stored once Settle has returned nil.
func (l *Lanes) Settle(ctx context.Context) error {
	l.mu.Lock()
	if l.pending == 0 {
		l.mu.Unlock()
		return nil
	}
	if l.settled == nil {
		l.settled = make(chan struct{})
	}
	settled := l.settled
	l.mu.Unlock()
	select {
	case <-settled:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// over counts messages whose outcome is known now.
func (l *Lanes) over(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.pending -= n; l.pending == 0 && l.settled != nil {
		close(l.settled)
		l.settled = nil
	}
}

// lanes holds the non-empty lanes of all clients.
type lanes struct {
	seed   maphash.Seed
	shards [64]shard
}

type shard struct {
	mu   sync.Mutex
	last map[string]*job // by key: the last message of each lane
}

func newLanes() *lanes {
	ls := &lanes{seed: maphash.MakeSeed()}
	for i := range ls.shards {
		ls.shards[i].last = make(map[string]*job)
	}
	return ls
}

func (ls *lanes) of(key string) *shard {
	return &ls.shards[maphash.String(ls.seed, key)%uint64(len(ls.shards))]
}

// join appends a message to its lane, and reports whether it is the message's turn already.
func (ls *lanes) join(j *job) bool {
	s := ls.of(j.key)
	s.mu.Lock()
	defer s.mu.Unlock()
	last := s.last[j.key]
	s.last[j.key] = j
	if last == nil {
		return true
	}
	last.next = j
	return false
}

// behind returns the messages that wait behind the first one of a lane and may share its turn.
func (ls *lanes) behind(first *job) (out []*job) {
	s := ls.of(first.key)
	s.mu.Lock()
	defer s.mu.Unlock()
	bytes := len(first.m.Payload)
	for last := first; len(out) < turnMessages-1 && !last.removes(); {
		before := last
		last = last.next
		if last == nil || !last.joins(first) || last.m.Retain && len(last.m.Payload) > len(before.m.Payload) {
			break // only the last value of a turn is retained: a larger one may be refused although an earlier one is not
		}
		if bytes += len(last.m.Payload); bytes > turnBytes {
			break
		}
		out = append(out, last)
	}
	return out
}

// leave removes a message, and all messages in front of it, from its lane. It returns the next one, or nil.
func (ls *lanes) leave(j *job) *job {
	s := ls.of(j.key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last[j.key] == j {
		delete(s.last, j.key)
	}
	return j.next
}

// One publishes a message for the gateway itself (a will, for example), behind the messages that the client sent to its topic before. It
// waits until the message is stored or ctx ends. After an error for which Refused reports false, the message may or may not be stored.
func (p *Publisher) One(ctx context.Context, client string, m *store.Message) error {
	if span := p.begin(client, m); span != nil {
		traced := *m
		m = &traced
		Carry(m, span)
		defer span.End()
	}
	result := make(chan error, 1)
	j := &job{p: p, client: client, key: client + "\x00" + m.Topic, m: m, done: func(err error) { result <- err }, ctx: ctx}
	if p.lanes.join(j) {
		j.run()
	}
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
