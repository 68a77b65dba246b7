package backlog

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/lmqgate/lmqgate/internal/wait"
	"github.com/prometheus/client_golang/prometheus"
)

// Largest is how many sessions, and how many groups, a Summary names.
const Largest = 20

const (
	// rest is the ratio of pause to counting: a Counter pauses rest times as long as it counted.
	rest = 4
	// shortestRest is the shortest pause worth making.
	shortestRest = 10 * time.Millisecond
	// patience bounds the count of one session or group.
	patience = 30 * time.Second
	// failures is how many consecutive failures end a round: the store or the metadata is away.
	failures = 10
)

// Source provides what this node counts.
type Source interface {
	// Sessions returns the client ids of the sessions that this node counts.
	Sessions(ctx context.Context) ([]string, error)
	// Session counts the backlog of a client: its stored and unacknowledged messages.
	Session(ctx context.Context, client string) (int64, error)
	// Groups returns the shared groups that this node counts.
	Groups(ctx context.Context) ([]string, error)
	// Group counts the backlog of a group.
	Group(ctx context.Context, group string) (int64, error)
}

// Count is the backlog of one session or group.
type Count struct {
	Name     string `json:"name"`
	Messages int64  `json:"messages"`
}

// Summary is the result of one round.
type Summary struct {
	// At is when the round ended; zero before the end of the first round.
	At   time.Time     `json:"at,omitzero"`
	Took time.Duration `json:"took"`
	// Messages is the sum over the counted sessions; Behind is how many of them have a backlog.
	Messages int64 `json:"messages"`
	Behind   int   `json:"behind"`
	Counted  int   `json:"counted"`
	// Sessions and Groups are the largest backlogs, largest first.
	Sessions []Count `json:"sessions"`
	Groups   []Count `json:"groups"`
}

// Options configure a Counter.
type Options struct {
	Source Source
	// Interval is the pause between two rounds; 0: 10 s.
	Interval   time.Duration
	Log        *slog.Logger
	Registerer prometheus.Registerer
}

// Counter counts backlogs in the background. Life cycle: New, Start, Close.
type Counter struct {
	o      Options
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu     sync.Mutex
	latest Summary
}

// New makes a Counter.
func New(o Options) *Counter {
	o.Interval = cmp.Or(o.Interval, 10*time.Second)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	c := &Counter{o: o, cancel: func() {}}
	if o.Registerer != nil {
		o.Registerer.MustRegister(newMetrics(c))
	}
	return c
}

// Start starts counting.
func (c *Counter) Start() {
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	c.done.Go(func() {
		for ctx.Err() == nil {
			if s, err := c.round(ctx); err == nil {
				c.mu.Lock()
				c.latest = s
				c.mu.Unlock()
			} else if ctx.Err() == nil {
				c.o.Log.Debug("counting the backlog failed; what was counted before stays", "error", err)
			}
			_ = wait.For(ctx, c.o.Interval)
		}
	})
}

// Close stops counting.
func (c *Counter) Close() {
	c.cancel()
	c.done.Wait()
}

// Latest returns the result of the last round.
func (c *Counter) Latest() Summary {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.latest
}

// round counts everything once.
func (c *Counter) round(ctx context.Context) (Summary, error) {
	began := time.Now()
	var s Summary
	var p pace
	names, err := c.o.Source.Sessions(ctx)
	if err == nil {
		err = p.rest(ctx, time.Since(began)) // listing a million sessions is work too, of the metadata above all
	}
	if err != nil {
		return s, err
	}
	err = p.each(ctx, names, c.o.Source.Session, func(name string, n int64) {
		s.Counted++
		if n > 0 {
			s.Behind++
			s.Messages += n
			s.Sessions = keepLargest(s.Sessions, Count{name, n})
		}
	})
	if err == nil {
		names, err = c.o.Source.Groups(ctx)
	}
	if err != nil {
		return s, err
	}
	err = p.each(ctx, names, c.o.Source.Group, func(name string, n int64) {
		if n > 0 {
			s.Groups = keepLargest(s.Groups, Count{name, n})
		}
	})
	s.At, s.Took = time.Now(), time.Since(began)
	return s, err
}

// pace counts sequentially, with pauses in between.
type pace struct{ owed time.Duration }

// rest pauses after work that took some time, or adds the pause to that after the next work if it is short.
func (p *pace) rest(ctx context.Context, worked time.Duration) error {
	p.owed += rest * worked
	if p.owed <= shortestRest {
		return nil
	}
	owed := p.owed
	p.owed = 0
	return wait.For(ctx, owed)
}

// each counts for each name and passes the counts to f. It skips counts that fail, and returns an error if too many fail in a row.
func (p *pace) each(ctx context.Context, names []string, count func(context.Context, string) (int64, error), f func(string, int64)) error {
	failed := 0
	for _, name := range names {
		began := time.Now()
		limited, cancel := context.WithTimeout(ctx, patience)
		n, err := count(limited, name)
		cancel()
		if err := p.rest(ctx, time.Since(began)); err != nil {
			return err
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			failed = 0
			f(name, n)
		default:
			if failed++; failed >= failures || failed >= len(names) {
				return err
			}
		}
	}
	return nil
}

// keepLargest inserts c into a list of the largest counts, largest first.
func keepLargest(list []Count, c Count) []Count {
	at, _ := slices.BinarySearchFunc(list, c, func(a, b Count) int {
		return cmp.Or(cmp.Compare(b.Messages, a.Messages), cmp.Compare(a.Name, b.Name))
	})
	if at == Largest {
		return list
	}
	list = slices.Insert(list, at, c)
	return list[:min(len(list), Largest)]
}

// Merge combines the summaries of several nodes. Its time is that of the oldest.
func Merge(of []Summary) Summary {
	var out Summary
	for i, s := range of {
		if i == 0 || s.At.Before(out.At) {
			out.At = s.At
		}
		out.Took = max(out.Took, s.Took)
		out.Messages += s.Messages
		out.Behind += s.Behind
		out.Counted += s.Counted
		for _, c := range s.Sessions {
			out.Sessions = keepLargest(out.Sessions, c)
		}
		for _, c := range s.Groups {
			out.Groups = keepLargest(out.Groups, c)
		}
	}
	return out
}
