package local

import (
	"fmt"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/lmqgate/lmqgate/core/store"
)

// writable returns why nothing can be written now, or nil.
func (s *Store) writable() error {
	if err := s.failure.Load(); err != nil {
		return *err
	}
	if err := s.stalled.Load(); err != nil {
		return *err
	}
	if t := s.trouble.Load(); t != nil && time.Since(t.at) < troubleLasts {
		return fmt.Errorf(
			"local store: pebble cannot write its tables to %q and tries again (%w): %w",
			s.opts.Path,
			t.err,
			store.ErrUnavailable,
		)
	}
	if s.full.Load() {
		return fmt.Errorf("local store: less than %d bytes are free on the disk of %q; free some: %w",
			s.opts.MinFree, s.opts.Path, store.ErrUnavailable)
	}
	return nil
}

// fail records the first error that prevents all further writes.
func (s *Store) fail(cause error) {
	cause = inBrief(cause)
	err := fmt.Errorf("local store: writing to %q failed (%w); check the disk and restart: %w", s.opts.Path, cause, store.ErrUnavailable)
	if s.failure.CompareAndSwap(nil, &err) {
		s.opts.Log.Error("local store failed and refuses all writes until restart; check the disk", "path", s.opts.Path, "error", cause)
		go s.failInFlight(err) // it waits for nothing and ends by itself
	}
}

// troubleLasts is how long appends are refused after an error in pebble's background work, which pebble retries.
const troubleLasts = 5 * time.Second

type trouble struct {
	err error
	at  time.Time
}

func (s *Store) backgroundError(err error) {
	err = inBrief(err)
	before := s.trouble.Swap(&trouble{err: err, at: time.Now()})
	if before == nil || time.Since(before.at) >= troubleLasts { // it may come thousands of times a second
		s.opts.Log.Error("local store: pebble cannot write its tables and retries; appends are refused; check the disk",
			"path", s.opts.Path, "error", err)
	}
}

// apply writes a batch, and waits for the disk if o says so.
func (s *Store) apply(b *pebble.Batch, o *pebble.WriteOptions) error {
	return s.writableAfter(s.db.Apply(b, o))
}

// writableAfter converts the outcome of a write into an error. Pebble reports a failure of its log through the logger and returns nil, so
// the store's failure is checked too.
func (s *Store) writableAfter(err error) error {
	if err != nil {
		s.fail(err)
	}
	if failure := s.failure.Load(); failure != nil {
		return *failure
	}
	return nil
}

// maxBrief bounds the text of an error from pebble, in bytes.
const maxBrief = 300

// brief is an error from pebble, shortened to one line. The original text may contain the stack of its origin, and formatting it with %+v,
// as slog does, adds another.
type brief struct {
	err  error
	text string
}

// inBrief shortens an error from pebble. Every such error must pass through it before it reaches callers or the log.
func inBrief(err error) error {
	if err == nil {
		return nil
	}
	text, _, cut := strings.Cut(err.Error(), "\n")
	if len(text) > maxBrief {
		text, cut = strings.ToValidUTF8(text[:maxBrief], ""), true
	}
	if cut {
		text += " ..."
	}
	return &brief{err, text}
}

// Error implements error.
func (b *brief) Error() string { return b.text }

// Unwrap lets errors.Is find the cause.
func (b *brief) Unwrap() error { return b.err }
