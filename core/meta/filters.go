package meta

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lmqgate/lmqgate/core/topic"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// filters holds the filters that have a queue. A filter is registered by a record of its own in NamespaceFilters, by an entry in the list
// LMQ/{topic}, or by both. A list entry without a record means that an operator registered the filter.
//
// A shared group is registered in the same way, as "$share/{group}/{filter}" next to its filter. So the whole cluster agrees on whether the
// group exists, and the group is retired like a filter. It has no queue of its own.
type filters struct {
	m *Meta
	// trie finds the queues for a topic name. It has its own lock, and holds exactly the filters of byFirst except shared groups.
	trie *topic.Trie[string]

	mu      sync.RWMutex
	byFirst map[string]map[string]*filter
	// listed holds, by key of LMQ, the filters that the key registers.
	listed map[string]map[string]struct{}
	// reserved holds registrations under way, with their owners, which also count against MaxFilters. A filter leaves it once it is
	// registered.
	reserved map[string]map[string]string
	// owned counts, by first-level topic and owner, the registered filters and those in reserved.
	owned map[string]map[string]int
	// asking counts, by filter, the calls that are registering it now.
	asking map[string]int
	// claims holds, by filter, the function that ends its count in the ledger. Each is called once the filter is registered, or writing it
	// has failed.
	claims map[string]func()
	lost   []string

	// removing is held for reading while the record of a retiring filter is checked and removed. A caller that is about to write such a
	// record again takes it for a moment, because a backend without compare-and-set would remove the new record. It is taken before mu.
	removing sync.RWMutex
}

// filter is the state of one registered filter.
type filter struct {
	recorded  bool
	pinned    bool
	refreshed time.Time
	// made is when the filter was first registered; node is the last writer of its record. asks counts the calls that asked this node for
	// the filter.
	made time.Time
	node string
	// Its record, which takes this amount, is counted under an owner (mark) and a client.
	mark   string
	client uint64
	takes  amount
	asks   int
	// retiring is set while this node removes the filter from the list and then its record.
	retiring bool
	// lists is how many keys of LMQ name the filter (one, unless an operator was careless).
	lists int
}

type filterRecord struct {
	header
	Pinned bool `json:"pinned,omitempty"`
	// Refreshed is approximately when somebody last asked for the filter. The sweep uses it.
	Refreshed int64 `json:"refreshed_ms"`
	// Made is when the filter was first registered.
	Made int64  `json:"made_ms,omitempty"`
	Node string `json:"node,omitempty"`
	// By is who first registered it; see Owner.Mark. Client is the client that did; see clientKey.
	By     string `json:"by,omitempty"`
	Client uint64 `json:"client,omitempty"`
}

func newFilters(m *Meta) *filters {
	return &filters{m: m, trie: topic.NewTrie[string](), byFirst: map[string]map[string]*filter{},
		listed: map[string]map[string]struct{}{}, reserved: map[string]map[string]string{}, owned: map[string]map[string]int{},
		asking: map[string]int{}, claims: map[string]func(){}}
}

func (f *filters) get(name string) *filter { return f.byFirst[topic.First(name)][name] }

// edit changes a filter's state and updates the index and the trie. Called with mu held.
func (f *filters) edit(name string, change func(*filter)) {
	first := topic.First(name)
	st := f.byFirst[first][name]
	had := st != nil
	if !had {
		st = &filter{}
	}
	change(st)
	has := st.recorded || st.lists > 0
	switch {
	case has && !had:
		if f.byFirst[first] == nil {
			f.byFirst[first] = map[string]*filter{}
		}
		f.byFirst[first][name] = st
		f.release(first, name)
		if !topic.IsShared(name) {
			f.trie.Add(name, topic.Queue(name))
		}
	case had && !has:
		delete(f.byFirst[first], name)
		if len(f.byFirst[first]) == 0 {
			delete(f.byFirst, first)
		}
		if !topic.IsShared(name) {
			f.trie.Remove(name, topic.Queue(name))
		}
		f.lost = append(f.lost, name)
	}
}

// release removes a filter from reserved. Called with mu held.
func (f *filters) release(first, name string) {
	if mark, ok := f.reserved[first][name]; ok {
		f.own(first, mark, -1)
	}
	if delete(f.reserved[first], name); len(f.reserved[first]) == 0 {
		delete(f.reserved, first)
	}
}

