package limits

import (
	"hash/maphash"
	"net/netip"
	"time"
)

// Login identifies attempts to log in: by the user name and the client id of CONNECT, either of which may be empty, and by the source.
type Login struct {
	User, Client string
	Source       netip.Prefix
	// Exchange is set for an enhanced authentication. Its data may name another user than CONNECT, so what fails and what succeeds need not
	// be about the same user.
	Exchange bool
}

// Name returns the Name of a Ban of the kind ByLogin. Such a ban keeps out one user name with one client id from one address.
func (l Login) Name() string {
	name := join(l.User, l.Client, l.Source.String())
	if l.Exchange {
		name += " (enhanced authentication)" // no address ends like this
	}
	return BanName(name)
}

// nameless reports whether nothing tells the attempt from others of its address.
func (l Login) nameless() bool { return l.User == "" && l.Client == "" }

const (
	// mostOfOne bounds how many failures of one Login count for its address and networks, so that one device with a wrong password slows
	// down and bans only itself. As many failures cost an address nothing.
	mostOfOne = failuresFree
	// mostNamed bounds the Logins whose failures an address can forgive.
	mostNamed = 128
)

// loginSeed keeps clients from choosing names whose hashes collide.
var loginSeed = maphash.MakeSeed()

// owes adds a failure of a Login; it returns false if that Login has its most already.
func (r *record) owes(l Login, most int) bool {
	if l.nameless() {
		return true
	}
	id := maphash.Comparable(loginSeed, l)
	switch n, known := r.of[id]; {
	case !known && len(r.of) >= mostNamed:
		return true
	case int(n) >= most:
		return false
	}
	if r.of == nil {
		r.of = make(map[uint64]uint8)
	}
	r.of[id]++
	return true
}

// forgives takes back the failures of a Login, and those of no other: otherwise who has one password could guess others for ever.
func (r *record) forgives(l Login, free int) {
	id := maphash.Comparable(loginSeed, l)
	r.failures -= int(r.of[id])
	delete(r.of, id)
	if r.failures <= free {
		r.free = time.Time{}
	}
}

// LoginFailed records the failure of a Login, for its user name, for itself, and for its address and the networks around it, which may have
// as many times more failures as their shares. It returns the bans that result. See Failed.
func (b *Bans) LoginFailed(l Login, allowed int, reason string) (bans []Ban) {
	b.mu.Lock()
	defer b.mu.Unlock()
	fail := func(kind, name string, share int, counts func(*record) bool) {
		if ban, banned := b.fail(keyOf(kind, name), share, allowed, reason, counts); banned {
			bans = append(bans, ban)
		}
	}
	if l.User != "" { // those without a name have nothing in common
		fail(ByUser, l.User, 1, always)
	}
	if !l.nameless() {
		fail(ByLogin, l.Name(), 1, always)
	}
	most := min(mostOfOne, (allowed+1)/2)
	for _, n := range NetworksOf(l.Source) {
		fail(ByAddress, n.String(), n.Share, func(r *record) bool { return r.owes(l, most) })
	}
	return bans
}

// LoggedIn forgives the failures of a Login and of its user name, if the identity that was established is that user. Whoever can have
// another identity under the same names could otherwise forgive itself what it tried with other users.
func (b *Bans) LoggedIn(l Login, identity string) {
	if l.Exchange || l.User == "" || l.User != identity {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for kind, name := range map[string]string{ByUser: l.User, ByLogin: l.Name()} {
		if r := b.of[keyOf(kind, name)]; r != nil {
			r.failures, r.free = 0, time.Time{}
		}
	}
	for _, n := range NetworksOf(l.Source) {
		if r := b.of[keyOf(ByAddress, n.String())]; r != nil {
			r.forgives(l, failuresFree*n.Share)
		}
	}
}

// LoginDelay returns how long a Login has to wait because it, its address or a network around it has failed. How long its user name has to
// wait is not included; see Delay.
func (b *Bans) LoginDelay(l Login) time.Duration {
	wait := b.Delay(ByLogin, l.Name())
	for _, n := range NetworksOf(l.Source) {
		wait = max(wait, b.Delay(ByAddress, n.String()))
	}
	return wait
}

// LoginBanned returns the present ban of a Login or its address, if there is one.
func (b *Bans) LoginBanned(l Login) (Ban, bool) {
	if ban, banned := b.AddressBanned(l.Source); banned {
		return ban, true
	}
	return b.Banned(ByLogin, l.Name())
}

// AddressBanned returns the present ban of an address or a network around it, if there is one.
func (b *Bans) AddressBanned(source netip.Prefix) (Ban, bool) {
	for _, n := range NetworksOf(source) {
		if ban, banned := b.Banned(ByAddress, n.String()); banned {
			return ban, true
		}
	}
	return Ban{}, false
}
