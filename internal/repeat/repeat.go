// Package repeat logs what would otherwise flood a log: the first line of a kind at once, and the following ones as one periodic line with
// their number.
package repeat

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	// Every is the interval at which a repeated kind is logged.
	Every = 30 * time.Second
	// maxKinds bounds the kinds that are counted separately. Further kinds are counted together.
	maxKinds = 256
)

// Log logs repeated lines. Its only goroutines are those of timers; Close stops them. All methods are safe for concurrent use.
type Log struct {
	log   *slog.Logger
	every time.Duration

	mu     sync.Mutex
	kinds  map[string]*kind
	closed bool
}

// kind is the state of one kind within the current period.
type kind struct {
	name  string
	timer *time.Timer
	// times counts the occurrences since the last line; last is the newest.
	times int
	last  slog.Record
}

// New makes a Log. every is the interval at which a repeated kind is logged; 0: Every.
func New(log *slog.Logger, every time.Duration) *Log {
	if every <= 0 {
		every = Every
	}
	return &Log{log: log, every: every, kinds: make(map[string]*kind)}
}

// Warn logs a line of a kind: at once if it is the first for a while, otherwise with a count at the end of the period. The kind is what the
// lines have in common, such as a broker's name. The line with the count is the newest one.
func (l *Log) Warn(name, msg string, args ...any) { l.add(slog.LevelWarn, name, msg, args) }

// Error is Warn at the level of errors.
func (l *Log) Error(name, msg string, args ...any) { l.add(slog.LevelError, name, msg, args) }

func (l *Log) add(level slog.Level, name, msg string, args []any) {
	rec := slog.NewRecord(time.Now(), level, msg, 0)
	rec.Add(args...)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.kinds[name] == nil && len(l.kinds) >= maxKinds {
		name = "" // a name that no caller uses
	}
	k := l.kinds[name]
	if k == nil || l.closed {
		if !l.closed {
			k = &kind{name: name}
			k.timer = time.AfterFunc(l.every, func() { l.due(k) })
			l.kinds[name] = k
		}
		l.write(rec)
		return
	}
	k.times++
	k.last = rec
}

// due ends a kind's period. A kind without new occurrences is forgotten.
func (l *Log) due(k *kind) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	if k.times == 0 {
		delete(l.kinds, k.name)
		return
	}
	l.sum(k)
	k.timer.Reset(l.every)
}

// sum logs the occurrences since the last line. Called with mu held.
func (l *Log) sum(k *kind) {
	k.last.AddAttrs(slog.Int("times", k.times))
	k.last.Time = time.Now()
	l.write(k.last)
	k.times, k.last = 0, slog.Record{}
}

func (l *Log) write(r slog.Record) {
	ctx := context.Background()
	if l.log.Enabled(ctx, r.Level) {
		_ = l.log.Handler().Handle(ctx, r) // a failure to write the log cannot be reported
	}
}

// Close logs the pending counts. Later lines are logged at once.
func (l *Log) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.closed = true
	for _, k := range l.kinds {
		k.timer.Stop()
		if k.times > 0 {
			l.sum(k)
		}
	}
	l.kinds = nil
}
