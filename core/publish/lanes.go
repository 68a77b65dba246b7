package publish

import (
	"context"
	"errors"
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lmqgate/lmqgate/core/store"
)

// ErrEnded says that a message was not stored because its connection is over: it was closed, or an earlier message of it was not
// stored and the client cannot be told so.
var ErrEnded = errors.New("the connection is over")

// Lanes publish for one connection of a client, in order for each topic.
//
// A lane is the messages of one client to one topic, in the order in which they came, whatever connection they came by. One call of
// the store is under way; what comes meanwhile waits, and goes to the store together. So what a client sends by a new connection is
// stored after what its old one has sent.
type Lanes struct {
	p      *Publisher
	client string
	holder Holder
	broken atomic.Bool

	mu      sync.Mutex
	stopped bool
}

// Holder tells whether nothing of a connection may be stored for now, because another node may have its client. What waits in the lanes is
// stored later then, or withheld where they are broken.
type Holder interface{ Held() bool }

// Lanes makes the lanes of a client's connection. A nil holder holds nothing.
func (p *Publisher) Lanes(client string, h Holder) *Lanes {
	return &Lanes{p: p, client: client, holder: h}
}

// Publish stores a message and then calls done exactly once, from any goroutine. done must not block. Publish itself may block
// while the store takes no more (back-pressure). An error that Refused reports can never be mended; ErrEnded means that the
// message was not stored; any other error means that the store did not answer in time, and that the message may or may not be
// stored.
//
// The next message of the lane is looked at once done has returned. A done that cannot tell the client of an error must call Break,
// or later messages overtake this one when the client sends it again.
func (l *Lanes) Publish(m *store.Message, done func(error)) {
	j := &job{p: l.p, from: l, client: l.client, key: l.client + "\x00" + m.Topic, m: m, done: done}
	l.mu.Lock()
	if l.stopped {
		l.mu.Unlock()
		l.p.metrics.withheld.Inc()
		done(ErrEnded)
		return
	}
	first := l.p.lanes.join(j)
	l.mu.Unlock()
	if first {
		j.run()
	}
}

// Stop makes the lanes take no more messages; what they have taken is stored. No message of the connection is behind one that a
// newer connection sends after Stop has returned.
func (l *Lanes) Stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopped = true
}

// Break stops the lanes, and withholds what still waits in them.
func (l *Lanes) Break() {
	l.broken.Store(true)
	l.Stop()
}

// lanes holds the lanes with work of all clients.
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

// join puts a message at the end of its lane and reports whether it is its turn at once.
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

// behind returns what waits behind the first message of a lane and shares its turn.
func (ls *lanes) behind(first *job) (out []*job) {
	s := ls.of(first.key)
	s.mu.Lock()
	defer s.mu.Unlock()
	bytes := len(first.m.Payload)
	for last := first; len(out) < turnMessages-1 && !last.removes(); {
		before := last
		last = last.next
		if last == nil || !last.joins(first) || last.m.Retain && len(last.m.Payload) > len(before.m.Payload) {
			break // of a turn the last value is kept: a larger one may be refused where those before it are not
		}
		if bytes += len(last.m.Payload); bytes > turnBytes {
			break
		}
		out = append(out, last)
	}
	return out
}

// leave takes a message whose turn is over, and all in front of it, out of its lane and returns the one whose turn it is then, or nil.
func (ls *lanes) leave(j *job) *job {
	s := ls.of(j.key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last[j.key] == j {
		delete(s.last, j.key)
	}
	return j.next
}

// settleLook is how often Settle looks.
const settleLook = 2 * time.Millisecond

// Settle waits until nothing that a client has published is under way or waits, or until ctx ends. The client's lanes are stopped
// before. It looks through the lanes of all clients, so it is for what happens now and then.
func (p *Publisher) Settle(ctx context.Context, client string) {
	for p.lanes.holds(client) {
		select {
		case <-ctx.Done():
			return
		case <-time.After(settleLook):
		}
	}
}

// holds reports whether there is a lane of a client.
func (ls *lanes) holds(client string) bool {
	for i := range ls.shards {
		if ls.shards[i].holds(client + "\x00") {
			return true
		}
	}
	return false
}

func (s *shard) holds(prefix string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key := range s.last {
		if strings.HasPrefix(key, prefix) {
			return true
		}
	}
	return false
}

// One publishes a message for the gateway itself (a will, for instance), behind what the client sent to its topic before, and
// waits until it is stored or ctx ends. After an error that Refused does not report it may or may not be stored.
func (p *Publisher) One(ctx context.Context, client string, m *store.Message) error {
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
