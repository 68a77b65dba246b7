package publish

import (
	"context"
	"errors"
	"fmt"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/topic"
)

// Own stores messages of the gateway itself in Options.Events, in their order, and returns how many of them, from the first on, are stored.
// key is whose order it is. Filters are looked up only where clients may read the messages.
func (p *Publisher) Own(ctx context.Context, key string, batch []*store.Message) (int, error) {
	if err := p.o.Catalog.EnsureOwn(ctx, p.o.Events, p.o.EventQueues); err != nil {
		return 0, err
	}
	if p.fencedEvents() {
		return 0, errFenced
	}
	appends := make([]store.Append, len(batch))
	for i, m := range batch {
		appends[i] = store.Append{Message: m, Topic: p.o.Events, Key: key}
		if p.o.EventsShown {
			appends[i].Queues = p.queues(p.o.Events, m.Topic)
		}
	}
	if p.fencedEvents() { // after a long stop, new filters may have been missed
		return 0, errFenced
	}
	type result struct {
		n   int
		err error
	}
	ctx, cancel := context.WithTimeout(ctx, p.o.Timeout)
	defer cancel()
	for stored := 0; ; {
		done := make(chan result, 1)
		p.o.Store.AppendBatch(ctx, appends[stored:], func(n int, _ store.Position, err error) { done <- result{n, err} })
		r := <-done
		if errors.Is(r.err, store.ErrUnknownTopic) {
			p.o.Catalog.Forget(p.o.Events) // it was deleted: make it again at the next try
		}
		if r.err != nil {
			return stored, r.err
		}
		if stored += r.n; stored == len(appends) {
			return stored, nil
		}
	}
}

// errFenced says that events wait until the node knows the filters of the others again.
var errFenced = fmt.Errorf("this node is fenced: %w", store.ErrUnavailable)

// fencedEvents reports whether events may not be stored now, because sessions of clients may miss them.
func (p *Publisher) fencedEvents() bool { return p.o.EventsShown && p.o.Held != nil && p.o.Held() }

// keepOut refuses messages of clients to topics of events, which only the gateway writes.
func (p *Publisher) keepOut(name string) error {
	if p.o.Events == "" {
		return nil
	}
	if first := topic.First(name); first == topic.Events || first == p.o.Events {
		return fmt.Errorf("%w: %q has the gateway's events, which nobody else writes", store.ErrInvalidTopic, first)
	}
	return nil
}
