package meta

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lmqgate/lmqgate/core/topic"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// withdrawWithin is how long after its registration a filter may be withdrawn. During that time, other nodes that need the filter write its
// record to say so.
const withdrawWithin = 30 * time.Second

// RegisterFilters makes sure that filters have a queue. When it returns, the registration is durable, and MatchFilters on this node finds
// the filters. Other nodes learn of it with the next event or poll, or at once through LearnFilters. If all filters are registered already
// and were asked for recently, it costs nothing; otherwise it also postpones their retirement by Options.FilterGrace.
//
// ErrTooManyFilters: a first-level topic has Options.MaxFilters already; none of the filters was registered. ErrLimit and ErrUnavailable:
// some filters may have been registered.
func (m *Meta) RegisterFilters(ctx context.Context, names ...string) error {
	return m.register(ctx, names, &Registration{whole: true}).first(names)
}

// Register is RegisterFilters for independent filters that a client of an owner wants for the first time. It registers each filter for
// which there is room, and counts the filter under the owner and the client. See Registration.Err; that is ErrLimit also if a quota is used
// up.
func (m *Meta) Register(ctx context.Context, by Owner, client string, names []string) *Registration {
	return m.register(ctx, names, &Registration{by: by.Mark(), client: clientKey(client)})
}

// Registration is the outcome of registering filters.
type Registration struct {
	errs map[string]error
	// made are the filters that were not registered before, as this node wrote them.
	made map[string]stored
	// New filters are counted under an owner (by) and a client. whole: the filters are in use already, so no quota applies, and all or none
	// are registered as far as the bounds are concerned.
	by     string
	client uint64
	whole  bool
}

// Err returns why a filter was not registered; nil if it is registered.
func (r *Registration) Err(filter string) error { return r.errs[filter] }

func (r *Registration) fail(name string, err error) {
	if r.errs == nil {
		r.errs = map[string]error{}
	}
	r.errs[name] = err
}

// first returns the error of the first filter that has one.
func (r *Registration) first(names []string) error {
	if len(r.errs) == 0 {
		return nil
	}
	for _, name := range names {
		if err := r.errs[name]; err != nil {
			return err
		}
	}
	return nil
}

// register registers each filter that can be registered, and returns the outcome in r.
func (m *Meta) register(ctx context.Context, names []string, r *Registration) *Registration {
	if err := errors.Join(m.loaded(NamespaceUpstream), m.loaded(NamespaceFilters)); err != nil {
		for _, name := range names {
			r.fail(name, err)
		}
		return r
	}
	for _, name := range names {
		if err := topic.ValidateFilter(name); err != nil {
			r.fail(name, fmt.Errorf("register filter %q: %w", name, err))
		}
	}
	if r.whole && len(r.errs) > 0 {
		return r
	}
	f := m.filters
	f.mu.Lock()
	puts, fresh, anew := f.claim(names, r)
	if r.whole && len(r.errs) > 0 {
		f.disclaim(names, fresh, r)
		f.mu.Unlock()
		return r
	}
	f.mu.Unlock()
	if len(puts) == 0 {
		f.mu.Lock()
		f.disclaim(names, nil, r)
		f.mu.Unlock()
		return r
	}
	if anew {
		f.removing.Lock()   // wait until pending removals have ended; later ones see asking
		f.removing.Unlock() //nolint:staticcheck // nothing is to be done meanwhile
	}
	results := m.writer.each(ctx, puts)
	for i, res := range results {
		name := target(puts[i]).key
		if res.err != nil {
			r.fail(name, fmt.Errorf("register filter %q: %w", name, res.err))
		} else {
			m.lists.touch(topic.First(name))
		}
	}
	f.mu.Lock()
	f.disclaim(names, fresh, r)
	f.mu.Unlock()
	for i, res := range results {
		if name := target(puts[i]).key; fresh[name] && res.err == nil {
			if r.made == nil {
				r.made = map[string]stored{}
			}
			r.made[name] = stored{revision: res.revision, generation: res.generation}
		}
	}
	return r
}

// Room returns nil if there is room to register filters. Filters that are registered already need none. It does not reserve the room.
func (m *Meta) Room(by Owner, client string, names ...string) error {
	f, mark := m.filters, by.Mark()
	ofGroup := readByGroups(names)
	var more, ofClient amount
	f.mu.RLock()
	for _, name := range names {
		if f.get(name) != nil {
			continue
		}
		a := ofFilter(name, m.filterPut(name, false, registered{time.Now(), mark, clientKey(client)}).GetPut().GetValue())
		if more = more.plus(a); !ofGroup[name] {
			ofClient = ofClient.plus(a)
		}
	}
	f.mu.RUnlock()
	for _, of := range []struct {
		client uint64
		more   amount
	}{{0, more}, {clientKey(client), ofClient}} {
		if of.more.keys == 0 {
			continue
		}
		give, err := m.ledger.take(countFilters, mark, of.client, of.more, of.more, false)
		if err != nil {
			return fmt.Errorf("register filter %q: %w", names[0], err)
		}
		give()
	}
	return nil
}

// readByGroups returns the filters that are registered together with a shared group that reads them. Of a client's share, the group counts
// and its filter does not.
func readByGroups(names []string) map[string]bool {
	var read map[string]bool
	for _, name := range names {
		if _, inner, shared, err := topic.ParseShared(name); err == nil && shared {
			if read == nil {
				read = map[string]bool{}
			}
			read[inner] = true
		}
	}
	return read
}

