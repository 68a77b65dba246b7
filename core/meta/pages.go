package meta

import (
	"crypto/rand"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"strings"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// pages tracks where the subscriptions of a session with many of them are stored, so that a change writes only what it affects. A session
// with few subscriptions keeps them in its record and has no pages.
//
// A page is one key of NamespaceSubscriptions, "{name}/{number}", with a few dozen subscriptions. The name is random, chosen when a session
// gets pages, and stored in the session's record. Pages that no record names have no meaning, and the sweep removes them. A subscription
// stays on its page until it ends.
type pages struct {
	name string
	at   map[string]place // by filter
	// sizes are the estimated bytes of each page; 0: the page does not exist.
	sizes []int
}

// place is the page of a subscription, with the subscription's size and hash as stored.
type place struct {
	page, size int
	sum        uint64
}

func placeOn(page int, u *Subscription) place { return place{page, u.size(), u.sum()} }

type pageRecord struct {
	header
	Client        string               `json:"client"`
	Subscriptions []subscriptionRecord `json:"subscriptions"`
}

// Bounds in estimated bytes.
const (
	pageBytes = 4 << 10
	// inlineBytes is how many bytes of subscriptions a record holds itself. A backend without atomic batches writes each key separately,
	// and perhaps not all of them, so one large value is better than several small ones: the bound is inlineBytesAlone there, or half of
	// the largest value if that is less.
	inlineBytes      = 4 << 10
	inlineBytesAlone = 128 << 10
)

// inlineBytes returns how many bytes of subscriptions a record holds itself on the present backend.
func (m *Meta) inlineBytes() int {
	t := m.traits()
	if t.GetAtomicBatch() {
		return inlineBytes
	}
	if most := int(t.GetMaxValueBytes() / 2); most > 0 {
		return min(most, inlineBytesAlone)
	}
	return inlineBytesAlone
}

func newPages() *pages {
	return &pages{name: strings.ToLower(rand.Text()), at: map[string]place{}}
}

// validPages reports whether a string can be the name of pages.
func validPages(name string) bool {
	return len(name) <= 64 && !strings.Contains(name, "/")
}

func pageKey(name string, page int) string { return fmt.Sprintf("%s/%05d", name, page) }

// pagesOf returns the name of the pages that a key belongs to.
func pagesOf(key string) string {
	name, _, _ := strings.Cut(key, "/")
	return name
}

// size estimates the bytes of a subscription.
func (u *Subscription) size() int {
	n := 72 + len(u.Filter)
	for broker := range u.Start {
		n += 16 + len(broker)
	}
	return n
}

var subscriptionSeed = maphash.MakeSeed()

// sum returns a hash of a subscription.
func (u *Subscription) sum() uint64 {
	sum := maphash.Comparable(subscriptionSeed, struct {
		filter              string
		qos, handling       byte
		noLocal, asRetained bool
		id                  uint32
		created             int64
	}{u.Filter, u.QoS, u.RetainHandling, u.NoLocal, u.RetainAsPublished, u.ID, millis(u.Created)})
	for broker, start := range u.Start { // in any order
		sum ^= maphash.Comparable(subscriptionSeed, struct {
			broker string
			start  int64
		}{broker, start})
	}
	return sum
}

// revision is what a save changes in pages.
type revision struct {
	// content holds the pages that change; a page without subscriptions is removed.
	content map[int][]Subscription
	places  map[string]place
	removed []string
}

// revise compares subscriptions with what is stored.
func (p *pages) revise(subs []Subscription) *revision {
	r := &revision{content: map[int][]Subscription{}, places: map[string]place{}}
	known := 0
	var fresh []int
	for i := range subs {
		have, ok := p.at[subs[i].Filter]
		if !ok {
			fresh = append(fresh, i)
			continue
		}
		known++
		if now := placeOn(have.page, &subs[i]); now.sum != have.sum {
			r.places[subs[i].Filter] = now
			r.content[have.page] = nil
		}
	}
	sizes := slices.Clone(p.sizes)
	if known < len(p.at) {
		keep := make(map[string]struct{}, len(subs))
		for i := range subs {
			keep[subs[i].Filter] = struct{}{}
		}
		for filter, at := range p.at {
			if _, kept := keep[filter]; !kept {
				r.removed = append(r.removed, filter)
				r.content[at.page] = nil
				sizes[at.page] -= at.size
			}
		}
	}
	page := 0
	for _, i := range fresh {
		now := placeOn(0, &subs[i])
		for page < len(sizes) && sizes[page] > 0 && sizes[page]+now.size > pageBytes {
			page++
		}
		if page == len(sizes) {
			sizes = append(sizes, 0)
		}
		sizes[page] += now.size
		now.page = page
		r.places[subs[i].Filter] = now
		r.content[page] = nil
	}
	if len(r.content) == 0 {
		return r
	}
	for i := range subs {
		at, changed := r.places[subs[i].Filter]
		if !changed {
			at = p.at[subs[i].Filter]
		}
		if _, touched := r.content[at.page]; touched {
			r.content[at.page] = append(r.content[at.page], subs[i])
		}
	}
	return r
}

// operations returns the writes of the pages that change, in order.
func (p *pages) operations(client string, r *revision) []*pluginv1.Operation {
	numbers := make([]int, 0, len(r.content))
	for page := range r.content {
		numbers = append(numbers, page)
	}
	slices.Sort(numbers)
	ops := make([]*pluginv1.Operation, 0, len(numbers)+1)
	for _, page := range numbers {
		key := pageKey(p.name, page)
		if len(r.content[page]) == 0 {
			ops = append(ops, remove(NamespaceSubscriptions, key))
			continue
		}
		rec := pageRecord{header: header{recordVersion}, Client: client}
		for i := range r.content[page] {
			rec.Subscriptions = append(rec.Subscriptions, toSubscriptionRecord(&r.content[page][i]))
		}
		ops = append(ops, put(NamespaceSubscriptions, key, encode(&rec), 0))
	}
	return ops
}

// stored applies a revision that was written.
func (p *pages) stored(r *revision) {
	for _, filter := range r.removed {
		delete(p.at, filter)
	}
	maps.Copy(p.at, r.places)
	for page, subs := range r.content {
		p.measure(page, subs)
	}
}

// measure sets the size of a page.
func (p *pages) measure(page int, subs []Subscription) {
	if page >= len(p.sizes) {
		p.sizes = append(p.sizes, make([]int, page+1-len(p.sizes))...)
	}
	p.sizes[page] = 0
	for i := range subs {
		p.sizes[page] += subs[i].size()
	}
}

// all returns the keys of the pages.
func (p *pages) all() []string {
	var keys []string
	for page, size := range p.sizes {
		if size > 0 {
			keys = append(keys, pageKey(p.name, page))
		}
	}
	return keys
}

// read adds a page as it is stored, and returns its subscriptions.
func (p *pages) read(e *pluginv1.Entry) ([]Subscription, error) {
	var page int
	if _, err := fmt.Sscanf(strings.TrimPrefix(e.GetKey(), p.name+"/"), "%d", &page); err != nil || pageKey(p.name, page) != e.GetKey() {
		return nil, fmt.Errorf("%s %q is no page of subscriptions; remove the key", NamespaceSubscriptions, e.GetKey())
	}
	if page < 0 || page > maxPages {
		return nil, fmt.Errorf("%s %q: pages are numbered from 0 to %d; remove the key", NamespaceSubscriptions, e.GetKey(), maxPages)
	}
	var r pageRecord
	if err := decode(NamespaceSubscriptions, e.GetKey(), e.GetValue(), &r); err != nil {
		return nil, err
	}
	subs := make([]Subscription, 0, len(r.Subscriptions))
	for i := range r.Subscriptions {
		u := r.Subscriptions[i].subscription()
		if _, twice := p.at[u.Filter]; !twice {
			p.at[u.Filter] = placeOn(page, &u)
			subs = append(subs, u)
		}
	}
	p.measure(page, subs)
	return subs, nil
}

// maxPages bounds the pages of a session.
const maxPages = 99_999
