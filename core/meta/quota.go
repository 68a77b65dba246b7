package meta

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lmqgate/lmqgate/core/limits"
)

// The growth of the metadata caused by clients is bounded for the cluster, per identity and per client. Bounds are checked only when
// something new is added. Existing items may always be rewritten, so clients that have a session can come back however full the metadata
// is. The bounds keep a reserve of the backend's capacity for wills and for sessions that grow.
//
// Filters and retained messages are counted exactly, because every node holds all of them. Sessions are counted when they are listed, which
// happens every minute, plus what this node has written since. Wills and pages of subscriptions are counted in the same way if the backend
// has a limit.

// Quotas bound the growth of the metadata caused by clients. Zero values mean no bound unless stated otherwise.
type Quotas struct {
	// Sessions, Filters, Retained and Topics bound their numbers in the cluster. Shared groups count as filters. All registered first-level
	// topics count, but only clients are refused more of them.
	Sessions, Filters, Retained, Topics int
	// FilterMemory bounds the approximate memory of filters on each node, in bytes. For retained messages see SetRetainedMemory.
	FilterMemory int64
	// IdentityShare and ClientShare are the parts of each bound, and of the backend's capacity, that one identity and one client may use,
	// in percent; 0: limits.IdentityShare and limits.ClientShare.
	IdentityShare, ClientShare int
	// Reserve is the part of the backend's capacity that is kept for existing items, in percent; 0: limits.Reserve.
	Reserve int
}

func (q Quotas) withDefaults() *Quotas {
	for _, v := range []struct {
		p *int
		d int
	}{{&q.IdentityShare, limits.IdentityShare}, {&q.ClientShare, limits.ClientShare}, {&q.Reserve, limits.Reserve}} {
		if *v.p == 0 {
			*v.p = v.d
		}
	}
	return &q
}

// SetQuotas changes the quotas for items added from now on.
func (m *Meta) SetQuotas(q Quotas) { m.ledger.quotas.Store(q.withDefaults()) }

// ClientKeys returns how many keys of the backend one client may have; 0 if the backend has no limit.
func (m *Meta) ClientKeys() int {
	if most := int(m.traits().GetMaxKeys()); most > 0 {
		return max(1, most*m.ledger.quotas.Load().ClientShare/100)
	}
	return 0
}

// Mark is a short name of the owner, under which resources are counted; empty if the owner is no particular identity.
func (o Owner) Mark() string {
	if !o.Known() {
		return ""
	}
	sum := sha256.Sum256([]byte(o.Name))
	return hex.EncodeToString(sum[:8])
}

// The counted resources, as metrics and errors name them.
const (
	countSessions = "sessions"
	countFilters  = "filters"
	countRetained = "retained messages"
	countTopics   = "first-level topics"
	countWills    = "wills"
	countPages    = "pages of subscriptions"
)

// amount is what an item takes of the backend: its keys, and the bytes of keys and values. memory is the approximate memory that it takes
// on each node that holds it, in bytes.
type amount struct {
	keys          int
	bytes, memory int64
}

func (a amount) plus(b amount) amount {
	return amount{a.keys + b.keys, a.bytes + b.bytes, a.memory + b.memory}
}
func (a amount) minus() amount { return amount{-a.keys, -a.bytes, -a.memory} }

// filterMemory is the approximate memory of a filter besides its text, in bytes.
const filterMemory = 512

// ofFilter returns the amount of a filter.
func ofFilter(name string, value []byte) amount {
	return amount{1, int64(len(name) + len(value)), filterMemory + 2*int64(len(name))}
}

// sized returns the amount of one key.
func sized(key string, value []byte) amount {
	return amount{keys: 1, bytes: int64(len(key) + len(value))}
}

// tally is the amount of one resource, in total and by owner.
type tally struct {
	all amount
	of  map[uint64]amount
}

// clientKey is the key of a client in a tally by clients, and in records that say for whom they were written; 0: no client.
func clientKey(id string) uint64 {
	if id == "" {
		return 0
	}
	sum := sha256.Sum256([]byte(id))
	return binary.BigEndian.Uint64(sum[:])
}

// markKey is the key of a mark in a tally; 0: no particular owner.
func markKey(mark string) uint64 {
	if mark == "" {
		return 0
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(mark))
	return h.Sum64()
}

func (t *tally) add(mark string, a amount) { t.addTo(markKey(mark), a) }

func (t *tally) addTo(key uint64, a amount) {
	t.all = t.all.plus(a)
	if key == 0 {
		return
	}
	if t.of == nil {
		t.of = map[uint64]amount{}
	}
	if t.of[key] = t.of[key].plus(a); t.of[key].keys <= 0 {
		delete(t.of, key)
	}
}

