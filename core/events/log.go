package events

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/internal/repeat"
)

// Bounds of what waits to be stored.
const (
	// MostWaiting is Options.Most where it is not set.
	MostWaiting  = 16_384
	waitingBytes = 16 << 20
	// together is how many events are given to the store at a time.
	together = 256
	// maxText bounds a text of an event, in bytes.
	maxText = 8 << 10
)

// Options configure a Log.
type Options struct {
	Node string
	// Store stores messages in their order and returns how many of them, from the first on, are stored. It is called by one goroutine.
	Store func(ctx context.Context, batch []*store.Message) (int, error)
	// Most and Bytes bound what waits to be stored; 0: 16,384 events, 16 MiB.
	Most  int
	Bytes int64
	// Pauses are the least and the longest pause after a failure; 0: 100 ms and 5 s.
	Pause, LongestPause time.Duration
	Log                 *slog.Logger
	Registerer          prometheus.Registerer
}

// Log takes events and has them stored. Life: New, Start, Close.
type Log struct {
	o       Options
	run     int64
	metrics *metrics
	wake    chan struct{}
	cancel  context.CancelFunc
	done    chan struct{}

	mu      sync.Mutex
	seq     uint64
	waiting []*store.Message
	bytes   int64
	closing bool
}

// New makes a Log; Start begins to store.
func New(o Options) *Log {
	o.Most, o.Bytes = cmp.Or(o.Most, MostWaiting), cmp.Or(o.Bytes, waitingBytes)
	o.Pause, o.LongestPause = cmp.Or(o.Pause, 100*time.Millisecond), cmp.Or(o.LongestPause, 5*time.Second)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	l := &Log{o: o, run: time.Now().UnixMilli(), wake: make(chan struct{}, 1), done: make(chan struct{})}
	l.metrics = newMetrics(o.Registerer, l)
	return l
}

// On reports whether anybody wants events.
func (l *Log) On() bool { return l != nil }

// Add takes an event. It does not wait: what there is no room for is left out, and its number is missing.
func (l *Log) Add(e Event) {
	if l == nil {
		return
	}
	for _, text := range []*string{&e.ClientID, &e.User, &e.Topic, &e.Queue, &e.Cause} {
		if len(*text) > maxText {
			*text = (*text)[:maxText] + "…"
		}
	}
	for i := range e.Filters {
		if f := &e.Filters[i].Filter; len(*f) > maxText {
			*f = (*f)[:maxText] + "…"
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seq++
	e.Node, e.Run, e.Seq, e.Time = l.o.Node, l.run, l.seq, time.Now().UTC()
	payload, err := encode(e)
	if err != nil || l.closing || len(l.waiting) >= l.o.Most || l.bytes+int64(len(payload)) > l.o.Bytes {
		l.metrics.leftOut.Inc()
		return
	}
	l.bytes += int64(len(payload))
	l.waiting = append(l.waiting, &store.Message{Topic: e.Kind.Topic(), Payload: payload, QoS: 1, Created: e.Time,
		Properties: &store.Properties{PayloadFormat: 1, HasFormat: true, ContentType: "application/json"}})
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// encode returns an event as JSON. It escapes no characters for HTML, which would make some texts six times as long.
func encode(e Event) ([]byte, error) {
	var b bytes.Buffer
	j := json.NewEncoder(&b)
	j.SetEscapeHTML(false)
	err := j.Encode(e)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// Start begins to store what is added.
func (l *Log) Start() {
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	go func() {
		defer close(l.done)
		l.serve(ctx)
	}()
}

// Close stores what waits, as far as it can until ctx ends, and takes nothing any more.
func (l *Log) Close(ctx context.Context) {
	l.mu.Lock()
	l.closing = true
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
	select {
	case <-l.done:
	case <-ctx.Done():
	}
	l.cancel()
	<-l.done
	if left := l.left(); left > 0 {
		l.metrics.leftOut.Add(float64(left))
		l.o.Log.Warn("events were not stored before the stop", "events", left)
	}
}

// left is how many events wait.
func (l *Log) left() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.waiting)
}

// serve stores what is added until ctx ends, or until nothing waits once the Log is closing.
func (l *Log) serve(ctx context.Context) {
	failures := repeat.New(l.o.Log, 0)
	defer failures.Close()
	pause := l.o.Pause
	for {
		batch, closing := l.next()
		if len(batch) == 0 {
			if closing {
				return
			}
			select {
			case <-ctx.Done():
				return
			case <-l.wake:
			}
			continue
		}
		n, err := l.o.Store(ctx, batch)
		l.metrics.stored.Add(float64(n))
		switch {
		case ctx.Err() != nil:
			l.stored(n)
			return
		case errors.Is(err, store.ErrTooLarge):
			l.metrics.leftOut.Inc() // trying again does not help
			l.stored(n + 1)
			failures.Warn("too large", "an event is too large for the store; it is left out", "topic", batch[n].Topic, "error", err)
			continue
		}
		l.stored(n)
		if err == nil {
			pause = l.o.Pause
			continue
		}
		failures.Warn("store", "events cannot be stored; trying again", "error", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, l.o.LongestPause)
	}
}

// next returns what is stored next.
func (l *Log) next() (batch []*store.Message, closing bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append(batch, l.waiting[:min(len(l.waiting), together)]...), l.closing
}

// stored removes the first n events that wait.
func (l *Log) stored(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, m := range l.waiting[:n] {
		l.bytes -= int64(len(m.Payload))
		l.waiting[i] = nil
	}
	l.waiting = l.waiting[n:]
	if len(l.waiting) == 0 {
		l.waiting = nil // gives the memory of a burst back
	}
}
