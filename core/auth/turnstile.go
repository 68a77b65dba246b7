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
	// loginsAtFirst is how many logins are with the plugin at a time at first; the turnstile goes between loginsLeast and
	// loginsMost by itself.
	loginsAtFirst = 16
	loginsLeast   = 4
	loginsMost    = 128
	// slowLogin is the least time of an answer at which fewer logins are asked about at a time: where the plugin checks passwords
	// one after the other, more only wait longer for the same.
	slowLogin = 500 * time.Millisecond
	// waitingLogins bounds the logins that wait on a node, and waitingOfOne those of one address.
	waitingLogins = 4096
	waitingOfOne  = 1024
	// loginPatience bounds how long one waits for its turn.
	loginPatience = 10 * time.Second
)

// errCrowded is why a login is refused that did not get its turn.
var errCrowded = errors.New("too many logins wait for the auth plugin")

// turnstile lets logins through to the plugin, as many at a time as it answers quickly, and those that wait in turn by address, and
// within an address by user name. So who tries many passwords waits for itself, and others wait for one of its attempts at most.
type turnstile struct {
	mu       sync.Mutex
	limit    int
	inside   int
	waiting  int
	queue    fair[netip.Prefix, *addressQueue]
	quickest time.Duration // of the answers so far, slowly forgotten; 0: none
	narrowed time.Time     // when limit went down last
	credit   int           // quick answers since limit went up last
}

// addressQueue are the waiting logins of an address.
type addressQueue struct {
	waiting int
	byUser  fair[string, *userQueue]
}

// userQueue are the waiting logins of a user name from one address, in the order in which they came.
type userQueue struct{ logins []*login }

type login struct {
	turn chan struct{} // closed when it may go through
	gone bool          // it gave up
}

// fair hands out members in turn.
type fair[K comparable, V any] struct {
	members map[K]V
	order   []K // whose turn is next comes first
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

// next is whose turn it is.
func (f *fair[K, V]) next() (k K, v V) {
	k = f.order[0]
	return k, f.members[k]
}

// turned puts whose turn it was at the end, where it has something left.
func (f *fair[K, V]) turned(k K, stays bool) {
	f.order = slices.Delete(f.order, 0, 1)
	if stays {
		f.order = append(f.order, k)
	} else {
		delete(f.members, k)
	}
}

func newTurnstile() *turnstile { return &turnstile{limit: loginsAtFirst} }

// pass waits for the turn of a login. The function that it returns must be called when the plugin has answered.
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
	case <-l.turn: // meanwhile
		t.inside--
		t.admit()
	default:
		l.gone = true // it is taken out of its queue when its turn comes
	}
	return nil, err
}

// leaver makes the function that ends a login's stay.
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

// learn sets the limit by how long an answer took. Called with mu held.
func (t *turnstile) learn(took time.Duration) {
	if t.quickest == 0 || took < t.quickest {
		t.quickest = max(took, time.Microsecond)
	} else {
		t.quickest += t.quickest / 1000
	}
	switch now := time.Now(); {
	case took > max(slowLogin, 4*t.quickest):
		if t.credit = 0; now.Sub(t.narrowed) > took/2 { // once for those that were inside together
			t.limit, t.narrowed = max(loginsLeast, t.limit*3/4), now
		}
	case t.waiting > 0 && t.limit < loginsMost:
		if t.credit++; t.credit >= t.limit {
			t.limit, t.credit = t.limit+1, 0
		}
	}
}

// admit lets through those whose turn it is. Called with mu held.
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

// state is how many logins wait, and how many may be inside.
func (t *turnstile) state() (waiting, limit int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.waiting, t.limit
}

// sourceOf is the address that logins are told apart by: an IPv6 host has a network of its own, so its first 64 bits count. It is
// invalid for connections that have none, which are of one source then.
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