// ledger counts the items of the metadata, and decides whether there is room for more. Its mutex is a leaf lock.
type ledger struct {
	m      *Meta
	quotas atomic.Pointer[Quotas]
	wake   chan struct{} // requests a census

	mu    sync.Mutex
	tally map[string]*tally
	// clients are the filters, the retained messages and the first-level topics by client: who registered, published or made them.
	clients map[string]*tally
	// listed are the first-level topics that have no key of their own, as keys, and the bytes of their list. See topics.countListed.
	listed amount
	wills  map[string]willCount
	census time.Time // when the sessions were last counted
	// writing are the new sessions being written. listings are the listings of sessions under way, each with the new sessions that it may
	// have missed.
	writing  tally
	listings map[*tally]struct{}
	full     map[string]bool
}

// willCount is the owner of a will, and the amount that the will takes.
type willCount struct {
	mark string
	a    amount
}

func newLedger(m *Meta) *ledger {
	l := &ledger{m: m, wake: make(chan struct{}, 1), wills: map[string]willCount{}, full: map[string]bool{}, tally: map[string]*tally{},
		clients: map[string]*tally{countFilters: {}, countRetained: {}, countTopics: {}}, listings: map[*tally]struct{}{}}
	for _, what := range []string{countSessions, countFilters, countRetained, countTopics, countWills, countPages} {
		l.tally[what] = &tally{}
	}
	l.quotas.Store(m.opts.Quotas.withDefaults())
	return l
}

// count adds an amount; a negative one is subtracted.
func (l *ledger) count(what, mark string, a amount) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tally[what].add(mark, a)
}

// countOf is count for what is also counted by client.
func (l *ledger) countOf(what, mark string, client uint64, a amount) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tally[what].add(mark, a)
	l.clients[what].addTo(client, a)
}

// setListed sets the number of first-level topics without a key of their own, and the bytes of the list that registers topics.
func (l *ledger) setListed(bare int, bytes int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.listed = amount{keys: bare, bytes: bytes}
}

// addListed changes the number of first-level topics without a key of their own.
func (l *ledger) addListed(by int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.listed.keys += by
}

// topics returns how many first-level topics are registered or being made. Called with mu held.
func (l *ledger) topics() int { return l.tally[countTopics].all.keys + l.listed.keys }

// take makes room for something new, and counts it until give is called: by then it is either counted as an existing item, or was not
// written. net is what the cluster needs for it: less than a if something of another owner makes room. Existing sessions are not counted
// individually: see written. Something that replaces an existing item is counted, and never refused.
func (l *ledger) take(what, mark string, client uint64, a, net amount, replaces bool) (give func(), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !replaces {
		if err := l.room(what, mark, client, a, net); err != nil {
			return nil, err
		}
	}
	l.tally[what].add(mark, a)
	byClient := l.clients[what]
	if byClient != nil {
		byClient.addTo(client, a)
	}
	if what == countSessions {
		l.writing.add(mark, a)
		for missed := range l.listings {
			missed.add(mark, a)
		}
	}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.tally[what].add(mark, a.minus())
		if byClient != nil {
			byClient.addTo(client, a.minus())
		}
		if what == countSessions {
			l.writing.add(mark, a.minus())
		}
	}, nil
}

// written keeps counting a session for which take has made room.
func (l *ledger) written(mark string, a amount) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.writing.add(mark, a.minus())
}

// room returns why there is no room for more: a of an owner and a client, and net of the cluster. Called with mu held.
func (l *ledger) room(what, mark string, client uint64, a, net amount) error {
	q, t := l.quotas.Load(), l.tally[what]
	mine := t.of[markKey(mark)]
	var ofClient amount
	if byClient := l.clients[what]; byClient != nil {
		ofClient = byClient.of[client]
	}
	share := func(of string, used, more, limit int64, percent int, key string) error {
		if limit == 0 || more <= 0 {
			return nil
		}
		if limit = limit * int64(percent) / 100; used+more <= limit {
			return nil
		}
		return l.refuse(what, of, used, limit, key)
	}
	check := func(used func(amount) int64, mine amount, client uint64, all amount, limit int64, reserve int, key string) error {
		if err := share("the cluster", used(all), used(net), limit, 100-reserve, key); err != nil {
			return err
		}
		if mark != "" {
			if err := share("the identity", used(mine), used(a), limit, q.IdentityShare, "limits.identity.share"); err != nil {
				return err
			}
		}
		if client == 0 {
			return nil
		}
		return share("the client", used(ofClient), used(a), limit, q.ClientShare, "limits.client.share")
	}
	keys := func(a amount) int64 { return int64(a.keys) }
	bytes := func(a amount) int64 { return a.bytes }
	memory := func(a amount) int64 { return a.memory }
	var err error
	switch what {
	case countSessions:
		err = check(keys, mine, client, t.all, int64(q.Sessions), 0, "limits.cluster.sessions")
	case countFilters:
		// A client has a share of the backend only: of a small bound or little memory, a share could be less than its subscriptions need.
		if err = check(keys, mine, 0, t.all, int64(q.Filters), 0, "limits.cluster.filters"); err == nil {
			err = check(memory, mine, 0, t.all, q.FilterMemory, 0, "limits.node.filter_memory")
		}
	case countRetained:
		if err = check(keys, mine, client, t.all, int64(q.Retained), 0, "limits.cluster.retained_messages"); err == nil {
			err = check(memory, mine, client, amount{}, l.m.retained.room.max.Load(), 0, "limits.node.retained_memory")
		}
	case countTopics:
		if client != 0 { // not an operator
			err = check(keys, mine, client, amount{keys: l.topics()}, int64(q.Topics), 0, "limits.cluster.topics")
		}
	}
	if err != nil {
		return err
	}
	reserve := q.Reserve
	if what == countWills {
		reserve = 0
	}
	all, own := l.sum(mark)
	traits := l.m.traits()
	if err := check(keys, own, client, all, int64(traits.GetMaxKeys()), reserve, "the metadata backend"); err != nil {
		return err
	}
	return check(bytes, own, client, all, int64(traits.GetMaxTotalBytes()), reserve, "the metadata backend")
}

