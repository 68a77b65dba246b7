package meta

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/lmqgate/lmqgate/core/topic"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// sweep retires filters that nothing durable uses, keeps alive those that this node needs, and removes stray pages of subscriptions.
//
// One node, the leader, looks for unused filters. A filter is retired if two passes at least FilterGrace apart found it unused and nobody
// asked for it in between. Asking rewrites its record (RegisterFilters), and each node does so for the filters that its Readers need. A
// removal compares the revision, so whoever asks at the last moment wins.
type sweep struct {
	m    *Meta
	wake chan struct{}

	mu       sync.Mutex
	vanished []string
	// withdrawn are filters that Withdraw has removed; run adds them to retired.
	withdrawn map[string][]string

	// unused are the filters that earlier passes found unused. retired are the filters that the last pass removed from a list, by
	// first-level topic. Used by run only.
	unused  map[string]unusedFilter
	retired map[string][]string
	// stray is when pages of subscriptions were first found that no session names, by key. Used by run only.
	stray map[string]time.Time
}

type unusedFilter struct {
	revision stored
	since    time.Time
}

func newSweep(m *Meta) *sweep {
	return &sweep{m: m, wake: make(chan struct{}, 1), unused: map[string]unusedFilter{}, retired: map[string][]string{},
		stray: map[string]time.Time{}}
}

// restore schedules the registration of a filter that vanished while it is in use here.
func (s *sweep) restore(filter string) {
	s.mu.Lock()
	s.vanished = append(s.vanished, filter)
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run sweeps every half FilterGrace until ctx ends, and completes lists that an operator has replaced every LostAfter.
func (s *sweep) run(ctx context.Context) {
	t := time.NewTicker(s.m.opts.FilterGrace / 2)
	defer t.Stop()
	keep := time.NewTicker(s.m.opts.FilterGrace / 4)
	defer keep.Stop()
	heal := time.NewTicker(s.m.opts.LostAfter)
	defer heal.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
			s.refill(ctx)
		case <-heal.C:
			s.m.lists.heal()
		case <-keep.C:
			s.again(ctx)
			s.keepAlive(ctx)
		case <-t.C:
			s.m.lists.refill()
			if !s.m.nodes.leads() {
				clear(s.unused)
				clear(s.stray)
				continue
			}
			if err := s.strayPages(ctx, time.Now()); err != nil && ctx.Err() == nil {
				s.m.log.Warn("subscriptions of sessions that have ended not looked for; will be tried again", "error", err)
			}
			if err := s.pass(ctx, time.Now()); err != nil && ctx.Err() == nil {
				s.m.log.Warn("unused filters not looked for; will be tried again", "error", err)
			}
		}
	}
}

// refill registers vanished filters again.
func (s *sweep) refill(ctx context.Context) {
	s.mu.Lock()
	names := s.vanished
	s.vanished = nil
	s.mu.Unlock()
	for chunk := range slices.Chunk(names, maxBatchOperations) {
		if err := s.m.RegisterFilters(ctx, chunk...); err != nil {
			s.m.log.Error("filters in use here vanished and could not be registered again", "count", len(chunk),
				"first", fmt.Sprintf("%q", chunk[0]), "error", err)
			if errors.Is(err, ErrUnavailable) {
				s.mu.Lock()
				s.vanished = append(s.vanished, chunk...)
				s.mu.Unlock()
			}
			continue
		}
		s.m.metrics.refilled.Add(float64(len(chunk)))
		s.m.log.Warn("filters in use here had vanished and were registered again", "count", len(chunk),
			"first", fmt.Sprintf("%q", chunk[0]))
	}
}

// keepAlive refreshes the records of filters that this node uses before they look forgotten. It also retries restores.
func (s *sweep) keepAlive(ctx context.Context) {
	s.refill(ctx)
	for chunk := range slices.Chunk(s.unpinned(s.m.opts.FilterGrace/4), maxBatchOperations) {
		ops := chunk[:0]
		for _, name := range chunk {
			if s.m.readHere(name) {
				ops = append(ops, name)
			}
		}
		if len(ops) == 0 {
			continue
		}
		if err := s.m.refresh(ctx, ops); err != nil {
			s.m.log.Warn("filters in use here not kept alive; will be tried again", "error", err)
			return
		}
	}
}

