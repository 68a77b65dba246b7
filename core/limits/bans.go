package limits

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"sync"
	"time"
)

// Ban keeps somebody out for a while.
type Ban struct {
	// Kind is "address", "user" or "client", and Name who of that kind.
	Kind   string    `json:"kind"`
	Name   string    `json:"name"`
	Reason string    `json:"reason"`
	Until  time.Time `json:"until"`
}

// Kinds of whom a Ban is about.
const (
	ByAddress = "address"
	ByUser    = "user"
	ByClient  = "client"
	// ByFlapping is about a client id of one user, which connects all the time; see FlappingName.
	ByFlapping = "flapping"
)

// FlappingName is the Name of a Ban of the kind ByFlapping. Other users of the client id, and who uses it from another address, are not
// meant.
func FlappingName(user, client, address string) string {
	name := user + "/" + client + "@" + address
	if len(name) <= longestName {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:])
}

const (
	// failuresFree is how many failures cost nothing. Each further one delays the next attempt by twice as much. As many as the caller
	// says within failuresWithin lead to a ban of banFirst, which doubles each time up to banLongest.
	failuresFree   = 5
	failuresWithin = 5 * time.Minute
	firstDelay     = 250 * time.Millisecond
	longestDelay   = 8 * time.Second
	banFirst       = time.Minute
	banLongest     = time.Hour
	// most bounds who is remembered; at the bound the one that was seen least recently is forgotten, but for those that an operator has
	// banned, of whom there are mostByHand at the most.
	most       = 16384
	mostByHand = 4096
)

// key is who is remembered. Names that clients choose are cut.
type key struct{ kind, name string }

const longestName = 256

func keyOf(kind, name string) key {
	if len(name) > longestName {
		name = name[:longestName]
	}
	return key{kind, strings.Clone(name)}
}

// record is what is remembered of somebody.
type record struct {
	failures int
	bans     int
	first    time.Time // failure of this row
	last     time.Time
	free     time.Time // when the next attempt may be made
	until    time.Time // of the ban
	reason   string
	byHand   bool
}

// Bans slow down who fails, and keep out who fails too often. An address is slowed down and banned. A user name is slowed down only, so
// that nobody can lock somebody else out. A client id is banned by an operator, or, for one user, where it flaps.
type Bans struct {
	now func() time.Time

	mu    sync.Mutex
	of    map[key]*record
	total uint64
	// byHand is how many operators have banned, at least; those whose time is over may be among them.
	byHand int
}

// NewBans makes an empty table.
func NewBans() *Bans { return &Bans{now: time.Now, of: make(map[key]*record)} }

// Banned returns the ban of somebody.
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

// Delay is how long somebody has to wait for the next attempt.
func (b *Bans) Delay(kind, name string) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r := b.of[keyOf(kind, name)]; r != nil {
		return max(0, r.free.Sub(b.now()))
	}
	return 0
}

// Failed notes a failure, and returns the ban that it leads to where it is the last of as many as are allowed.
func (b *Bans) Failed(kind, name string, allowed int, reason string) (Ban, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now, k := b.now(), keyOf(kind, name)
	r := b.of[k]
	if r == nil {
		b.makeRoom(now)
		r = &record{first: now}
		b.of[k] = r
	}
	if now.Sub(r.first) > failuresWithin {
		r.first, r.failures = now, 0
	}
	r.last = now
	r.failures++
	if over := r.failures - failuresFree; over > 0 && kind != ByFlapping {
		r.free = now.Add(min(firstDelay<<min(over-1, 16), longestDelay))
	}
	if kind == ByUser || kind == ByClient || r.failures < allowed || now.Before(r.until) {
		return Ban{}, false
	}
	r.failures, r.first = 0, now
	r.until, r.reason = now.Add(min(banFirst<<min(r.bans, 16), banLongest)), reason
	r.bans++
	b.total++
	return Ban{k.kind, k.name, r.reason, r.until}, true
}

// Succeeded forgives half of an address's failures, which many clients may share, and all of others'.
func (b *Bans) Succeeded(kind, name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r := b.of[keyOf(kind, name)]; r != nil {
		if r.failures /= 2; kind != ByAddress {
			r.failures = 0
		}
		r.free = time.Time{}
	}
}

// Add bans somebody by hand; false where too many are.
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
	r.until, r.reason, r.byHand, r.last = ban.Until, ban.Reason, true, b.now()
	b.total++
	return true
}

// countByHand counts whom operators have banned. Called with mu held.
func (b *Bans) countByHand() int {
	b.byHand = 0
	for _, r := range b.of {
		if r.byHand = r.byHand && b.now().Before(r.until); r.byHand {
			b.byHand++
		}
	}
	return b.byHand
}

// Remove ends a ban, and forgives all failures; false where there is none.
func (b *Bans) Remove(kind, name string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	k := keyOf(kind, name)
	r := b.of[k]
	delete(b.of, k)
	return r != nil && b.now().Before(r.until)
}

// List returns the bans, the one that ends first first.
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

// Count is how many are banned, and how many bans there were since the start.
func (b *Bans) Count() (now int, total uint64) {
	list := b.List()
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(list), b.total
}

// makeRoom forgets an eighth of the table where it is full: who was seen least recently, those who are banned last, and those whom an
// operator has banned not at all. Called with mu held.
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