// sum returns the amount of all resources, in total and of one owner. Called with mu held.
func (l *ledger) sum(mark string) (all, own amount) {
	key := markKey(mark)
	for _, t := range l.tally {
		all, own = all.plus(t.all), own.plus(t.of[key])
	}
	all.bytes += l.listed.bytes
	return all, own
}

// refuse counts a refusal and returns its error. Called with mu held.
func (l *ledger) refuse(what, of string, used, limit int64, key string) error {
	l.m.metrics.quotaRefused.WithLabelValues(what, of).Inc()
	select {
	case l.wake <- struct{}{}: // it may no longer be full
	default:
	}
	return fmt.Errorf("%w: no room for more %s: %s has %d of %d, see %s", ErrLimit, what, of, used, limit, key)
}

// Fill is how much of a bound is used.
type Fill struct {
	// Resource is what is bounded: "sessions", "filters", "retained_messages", "topics", "filter_memory", "retained_memory" or, for the
	// backend, "keys" and "bytes".
	Resource  string
	Used, Max int64
}

// Ratio returns how much of the bound is used; 1 is all of it.
func (f Fill) Ratio() float64 { return float64(f.Used) / float64(f.Max) }

// Fills returns how full the metadata is, for each resource with a bound.
func (m *Meta) Fills() []Fill {
	l := m.ledger
	q, traits := l.quotas.Load(), m.traits()
	retained := m.RetainedMemory()
	l.mu.Lock()
	defer l.mu.Unlock()
	all, _ := l.sum("")
	left := int64(100 - q.Reserve)
	var out []Fill
	for _, f := range []Fill{
		{"sessions", int64(l.tally[countSessions].all.keys), int64(q.Sessions)},
		{"filters", int64(l.tally[countFilters].all.keys), int64(q.Filters)},
		{"retained_messages", int64(l.tally[countRetained].all.keys), int64(q.Retained)},
		{"topics", int64(l.topics()), int64(q.Topics)},
		{"filter_memory", l.tally[countFilters].all.memory, q.FilterMemory},
		{"retained_memory", retained, m.retained.room.max.Load()},
		{"keys", int64(all.keys), int64(traits.GetMaxKeys()) * left / 100},
		{"bytes", all.bytes, int64(traits.GetMaxTotalBytes()) * left / 100},
	} {
		if f.Max > 0 {
			out = append(out, f)
		}
	}
	return out
}

// items returns how many sessions, filters and retained messages the cluster has.
func (l *ledger) items() map[string]int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make(map[string]int64)
	for _, what := range []string{countSessions, countFilters, countRetained} {
		out[strings.ReplaceAll(what, " ", "_")] = int64(l.tally[what].all.keys)
	}
	return out
}

// itemCounts is the collector of the metric for items.
type itemCounts struct {
	m    *Meta
	desc *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (f itemCounts) Describe(c chan<- *prometheus.Desc) { c <- f.desc }

// Collect implements prometheus.Collector.
func (f itemCounts) Collect(c chan<- prometheus.Metric) {
	for what, n := range f.m.ledger.items() {
		c <- prometheus.MustNewConstMetric(f.desc, prometheus.GaugeValue, float64(n), what)
	}
}

// fills is the collector of the metric for Fills.
type fills struct {
	m    *Meta
	desc *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (f fills) Describe(c chan<- *prometheus.Desc) { c <- f.desc }

// Collect implements prometheus.Collector.
func (f fills) Collect(c chan<- prometheus.Metric) {
	for _, fill := range f.m.Fills() {
		c <- prometheus.MustNewConstMetric(f.desc, prometheus.GaugeValue, fill.Ratio(), fill.Resource)
	}
}