// own changes the number of an owner's filters of a first-level topic. Called with mu held.
func (f *filters) own(first, mark string, by int) {
	if mark == "" {
		return
	}
	if f.owned[first] == nil {
		f.owned[first] = map[string]int{}
	}
	if f.owned[first][mark] += by; f.owned[first][mark] == 0 {
		delete(f.owned[first], mark)
	}
	if len(f.owned[first]) == 0 {
		delete(f.owned, first)
	}
}

// settle ends the claim on a filter. Called with mu held.
func (f *filters) settle(name string) {
	if give := f.claims[name]; give != nil {
		give()
		delete(f.claims, name)
	}
}

// reserve reserves room for a filter that is about to be registered, or returns why there is none: the first-level topic has
// Options.MaxFilters already, or the owner has its share of them. whole: the share does not apply. Called with mu held.
func (f *filters) reserve(first, name, mark string, whole bool) error {
	if _, again := f.reserved[first][name]; again {
		return nil
	}
	most := f.m.opts.MaxFilters
	if len(f.byFirst[first])+len(f.reserved[first]) >= most {
		return fmt.Errorf("%w: first-level topic %q has %d, topics.max_filters allows no more", ErrTooManyFilters, first, most)
	}
	percent := f.m.ledger.quotas.Load().IdentityShare
	if share := max(1, most*percent/100); mark != "" && !whole && f.owned[first][mark] >= share {
		return fmt.Errorf("%w: the identity has %d of first-level topic %q, limits.identity.share allows no more: %d%% of topics.max_filters",
			ErrTooManyFilters, share, first, percent)
	}
	if f.reserved[first] == nil {
		f.reserved[first] = map[string]string{}
	}
	f.reserved[first][name] = mark
	f.own(first, mark, 1)
	return nil
}

