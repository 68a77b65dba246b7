package gateway

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/lmqgate/lmqgate/core/admin"
	"github.com/lmqgate/lmqgate/core/trace"
	"github.com/lmqgate/lmqgate/internal/wait"
)

// askTrace is a question between nodes: traceQuestion -> the events that were not taken yet.
const askTrace = "trace"

const (
	// tracePoll is how often other nodes are asked for their events. traceForgotten is how long after the last question a node ends a
	// watch.
	tracePoll      = time.Second
	traceForgotten = 15 * time.Second
)

// traceQuestion asks a node to watch, and to return what it has seen since the last question.
type traceQuestion struct {
	ID   string `json:"id"`
	Over bool   `json:"over,omitempty"` // the watch is over
	// Viewer is set if a viewer asks; earlier releases do not say.
	Viewer bool `json:"viewer,omitempty"`
	trace.Match
}

// traces holds the watches of this node that other nodes ask about.
type traces struct {
	mu   sync.Mutex
	byID map[string]*askedFor
}

type askedFor struct {
	*trace.Watch
	forget *time.Timer
}

// traced answers a traceQuestion.
func (g *Gateway) traced(q traceQuestion) ([]trace.Entry, error) {
	t := &g.traces
	t.mu.Lock()
	defer t.mu.Unlock()
	w := t.byID[q.ID]
	switch {
	case q.Over:
		if w != nil {
			t.end(q.ID)
		}
		return []trace.Entry{}, nil
	case w == nil:
		watch, err := g.tracer.Watch(q.Match, q.Viewer)
		if err != nil {
			return nil, err
		}
		if t.byID == nil {
			t.byID = make(map[string]*askedFor)
		}
		w = &askedFor{watch, time.AfterFunc(traceForgotten, func() {
			t.mu.Lock()
			defer t.mu.Unlock()
			if t.byID[q.ID] != nil {
				t.end(q.ID)
			}
		})}
		t.byID[q.ID] = w
	default:
		w.forget.Reset(traceForgotten)
	}
	return append([]trace.Entry{}, w.Take()...), nil
}

// end ends a watch. Called with mu held.
func (t *traces) end(id string) {
	t.byID[id].forget.Stop()
	t.byID[id].Close()
	delete(t.byID, id)
}

// stop ends all watches.
func (t *traces) stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id := range t.byID {
		t.end(id)
	}
}

// watching is a watch on the whole cluster.
type watching struct {
	here   *trace.Watch
	others chan []trace.Entry
	end    context.CancelFunc
	done   sync.WaitGroup
}

// Trace starts watching on every node.
func (b *backend) Trace(m trace.Match, viewer bool) (admin.Watching, error) {
	here, err := b.g.tracer.Watch(m, viewer)
	switch {
	case errors.Is(err, trace.ErrTooMany):
		return nil, admin.Conflict("%w", err)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", admin.ErrInvalid, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	w := &watching{here: here, others: make(chan []trace.Entry, 1), end: cancel}
	b.g.log.Info("an operator traces", "client", m.ClientID, "topic", m.Topic, "address", m.Address)
	if b.g.cluster != nil {
		w.done.Go(func() { w.follow(ctx, b, traceQuestion{ID: rand.Text(), Viewer: viewer, Match: m}) })
	}
	return w, nil
}

// follow asks the other nodes until ctx ends, and then tells them that the watch is over.
func (w *watching) follow(ctx context.Context, b *backend, q traceQuestion) {
	told := map[string]bool{}
	for {
		answers, missing := ask[[]trace.Entry](ctx, b.g.cluster, askTrace, q)
		var events []trace.Entry
		for _, a := range answers {
			events = append(events, a.what...)
		}
		for _, m := range missing {
			if ctx.Err() == nil && !told[m.Node] {
				told[m.Node] = true
				events = append(events, trace.Entry{Time: time.Now(), Node: m.Node, What: trace.LeftOut,
					Reason: "the node did not answer: " + m.Error})
			}
		}
		if len(events) > 0 {
			select {
			case w.others <- events:
			case <-ctx.Done():
			}
		}
		if wait.For(ctx, tracePoll) != nil {
			break
		}
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	q.Over = true
	_, _ = ask[[]trace.Entry](last, b.g.cluster, askTrace, q) // a node that does not get it ends the watch by itself
}

// Next implements admin.Watching.
func (w *watching) Next(ctx context.Context) ([]trace.Entry, error) {
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case events := <-w.others:
			return events, nil
		case <-w.here.More():
			if events := w.here.Take(); len(events) > 0 {
				return events, nil
			}
		}
	}
}

// Close implements admin.Watching.
func (w *watching) Close() {
	w.here.Close()
	w.end()
	w.done.Wait()
}