// claim determines what has to be written to register filters, and which of them are new. anew reports that the record of a retiring filter
// is written again. Called with mu held; disclaim must follow.
func (f *filters) claim(names []string, r *Registration) (puts []*pluginv1.Operation, fresh map[string]bool, anew bool) {
	fresh = map[string]bool{}
	twice := make(map[string]struct{}, len(names))
	ofGroup := readByGroups(names)
	for _, name := range names {
		f.asking[name]++
		if _, again := twice[name]; again || r.errs[name] != nil {
			continue
		}
		twice[name] = struct{}{}
		st := f.get(name)
		switch {
		case st == nil:
			first := topic.First(name)
			if err := f.reserve(first, name, r.by, r.whole); err != nil {
				r.fail(name, fmt.Errorf("register filter %q: %w", name, err))
				continue
			}
			client := r.client
			if ofGroup[name] {
				client = 0
			}
			put := f.m.filterPut(name, false, registered{time.Now(), r.by, client})
			if !r.whole && f.claims[name] == nil {
				more := ofFilter(name, put.GetPut().GetValue())
				give, err := f.m.ledger.take(countFilters, r.by, client, more, more, false)
				if err != nil {
					f.release(first, name)
					r.fail(name, fmt.Errorf("register filter %q: %w", name, err))
					continue
				}
				f.claims[name] = give
			}
			fresh[name] = true
			puts = append(puts, put)
		case !st.recorded || st.pinned:
		case st.retiring, time.Since(st.refreshed).Abs() > f.m.opts.FilterGrace/2,
			st.node != f.m.opts.NodeID && time.Since(st.made).Abs() < withdrawWithin:
			puts = append(puts, f.m.filterPut(name, false, registered{st.made, st.mark, st.client}))
			anew = anew || st.retiring
		}
	}
	return puts, fresh, anew
}

// disclaim ends a claim. Called with mu held.
func (f *filters) disclaim(names []string, fresh map[string]bool, r *Registration) {
	for _, name := range names {
		if f.asking[name]--; f.asking[name] == 0 {
			delete(f.asking, name)
		}
		if fresh[name] {
			f.release(topic.First(name), name)
			f.settle(name)
		}
		if st := f.get(name); st != nil && r.errs[name] == nil {
			st.asks++
		}
	}
}

// Withdraw undoes the registration of those of the filters that Register has made and that nobody has asked for since, because what they
// were for has failed. Filters that cannot be removed are retired by the sweep later. It works even if ctx has ended.
func (m *Meta) Withdraw(ctx context.Context, r *Registration, names []string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), withdrawWithin/2)
	defer cancel()
	f := m.filters
	var mine []string
	listed := map[string][]string{} // the filters in it, or about to be in it, by first-level topic
	shared := m.traits().GetShared()
	f.mu.Lock()
	for _, name := range names {
		_, made := r.made[name]
		st := f.get(name)
		if !made || st == nil || st.asks != 1 || f.asking[name] > 0 || time.Since(st.made).Abs() > withdrawWithin/2 {
			continue
		}
		st.retiring = true // from now on, whoever asks for the filter writes its record again
		mine = append(mine, name)
		if first := topic.First(name); shared && listableFilter(name) {
			listed[first] = append(listed[first], name)
		}
	}
	f.mu.Unlock()
	defer m.retired.mark(mine, false)
	failed := func(err error) {
		m.log.Debug("filters that nobody uses stay until the next sweep", "count", len(mine), "first", fmt.Sprintf("%q", mine[0]), "error", err)
	}
	for first, names := range listed {
		if err := m.lists.drop(ctx, first, names); err != nil {
			failed(err)
			return
		}
	}
	var removing errgroup.Group
	removing.SetLimit(cap(m.backend.cas) / 2)
	for _, name := range mine {
		removing.Go(func() error {
			_, err := f.remove(ctx, name, r.made[name])
			return err
		})
	}
	if err := removing.Wait(); err != nil {
		failed(err)
	}
	for first, names := range listed {
		m.retired.withdrew(first, names)
	}
}

// remove removes the record of a retiring filter, unless the record has changed or somebody is asking for the filter.
func (f *filters) remove(ctx context.Context, name string, at stored) (bool, error) {
	f.removing.RLock()
	defer f.removing.RUnlock()
	f.mu.RLock()
	asked := f.asking[name] > 0
	f.mu.RUnlock()
	if asked {
		return false, nil
	}
	return f.m.removeIf(ctx, NamespaceFilters, name, at)
}

// registered says when a filter was first registered. The filter is counted under an owner (by) and a client.
type registered struct {
	at     time.Time
	by     string
	client uint64
}

func (m *Meta) filterPut(name string, pinned bool, made registered) *pluginv1.Operation {
	now := time.Now()
	return put(NamespaceFilters, name, encode(&filterRecord{header{recordVersion}, pinned, now.UnixMilli(), millis(made.at),
		m.opts.NodeID, made.by, made.client}), 0)
}

// first returns when and by whom a filter was first registered, as far as known.
func (f *filters) first(name string) registered {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if st := f.get(name); st != nil {
		return registered{st.made, st.mark, st.client}
	}
	return registered{at: time.Now()}
}
