package limits

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"
)

// Ban excludes someone for a while.
type Ban struct {
	// Kind is "address", "user", "client", "flapping" or "login". Name identifies the banned one of that kind.
	Kind   string    `json:"kind"`
	Name   string    `json:"name"`
	Reason string    `json:"reason"`
	Until  time.Time `json:"until"`
}

// The kinds of bans.
const (
	ByAddress = "address"
	ByUser    = "user"
	ByClient  = "client"
	// ByFlapping bans a client id of one user that keeps reconnecting; see FlappingName.
	ByFlapping = "flapping"
	// ByLogin bans a user name with a client id at an address, where it failed to log in too often; see Login.
	ByLogin = "login"
)

const (
	// failuresFree failures cost nothing. After them, each failure doubles the delay of the next attempt, from firstDelay to longestDelay.
	// When the number of failures that the caller allows is reached within failuresWithin, a ban of banFirst follows; the ban doubles each
	// time up to banLongest.
	failuresFree   = 5
	failuresWithin = 5 * time.Minute
	firstDelay     = 250 * time.Millisecond
	longestDelay   = 8 * time.Second
	banFirst       = time.Minute
	banLongest     = time.Hour
	// most bounds the records. At the bound, those seen least recently are forgotten. Bans by operators are kept; there are at most
	// mostByHand of them.
	most       = 16384
	mostByHand = 4096
)

// key identifies a record. Names are those that BanName returns.
type key struct{ kind, name string }

func keyOf(kind, name string) key { return key{kind, strings.Clone(BanName(name))} }

// record is what is remembered about someone.
type record struct {
	failures int
	bans     int
	first    time.Time // first failure of the present series
	last     time.Time
	free     time.Time // when the next attempt is allowed
	until    time.Time // end of the ban
	reason   string
	byHand   bool
	// of counts the failures of each Login, of an address or a network.
	of map[uint64]uint8
}

// Bans delays those who fail, and bans those who fail too often. An address is delayed and banned, and so is a Login. A user name is only
// delayed, so that nobody can lock out somebody else. A client id is banned by an operator, or for one user if it flaps.
type Bans struct {
	now func() time.Time

	mu    sync.Mutex
	of    map[key]*record
	total uint64
	// byHand is an upper bound of the bans by operators; expired ones may be included.
	byHand int
}

// NewBans makes an empty table.
func NewBans() *Bans { return &Bans{now: time.Now, of: make(map[key]*record)} }

// Banned returns the present ban of someone, if there is one.
func (b *Bans) Banned(kind, name string) (Ban, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	k := keyOf(kind, name)
	r := b.of[k]
	if r == nil || !b.now().Before(r.until) {
		return Ban{}, false
	}
	return Ban{k.kind, k.name, r.reason, r.until}, true
}

// BannedByHand reports whether an operator has banned someone, and the ban has not ended.
func (b *Bans) BannedByHand(kind, name string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.of[keyOf(kind, name)]
	return r != nil && r.byHand && b.now().Before(r.until)
}

// Delay returns how long someone has to wait before the next attempt.
func (b *Bans) Delay(kind, name string) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r := b.of[keyOf(kind, name)]; r != nil {
		return max(0, r.free.Sub(b.now()))
	}
	return 0
}

// Failed records a failure. If that reaches the allowed number, it returns the resulting ban.
func (b *Bans) Failed(kind, name string, allowed int, reason string) (Ban, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.fail(keyOf(kind, name), 1, allowed, reason, always)
}

// always is for failures that count whatever was before.
func always(*record) bool { return true }

// fail records a failure, unless counts tells that it does not count, of who may have share times as many as others. Called with mu held.
func (b *Bans) fail(k key, share, allowed int, reason string, counts func(*record) bool) (Ban, bool) {
	now := b.now()
	r := b.of[k]
	if r == nil {
		b.makeRoom(now)
		r = &record{first: now}
		b.of[k] = r
	}
	if now.Sub(r.first) > failuresWithin {
		r.first, r.failures, r.of = now, 0, nil
	}
	r.last = now
	if !counts(r) {
		return Ban{}, false
	}
	r.failures++
	if over := r.failures - share*failuresFree; over > 0 && k.kind != ByFlapping {
		r.free = now.Add(min(firstDelay<<min((over-1)/share, 16), longestDelay))
	}
	if k.kind == ByUser || k.kind == ByClient || r.failures < share*allowed || now.Before(r.until) {
		return Ban{}, false
	}
	r.failures, r.first, r.of = 0, now, nil
	r.until, r.reason = now.Add(min(banFirst<<min(r.bans, 16), banLongest)), reason
	r.bans++
	b.total++
	return Ban{k.kind, k.name, r.reason, r.until}, true
}

// Add adds a ban by an operator; it returns false if there are too many. A ban that is there already is left as it is.
func (b *Bans) Add(ban Ban) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	k := keyOf(ban.Kind, ban.Name)
	r := b.of[k]
	if (r == nil || !r.byHand) && b.byHand >= mostByHand && b.countByHand() >= mostByHand {
		return false
	}
	if r == nil {
		b.makeRoom(b.now())
		r = &record{first: b.now()}
		b.of[k] = r
	}
	if !r.byHand {
		b.byHand++
	}
	if !r.byHand || !r.until.Equal(ban.Until) {
		b.total++
	}
	r.until, r.reason, r.byHand, r.last = ban.Until, ban.Reason, true, b.now()
	return true
}

// Lift ends a ban by an operator, if there is one. A ban by this node stays.
func (b *Bans) Lift(kind, name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	k := keyOf(kind, name)
	if r := b.of[k]; r != nil && r.byHand {
		delete(b.of, k)
	}
}

// countByHand counts the present bans by operators. Called with mu held.
func (b *Bans) countByHand() int {
	b.byHand = 0
	for _, r := range b.of {
		if r.byHand = r.byHand && b.now().Before(r.until); r.byHand {
			b.byHand++
		}
	}
	return b.byHand
}

// Remove ends a ban and forgives all failures; it returns false if there is no ban.
func (b *Bans) Remove(kind, name string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	k := keyOf(kind, name)
	r := b.of[k]
	delete(b.of, k)
	return r != nil && b.now().Before(r.until)
}

// List returns the present bans, ordered by their ends.
func (b *Bans) List() []Ban {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := []Ban{}
	for k, r := range b.of {
		if b.now().Before(r.until) {
			out = append(out, Ban{k.kind, k.name, r.reason, r.until})
		}
	}
	slices.SortFunc(out, func(a, b Ban) int { return cmp.Or(a.Until.Compare(b.Until), cmp.Compare(a.Name, b.Name)) })
	return out
}

// Count returns the number of present bans, and of all bans since the start.
func (b *Bans) Count() (now int, total uint64) {
	list := b.List()
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(list), b.total
}

// makeRoom forgets an eighth of the table if the table is full: first those seen least recently, then those who are banned. It never
// forgets bans by operators. Called with mu held.
func (b *Bans) makeRoom(now time.Time) {
	if len(b.of) < most {
		return
	}
	type seen struct {
		k      key
		banned bool
		at     time.Time
	}
	var all []seen
	for k, r := range b.of {
		if banned := now.Before(r.until); !r.byHand || !banned {
			all = append(all, seen{k, banned, r.last})
		}
	}
	slices.SortFunc(all, func(a, b seen) int {
		switch {
		case a.banned == b.banned:
			return a.at.Compare(b.at)
		case b.banned:
			return -1
		}
		return 1
	})
	for _, s := range all[:min(len(all), most/8)] {
		delete(b.of, s.k)
	}
}
