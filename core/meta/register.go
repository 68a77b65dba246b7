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

// withdrawWithin is how long after its registration a filter may be withdrawn. While that is possible, other nodes that need the
// filter say so, by writing its record.
const withdrawWithin = 30 * time.Second

// RegisterFilters makes sure that filters have a queue: durable when it returns, and seen by MatchFilters on this node. Other
// nodes learn of it by the next event or poll, or at once by LearnFilters. It costs nothing where all are registered already and
// were asked for lately; else it also puts off their retirement by Options.FilterGrace.
//
// ErrTooManyFilters: a first-level topic has Options.MaxFilters already; none of the filters was registered. ErrLimit and
// ErrUnavailable: some may have been.
func (m *Meta) RegisterFilters(ctx context.Context, names ...string) error {
	return m.register(ctx, Owner{}, names, true).first(names)
}

// Register is RegisterFilters for filters that do not depend on one another and that somebody wants for the first time: each for which
// there is room is registered, and counted to them. See Registration.Err; ErrLimit also where a quota is used up.
func (m *Meta) Register(ctx context.Context, by Owner, names []string) *Registration {
	return m.register(ctx, by, names, false)
}

// Registration is what became of filters that were to be registered.
type Registration struct {
	errs map[string]error
	// made are the filters that were not registered before, as this node wrote them.
	made map[string]stored
	// by is to whom new filters are counted; whole: a quota does not bound them, because they are in use already.
	by    string
	whole bool
}

// Err returns why a filter was not registered; nil where it is.
func (r *Registration) Err(filter string) error { return r.errs[filter] }

func (r *Registration) fail(name string, err error) {
	if r.errs == nil {
		r.errs = map[string]error{}
	}
	r.errs[name] = err
}

// first is the error of the first filter that has one.
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

// register registers filters: each that can be, or, where whole, all that the bounds allow or none.
func (m *Meta) register(ctx context.Context, by Owner, names []string, whole bool) *Registration {
	r := &Registration{by: by.Mark(), whole: whole}
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
	if whole && len(r.errs) > 0 {
		return r
	}
	f := m.filters
	f.mu.Lock()
	puts, fresh, anew := f.claim(names, r)
	if whole && len(r.errs) > 0 {
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
		f.removing.Lock()   // what is being removed is gone then, and what is asked for stays
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

// Room says whether there is room to register filters; those that are registered need none. It takes none.
func (m *Meta) Room(by Owner, names ...string) error {
	f, mark := m.filters, by.Mark()
	var more amount
	f.mu.RLock()
	for _, name := range names {
		if f.get(name) == nil {
			more = more.plus(ofFilter(name, m.filterPut(name, false, registered{time.Now(), mark}).GetPut().GetValue()))
		}
	}
	f.mu.RUnlock()
	if more.keys == 0 {
		return nil
	}
	give, err := m.ledger.take(countFilters, mark, "", more, false)
	if err != nil {
		return fmt.Errorf("register filter %q: %w", names[0], err)
	}
	give()
	return nil
}

// claim finds what has to be written so that filters are registered, and which of them are new; anew says that one is written anew that
// retires. It is called under mu; disclaim must follow.
func (f *filters) claim(names []string, r *Registration) (puts []*pluginv1.Operation, fresh map[string]bool, anew bool) {
	fresh = map[string]bool{}
	twice := make(map[string]struct{}, len(names))
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
			if !f.reserve(first, name, f.m.opts.MaxFilters) {
				r.fail(name, fmt.Errorf("register filter %q: %w: first-level topic %q has %d, topics.max_filters allows no more",
					name, ErrTooManyFilters, first, f.m.opts.MaxFilters))
				continue
			}
			put := f.m.filterPut(name, false, registered{time.Now(), r.by})
			if !r.whole && f.claims[name] == nil {
				give, err := f.m.ledger.take(countFilters, r.by, "", ofFilter(name, put.GetPut().GetValue()), false)
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
			puts = append(puts, f.m.filterPut(name, false, registered{st.made, st.mark}))
			anew = anew || st.retiring
		}
	}
	return puts, fresh, anew
}

// disclaim ends a claim. It is called under mu.
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

// Withdraw takes back the registration of those of the filters that Register made and that nobody has asked for since: what they were
// for has failed. What cannot be removed the sweep retires later. It does its work even where ctx has ended.
func (m *Meta) Withdraw(ctx context.Context, r *Registration, names []string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), withdrawWithin/2)
	defer cancel()
	f := m.filters
	var mine []string
	listed := map[string][]string{} // or about to be
	shared := m.traits().GetShared()
	f.mu.Lock()
	for _, name := range names {
		_, made := r.made[name]
		st := f.get(name)
		if !made || st == nil || st.asks != 1 || f.asking[name] > 0 || time.Since(st.made).Abs() > withdrawWithin/2 {
			continue
		}
		st.retiring = true // whoever asks from now on writes the record anew
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

// remove removes the record of a filter that retires, unless it was changed, or somebody asks for it now.
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

// registered is when a filter was registered first, and to whom it is counted.
type registered struct {
	at time.Time
	by string
}

func (m *Meta) filterPut(name string, pinned bool, made registered) *pluginv1.Operation {
	now := time.Now()
	return put(NamespaceFilters, name, encode(&filterRecord{header{recordVersion}, pinned, now.UnixMilli(), millis(made.at),
		m.opts.NodeID, made.by}), 0)
}

// first is when a filter was registered first, and by whom, as far as is known.
func (f *filters) first(name string) registered {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if st := f.get(name); st != nil {
		return registered{st.made, st.mark}
	}
	return registered{at: time.Now()}
}
