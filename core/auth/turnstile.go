package auth

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/lmqgate/lmqgate/core/limits"
)

const (
	// loginsAtFirst is the initial number of concurrent logins; the turnstile adapts it between loginsLeast and loginsMost.
	loginsAtFirst = 16
	loginsLeast   = 4
	loginsMost    = 128
	// slowLogin is the answer time from which on the turnstile reduces the number of concurrent logins: if the plugin checks passwords
	// sequentially, more concurrency only adds waiting.
	slowLogin = 500 * time.Millisecond
	// waitingLogins bounds the waiting logins of a node, waitingOfOne those of one address, and waitingOfNetwork those of a network of IPv6
	// around it.
	waitingLogins    = 4096
	waitingOfOne     = 1024
	waitingOfNetwork = 2048
	// loginPatience bounds how long a login waits for its turn.
	loginPatience = 10 * time.Second
)

// errCrowded is the error of a login that did not get its turn.
var errCrowded = errors.New("too many logins wait for the auth plugin")

// turnstile limits concurrent logins to the number that the plugin answers quickly. Waiting logins take turns by network, within a network
// by address and, within an address, by user name. So a client that tries many passwords waits for itself, and others wait for at most one
// of its attempts, or for as many as the share of its network if it has a whole one.
type turnstile struct {
	mu       sync.Mutex
	limit    int
	inside   int
	waiting  branch        // the logins that wait
	quickest time.Duration // quickest answer so far, with slow decay; 0: none
	narrowed time.Time     // time of the last decrease of limit
	credit   int           // quick answers since the last increase of limit
}

// branch holds the waiting logins of a network, an address, or a user name from one address. Its branches, the next level, take turns. The
// last level has logins instead, in arrival order.
type branch struct {
	waiting  int
	share    int // how many of its branches have a turn before those beside it
	turns    int // how many have had one
	branches map[string]*branch
	order    []string // names of the branches; the next in turn comes first
	logins   []*login
}

// step is a level of the way to a branch.
type step struct {
	name        string
	most, share int
}

// wayOf returns the way from the turnstile to the logins of a user name from an address.
func wayOf(req Request) []step {
	var way []step
	for _, n := range limits.NetworksOf(sourceOf(req.RemoteAddr)) {
		most := waitingOfOne
		if n.Share > 1 {
			most = waitingOfNetwork
		}
		way = append(way, step{n.String(), most, n.Share})
	}
	if way == nil {
		way = []step{{"", waitingOfOne, 1}} // connections without an address
	}
	slices.Reverse(way)
	return append(way, step{req.Username, waitingOfOne, 1})
}

// add adds a login; it returns false if too many wait at a step of its way.
func (b *branch) add(way []step, l *login) bool {
	if len(way) == 0 {
		b.logins = append(b.logins, l)
		b.waiting++
		return true
	}
	next := b.branches[way[0].name]
	if next == nil {
		next = &branch{share: way[0].share}
	}
	if next.waiting >= way[0].most || !next.add(way[1:], l) {
		return false
	}
	if next.waiting == 1 {
		if b.branches == nil {
			b.branches = make(map[string]*branch)
		}
		b.branches[way[0].name] = next
		b.order = append(b.order, way[0].name)
	}
	b.waiting++
	return true
}

// next removes and returns the login whose turn it is. There must be one.
func (b *branch) next() (l *login) {
	b.waiting--
	if b.order == nil {
		l, b.logins = b.logins[0], b.logins[1:]
		return l
	}
	name := b.order[0]
	of := b.branches[name]
	l = of.next()
	of.turns++
	switch {
	case of.waiting == 0:
		delete(b.branches, name)
		b.order = slices.Delete(b.order, 0, 1)
	case of.turns >= min(of.share, len(of.order)): // one for each of its branches at most
		of.turns = 0
		b.order = append(slices.Delete(b.order, 0, 1), name)
	}
	return l
}

type login struct {
	turn chan struct{} // closed when the login may proceed
	gone bool          // the login gave up
}

func newTurnstile() *turnstile { return &turnstile{limit: loginsAtFirst} }

// pass waits for the turn of a login. The caller must call the returned function when the plugin has answered.
func (t *turnstile) pass(ctx context.Context, req Request) (leave func(), err error) {
	t.mu.Lock()
	if t.inside < t.limit && t.waiting.waiting == 0 {
		t.inside++
		t.mu.Unlock()
		return t.leaver(), nil
	}
	l := &login{turn: make(chan struct{})}
	if t.waiting.waiting >= waitingLogins || !t.waiting.add(wayOf(req), l) {
		t.mu.Unlock()
		return nil, errCrowded
	}
	t.mu.Unlock()
	patience := time.NewTimer(loginPatience)
	defer patience.Stop()
	select {
	case <-l.turn:
		return t.leaver(), nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-patience.C:
		err = errCrowded
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case <-l.turn: // its turn came meanwhile
		t.inside--
		t.admit()
	default:
		l.gone = true // it is removed from its queue when its turn comes
	}
	return nil, err
}

// leaver returns the function that ends a login's stay.
func (t *turnstile) leaver() func() {
	began := time.Now()
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.inside--
		t.learn(time.Since(began))
		t.admit()
	}
}

// learn adapts the limit to the duration of an answer. Called with mu held.
func (t *turnstile) learn(took time.Duration) {
	if t.quickest == 0 || took < t.quickest {
		t.quickest = max(took, time.Microsecond)
	} else {
		t.quickest += t.quickest / 1000
	}
	switch now := time.Now(); {
	case took > max(slowLogin, 4*t.quickest):
		if t.credit = 0; now.Sub(t.narrowed) > took/2 { // once for logins that were inside together
			t.limit, t.narrowed = max(loginsLeast, t.limit*3/4), now
		}
	case t.waiting.waiting > 0 && t.limit < loginsMost:
		if t.credit++; t.credit >= t.limit {
			t.limit, t.credit = t.limit+1, 0
		}
	}
}

// admit lets logins through in turn, up to the limit. Called with mu held.
func (t *turnstile) admit() {
	for t.inside < t.limit && t.waiting.waiting > 0 {
		if l := t.waiting.next(); !l.gone {
			t.inside++
			close(l.turn)
		}
	}
}

// state returns how many logins wait, and how many may be inside.
func (t *turnstile) state() (waiting, limit int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.waiting.waiting, t.limit
}

// sourceOf returns the address that logins are grouped by; connections without one share an invalid prefix.
func sourceOf(remote string) netip.Prefix {
	at, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Prefix{}
	}
	return limits.SourceOf(at.Addr())
}