func (m *Meta) refresh(ctx context.Context, names []string) error {
	ops := make([]*pluginv1.Operation, len(names))
	for i, name := range names {
		ops[i] = m.filterPut(name, false, m.filters.first(name))
	}
	_, err := m.writer.write(ctx, ops...)
	return err
}

// unpinned returns the filters that may be retired and that nobody has asked for within age.
func (s *sweep) unpinned(age time.Duration) []string {
	f := s.m.filters
	f.mu.RLock()
	defer f.mu.RUnlock()
	var names []string
	for _, of := range f.byFirst {
		for name, st := range of {
			if st.recorded && !st.pinned && time.Since(st.refreshed).Abs() > age {
				names = append(names, name)
			}
		}
	}
	return names
}

// pass looks for unused filters, and retires those that were already unused in a pass at least FilterGrace ago.
func (s *sweep) pass(ctx context.Context, now time.Time) error {
	candidates := map[string]stored{}
	for _, name := range s.unpinned(s.m.opts.FilterGrace / 2) {
		if !s.m.readHere(name) {
			candidates[name] = s.m.mirrors[NamespaceFilters].revision(name)
		}
	}
	if len(candidates) > 0 {
		err := s.m.EachSession(ctx, func(session *Session) error {
			for i := range session.Subscriptions {
				filter := session.Subscriptions[i].Filter
				if _, inner, shared, err := topic.ParseShared(filter); err == nil && shared {
					delete(candidates, inner)
				}
				delete(candidates, filter)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	due := map[string][]string{}
	before := s.unused
	s.unused = map[string]unusedFilter{}
	for name, revision := range candidates {
		u, known := before[name]
		if !known || u.revision != revision {
			u = unusedFilter{revision, now}
		}
		s.unused[name] = u
		if now.Sub(u.since) >= s.m.opts.FilterGrace {
			due[topic.First(name)] = append(due[topic.First(name)], name)
		}
	}
	for first, names := range due {
		if err := s.retire(ctx, first, names); err != nil {
			return err
		}
	}
	return nil
}

// mark sets or clears the flag that keeps filters out of the list.
func (s *sweep) mark(names []string, retiring bool) {
	f := s.m.filters
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, name := range names {
		if st := f.get(name); st != nil {
			st.retiring = retiring
		}
	}
}

// retire removes filters from the list first: a list entry without a record would look like an operator's.
func (s *sweep) retire(ctx context.Context, first string, names []string) error {
	s.mark(names, true)
	defer s.mark(names, false)
	if listableTopic(first) {
		if err := s.m.lists.drop(ctx, first, names); err != nil {
			return err
		}
	}
	var retired []string
	for _, name := range names {
		done, err := s.m.filters.remove(ctx, name, s.unused[name].revision)
		if err != nil {
			return err
		}
		delete(s.unused, name)
		if done {
			retired = append(retired, name)
		} else {
			s.m.lists.touch(first)
		}
	}
	if len(retired) > 0 {
		s.retired[first] = append(s.retired[first], retired...)
		s.m.metrics.retired.Add(float64(len(retired)))
		s.m.log.Info("unused filters retired", "topic", fmt.Sprintf("%q", first), "count", len(retired))
	}
	return nil
}

// withdrew records filters of a first-level topic that Withdraw has removed.
func (s *sweep) withdrew(first string, names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.withdrawn == nil {
		s.withdrawn = map[string][]string{}
	}
	s.withdrawn[first] = append(s.withdrawn[first], names...)
}

// again removes the filters that were retired last time from the lists once more: another node that did not know yet may have put them
// back.
func (s *sweep) again(ctx context.Context) {
	s.mu.Lock()
	for first, names := range s.withdrawn {
		s.retired[first] = append(s.retired[first], names...)
	}
	s.withdrawn = nil
	s.mu.Unlock()
	for first, names := range s.retired {
		var back []string
		f := s.m.filters
		f.mu.RLock()
		for _, name := range names {
			if st := f.get(name); st != nil && !st.recorded {
				back = append(back, name)
			}
		}
		f.mu.RUnlock()
		if len(back) > 0 {
			if err := s.m.lists.drop(ctx, first, back); err != nil {
				return
			}
		}
		delete(s.retired, first)
	}
}
