package meta

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lmqgate/lmqgate/core/topic"
)

// lists also writes registered filters to LMQ/{topic}, for the gateways of Apache RocketMQ MQTT, as long as a first-level topic has few of
// them. It runs asynchronously behind RegisterFilters: only the record counts, and those gateways read the list only every five seconds.
type lists struct {
	m *Meta
	// editing has room for one token, held while a list is read, changed and written on this node. Waiting ends when the caller's context
	// ends.
	editing chan struct{}
	wake    chan struct{}

	mu    sync.Mutex
	dirty map[string]struct{}
	// left holds the first-level topics whose list has lost registered filters, lately and before the last heal.
	left, leftBefore map[string]struct{}
}

// Pauses of run: after a touch, so that a burst becomes one write (debounce), and after a failure.
const (
	listDelay = 100 * time.Millisecond
	listRetry = 5 * time.Second
)

func newLists(m *Meta) *lists {
	return &lists{m: m, editing: make(chan struct{}, 1), wake: make(chan struct{}, 1),
		dirty: map[string]struct{}{}, left: map[string]struct{}{}}
}

// listableFilter reports whether a filter belongs in LMQ/{topic}. Filters without wildcards do not: Apache RocketMQ MQTT sends to their
// queues anyway.
func listableFilter(name string) bool {
	return topic.IsWildcard(name) && !topic.HasWildcardFirst(name) && listableTopic(topic.First(name)) &&
		!strings.HasPrefix(name, "/") && !strings.Contains(name, ",") && name == strings.TrimSpace(name)
}

// touch marks the list of a first-level topic whose filters have changed.
func (l *lists) touch(first string) {
	if !listableTopic(first) {
		return
	}
	l.mu.Lock()
	l.dirty[first] = struct{}{}
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// run writes lists until ctx ends.
func (l *lists) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.wake:
		}
		delay := listDelay
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(delay):
			}
			l.mu.Lock()
			dirty := l.dirty
			l.dirty = map[string]struct{}{}
			l.mu.Unlock()
			if len(dirty) == 0 {
				break
			}
			delay = listDelay
			for first := range dirty {
				if err := l.fill(ctx, first); err != nil && ctx.Err() == nil {
					l.m.log.Warn("filters not written for upstream's gateways; will be tried again", "key", "LMQ/"+first, "error", err)
					delay = listRetry
					l.touch(first)
				}
			}
		}
	}
}

// missing returns the filters of first that have a record but are not in the list, as far as the list has room.
func (l *lists) missing(first string) []string {
	f := l.m.filters
	f.mu.RLock()
	defer f.mu.RUnlock()
	room := l.m.opts.ListedFilters - len(f.listed[first])
	var names []string
	for name, st := range f.byFirst[first] {
		if len(names) >= room {
			break
		}
		if st.recorded && !st.retiring && st.lists == 0 && listableFilter(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// fill adds the missing filters to LMQ/{first}. If only one node uses the backend, there are no other gateways to read the list.
func (l *lists) fill(ctx context.Context, first string) error {
	if !l.m.traits().GetShared() {
		return nil
	}
	names := l.missing(first)
	if len(names) == 0 {
		return nil
	}
	f := l.m.filters
	return l.m.editList(ctx, first, func(items []string) []string {
		f.mu.RLock()
		defer f.mu.RUnlock()
		for _, name := range names {
			if st := f.get(name); st == nil || !st.recorded || st.retiring {
				continue // removed since: a list entry without a record would look like an operator's
			}
			if len(items) < l.m.opts.ListedFilters && !slices.Contains(items, name) {
				items = append(items, name)
			}
		}
		return items
	})
}

// drop removes filters from LMQ/{first}.
func (l *lists) drop(ctx context.Context, first string, names []string) error {
	return l.m.editList(ctx, first, func(items []string) []string {
		return slices.DeleteFunc(items, func(item string) bool { return slices.Contains(names, item) })
	})
}

// refill touches every first-level topic, to catch up on filters that were registered while a list could not be written.
func (l *lists) refill() {
	f := l.m.filters
	f.mu.RLock()
	firsts := make([]string, 0, len(f.byFirst))
	for first := range f.byFirst {
		firsts = append(firsts, first)
	}
	f.mu.RUnlock()
	for _, first := range firsts {
		l.touch(first)
	}
}

// lose notes that LMQ/{first} has lost a filter that has a record: an operator has replaced the list, or another node is retiring the
// filter and removes its record next.
func (l *lists) lose(first string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.left[first] = struct{}{}
}

// heal touches the lists that had lost filters by the last call. It is called so rarely that the records of filters which were retired are
// known to be gone.
func (l *lists) heal() {
	l.mu.Lock()
	due := l.leftBefore
	l.leftBefore, l.left = l.left, map[string]struct{}{}
	l.mu.Unlock()
	for first := range due {
		l.touch(first)
	}
}