// applyKey applies one key of NamespaceFilters.
func (f *filters) applyKey(key string, e *pluginv1.Entry) {
	var r filterRecord
	if e != nil {
		if err := topic.ValidateFilter(key); err != nil {
			f.m.invalid(NamespaceFilters, key, fmt.Errorf("the key is no topic filter: %w; remove it", err))
			return
		}
		if err := decode(NamespaceFilters, key, e.GetValue(), &r); err != nil {
			f.m.invalid(NamespaceFilters, key, err)
			r = filterRecord{Pinned: true} // somebody wanted the filter: a superfluous queue is better than lost messages
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.edit(key, func(st *filter) {
		st.recorded, st.pinned, st.refreshed = e != nil, r.Pinned, fromMillis(r.Refreshed)
		st.made, st.node = fromMillis(r.Made), r.Node
		f.m.ledger.countOf(countFilters, st.mark, st.client, st.takes.minus())
		if st.takes.keys > 0 {
			f.own(topic.First(key), st.mark, -1)
		}
		st.mark, st.client, st.takes = r.By, r.Client, amount{}
		if e != nil {
			st.takes = ofFilter(key, e.GetValue())
			f.own(topic.First(key), st.mark, 1)
		}
		f.m.ledger.countOf(countFilters, st.mark, st.client, st.takes)
		f.settle(key)
	})
}

// setListed applies the content of LMQ/{first}.
func (f *filters) setListed(first string, items []string) {
	next := map[string]struct{}{}
	for _, item := range items {
		for _, name := range listedFilter(item) {
			err := topic.ValidateFilter(name)
			if err == nil && topic.First(name) != first {
				err = fmt.Errorf("its first level is %q", topic.First(name))
			}
			if err != nil {
				f.m.invalid(NamespaceUpstream, first, fmt.Errorf(
					"LMQ/%s lists %q, which is no topic filter below it (%w); correct it with mqadmin updateKvConfig", first, item, err))
				continue
			}
			next[name] = struct{}{}
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	before := f.listed[first]
	if f.listed[first] = next; len(next) == 0 {
		delete(f.listed, first)
	}
	for name := range next {
		if _, had := before[name]; !had {
			f.edit(name, func(st *filter) { st.lists++ })
		}
	}
	for name := range before {
		if _, has := next[name]; !has {
			f.edit(name, func(st *filter) {
				st.lists--
				if st.recorded && !st.retiring && st.lists == 0 && listableFilter(name) {
					f.m.lists.lose(first)
				}
			})
		}
	}
}

// listedFilter returns the filters that an item of LMQ/{topic} stands for. Apache RocketMQ MQTT ends every name with "/", so an operator
// may have written "t/+/" or "t/#/" for "t/+" and "t/#"; the queue is the same.
func listedFilter(item string) []string {
	short, slash := strings.CutSuffix(item, "/")
	switch {
	case !slash || short == "":
		return []string{item}
	case strings.HasSuffix(short, "#"):
		return []string{short}
	default:
		return []string{item, short}
	}
}

func (f *filters) takeLost() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	lost := f.lost
	f.lost = nil
	return lost
}

// HasFilter reports whether a filter is registered, as far as this node knows.
func (m *Meta) HasFilter(filter string) bool {
	m.filters.mu.RLock()
	defer m.filters.mu.RUnlock()
	return m.filters.get(filter) != nil
}

// Groups returns the registered shared groups, "$share/{group}/{filter}", in no order.
func (m *Meta) Groups() []string {
	m.filters.mu.RLock()
	defer m.filters.mu.RUnlock()
	return slices.Collect(maps.Keys(m.filters.byFirst[topic.First(topic.Shared("g", "f"))]))
}

// Leads reports whether this node is the leader: it does the work that one node has to do for the whole cluster.
func (m *Meta) Leads() bool { return m.nodes.leads() }

// FilterCount returns how many filters of a first-level topic are registered.
func (m *Meta) FilterCount(first string) int {
	m.filters.mu.RLock()
	defer m.filters.mu.RUnlock()
	return len(m.filters.byFirst[first])
}

// MatchFilters calls f with the queue of every registered filter that matches a topic name. It reports each queue once: filters that share
// a queue ("t/+" and "t/+/") have different numbers of levels, so they never match the same name. It allocates nothing.
func (m *Meta) MatchFilters(name string, f func(queue string)) { m.filters.trie.Match(name, f) }

// LearnFilters makes sure that this node knows filters which another node says it has registered. It reads unknown ones from the backend.
// After it returns nil, MatchFilters on this node finds them, unless they are no longer registered.
func (m *Meta) LearnFilters(ctx context.Context, names ...string) error {
	if err := m.loaded(NamespaceFilters); err != nil {
		return err
	}
	reads, ctx := errgroup.WithContext(ctx)
	reads.SetLimit(learnMost)
	for _, name := range names {
		if m.HasFilter(name) {
			continue
		}
		reads.Go(func() error {
			e, at, err := m.find(ctx, NamespaceFilters, name)
			if err == nil && e != nil {
				m.mirrors[NamespaceFilters].learned(e, at.generation)
			}
			return err
		})
	}
	return reads.Wait()
}

// learnMost bounds the concurrent reads of one LearnFilters.
const learnMost = 16

// NewFilters returns those of the filters that were registered so recently that another node may not know them yet.
func (m *Meta) NewFilters(names ...string) (fresh []string) {
	m.filters.mu.RLock()
	defer m.filters.mu.RUnlock()
	for _, name := range names {
		if st := m.filters.get(name); st != nil && st.recorded && time.Since(st.made).Abs() < newFor {
			fresh = append(fresh, name)
		}
	}
	return fresh
}

// newFor exceeds the longest delay of a watch event or poll.
const newFor = 30 * time.Second

// PinFilter registers a filter permanently: it is never retired.
func (m *Meta) PinFilter(ctx context.Context, name string) error { return m.setPinned(ctx, name, true) }

// UnpinFilter removes the pin: the filter is retired once nothing durable uses it. That applies to a filter that an operator put into
// LMQ/{topic} as well.
func (m *Meta) UnpinFilter(ctx context.Context, name string) error {
	return m.setPinned(ctx, name, false)
}

func (m *Meta) setPinned(ctx context.Context, name string, pinned bool) error {
	if err := topic.ValidateFilter(name); err != nil {
		return fmt.Errorf("register filter %q: %w", name, err)
	}
	if err := m.loaded(NamespaceFilters); err != nil {
		return err
	}
	if _, err := m.writer.write(ctx, m.filterPut(name, pinned, m.filters.first(name))); err != nil {
		return err
	}
	m.lists.touch(topic.First(name))
	return nil
}
