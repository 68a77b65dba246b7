package auth

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	// loginsAtFirst is the initial number of concurrent logins; the turnstile adapts it between loginsLeast and loginsMost.
	loginsAtFirst = 16
	loginsLeast   = 4
	loginsMost    = 128
	// slowLogin is the answer time from which on the turnstile reduces the number of concurrent logins: if the plugin checks passwords
	// sequentially, more concurrency only adds waiting.
	slowLogin = 500 * time.Millisecond
	// waitingLogins bounds the waiting logins of a node, and waitingOfOne those of one address.
	waitingLogins = 4096
	waitingOfOne  = 1024
	// loginPatience bounds how long a login waits for its turn.
	loginPatience = 10 * time.Second
)

// errCrowded is the error of a login that did not get its turn.
var errCrowded = errors.New("too many logins wait for the auth plugin")

// turnstile limits concurrent logins to the number that the plugin answers quickly. Waiting logins take turns by address and, within an
// address, by user name. So a client that tries many passwords waits for itself, and others wait for at most one of its attempts.
type turnstile struct {
	mu       sync.Mutex
	limit    int
	inside   int
	waiting  int
	queue    fair[netip.Prefix, *addressQueue]
	quickest time.Duration // quickest answer so far, with slow decay; 0: none
	narrowed time.Time     // time of the last decrease of limit
	credit   int           // quick answers since the last increase of limit
}

// addressQueue holds the waiting logins of an address.
type addressQueue struct {
	waiting int
	byUser  fair[string, *userQueue]
}

// userQueue holds the waiting logins of a user name from one address, in arrival order.
type userQueue struct{ logins []*login }

type login struct {
	turn chan struct{} // closed when the login may proceed
	gone bool          // the login gave up
}

// fair is a round-robin queue of members.
type fair[K comparable, V any] struct {
	members map[K]V
	order   []K // the next in turn comes first
}

func (f *fair[K, V]) get(k K, add func() V) V {
	v, ok := f.members[k]
	if !ok {
		if f.members == nil {
			f.members = make(map[K]V)
		}
		v = add()
		f.members[k] = v
		f.order = append(f.order, k)
	}
	return v
}

// next returns the member whose turn it is.
func (f *fair[K, V]) next() (k K, v V) {
	k = f.order[0]
	return k, f.members[k]
}

// turned moves the member whose turn it was to the end, or removes it unless stays is set.
func (f *fair[K, V]) turned(k K, stays bool) {
	f.order = slices.Delete(f.order, 0, 1)
	if stays {
		f.order = append(f.order, k)
	} else {
		delete(f.members, k)
	}
}

func newTurnstile() *turnstile { return &turnstile{limit: loginsAtFirst} }

// pass waits for the turn of a login. The caller must call the returned function when the plugin has answered.
func (t *turnstile) pass(ctx context.Context, req Request) (leave func(), err error) {
	t.mu.Lock()
	if t.inside < t.limit && t.waiting == 0 {
		t.inside++
		t.mu.Unlock()
		return t.leaver(), nil
	}
	of := t.queue.get(sourceOf(req.RemoteAddr), func() *addressQueue { return &addressQueue{} })
	if t.waiting >= waitingLogins || of.waiting >= waitingOfOne {
		t.mu.Unlock()
		return nil, errCrowded
	}
	l := &login{turn: make(chan struct{})}
	u := of.byUser.get(req.Username, func() *userQueue { return &userQueue{} })
	u.logins = append(u.logins, l)
	of.waiting++
	t.waiting++
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
	case t.waiting > 0 && t.limit < loginsMost:
		if t.credit++; t.credit >= t.limit {
			t.limit, t.credit = t.limit+1, 0
		}
	}
}

// admit lets logins through in turn, up to the limit. Called with mu held.
func (t *turnstile) admit() {
	for t.inside < t.limit && t.waiting > 0 {
		source, of := t.queue.next()
		user, u := of.byUser.next()
		l := u.logins[0]
		u.logins = u.logins[1:]
		of.byUser.turned(user, len(u.logins) > 0)
		of.waiting--
		t.queue.turned(source, of.waiting > 0)
		t.waiting--
		if !l.gone {
			t.inside++
			close(l.turn)
		}
	}
}

// state returns how many logins wait, and how many may be inside.
func (t *turnstile) state() (waiting, limit int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.waiting, t.limit
}

// sourceOf returns the source address that logins are grouped by. An IPv6 host usually has a network of its own, so only the first 64 bits
// count. Connections without an address share one invalid prefix.
func sourceOf(remote string) netip.Prefix {
	at, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Prefix{}
	}
	addr := at.Addr().Unmap().WithZone("")
	bits := 32
	if addr.Is6() {
		bits = 64
	}
	p, _ := addr.Prefix(bits)
	return p
}
