package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lmqgate/lmqgate/plugins/internal/trustedfile"
	"github.com/lmqgate/lmqgate/plugins/internal/webclient"
	"github.com/lmqgate/lmqgate/plugins/sdk"
)

const (
	// demandEvery is the shortest interval between two reads that tokens with unknown key ids trigger.
	demandEvery = 10 * time.Second
	// demandWait is how long such a token waits for the read.
	demandWait = 2 * time.Second
	// retryFirst and retryLast bound the back-off after failed reads; it never exceeds refresh.
	retryFirst, retryLast = time.Second, 30 * time.Second
)

// source is a key set in a file or at a URL, with its last content. If the set can no longer be read, its keys stay in use for max_stale.
type source struct {
	jwksConfig
	name   string // for logs; no query
	client *webclient.Client
	header http.Header
	path   string
	log    *slog.Logger

	read    atomic.Pointer[reading]
	trouble atomic.Pointer[string] // why the last read failed; nil if it succeeded

	// mu guards the fields below.
	mu       sync.Mutex
	flight   chan struct{} // closed when the current or requested read has ended; nil if there is none
	demanded time.Time
	kick     chan struct{} // has an element when a read was requested
}

// reading is a snapshot of a source.
type reading struct {
	keys keys
	at   time.Time
}

func newSource(c jwksConfig, setup sdk.Setup, at string) (*source, []sdk.Problem) {
	s := &source{jwksConfig: c, log: setup.Log, kick: make(chan struct{}, 1)}
	if c.File != "" {
		s.path = setup.Path(c.File)
		s.name = s.path
		if err := trustedfile.CheckSecret(s.path); s.secret() && err != nil {
			return s, []sdk.Problem{sdk.Problemf(at+".file", "%s %v", c.File, err)}
		}
		return s, nil
	}
	s.name, _, _ = strings.Cut(c.URL, "?")
	s.header = webclient.Headers(c.Headers)
	client, problems := webclient.New(setup, at+".tls", webclient.Options{TLS: c.TLS, MaxConnections: 2, MaxAnswer: maxSetBytes})
	s.client = client
	return s, problems
}

// secret reports whether the set's shared secrets would be used, so that nobody else may read them.
func (s *source) secret() bool {
	return slices.ContainsFunc(s.Algorithms, func(alg string) bool { return strings.HasPrefix(alg, "HS") })
}

// announce marks that a read is about to begin, so that tokens wait for it.
func (s *source) announce() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flight == nil {
		s.flight = make(chan struct{})
	}
	select {
	case <-s.kick: // this read also serves the pending request
	default:
	}
}

// run reads the source periodically until ctx ends.
func (s *source) run(ctx context.Context) {
	pause := retryFirst
	for {
		wait := s.Refresh - rand.N(s.Refresh/10+1)
		if err := s.refresh(ctx); err != nil {
			wait = min(pause, s.Refresh)
			pause = min(2*pause, retryLast)
		} else {
			pause = retryFirst
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			if s.client != nil {
				s.client.Close()
			}
			return
		case <-timer.C:
		case <-s.kick:
			timer.Stop()
		}
	}
}

// refresh reads the source once.
func (s *source) refresh(ctx context.Context) error {
	s.announce()
	defer func() {
		s.mu.Lock()
		close(s.flight)
		s.flight = nil
		s.mu.Unlock()
	}()
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	set, passed, err := s.fetch(ctx)
	if err != nil {
		why := err.Error()
		if last := s.trouble.Swap(&why); (last == nil || *last != why) && !errors.Is(err, context.Canceled) {
			s.log.Warn("a set of keys cannot be read; what was read before is used", "source", s.name, "error", why)
		}
		return err
	}
	before := s.read.Swap(&reading{set, time.Now()})
	if s.trouble.Swap(nil) != nil || before == nil || len(before.keys) != len(set) {
		s.log.Info("a set of keys was read", "source", s.name, "keys", len(set), "passed over", strings.Join(passed, "; "))
	}
	return nil
}

func (s *source) fetch(ctx context.Context) (set keys, passed []string, err error) {
	var text []byte
	if s.path != "" {
		read := trustedfile.Read
		if s.secret() {
			read = trustedfile.ReadSecret
		}
		text, err = read(s.path, maxSetBytes)
	} else {
		var a *webclient.Answer
		if a, err = s.client.Do(ctx, http.MethodGet, s.URL, s.header, nil); err == nil {
			if text = a.Body; a.Status != http.StatusOK {
				err = fmt.Errorf("it answered with the status %d", a.Status)
			}
		}
	}
	if err != nil {
		return nil, nil, err
	}
	return parseSet(text, s.Algorithms)
}

// usable returns the keys that may be used now.
func (s *source) usable() keys {
	r := s.read.Load()
	if r == nil || s.MaxStale > 0 && time.Since(r.at) > s.MaxStale {
		return nil
	}
	return r.keys
}

// demand requests a read of the source, because a token names an unknown key, and waits for the result. It triggers at most one read per
// demandEvery, however many tokens arrive.
func (s *source) demand(ctx context.Context) {
	s.mu.Lock()
	if s.flight == nil {
		if time.Since(s.demanded) < demandEvery {
			s.mu.Unlock()
			return
		}
		s.demanded = time.Now()
		s.flight = make(chan struct{})
		select {
		case s.kick <- struct{}{}:
		default: // a pending request serves as well
		}
	}
	done := s.flight
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, demandWait)
	defer cancel()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// health returns why there are no keys, or nil.
func (s *source) health() error {
	if len(s.usable()) > 0 {
		return nil
	}
	why := "it is being read"
	if trouble := s.trouble.Load(); trouble != nil {
		why = *trouble
	}
	if s.read.Load() != nil {
		why = fmt.Sprintf("the keys that were read are older than max_stale (%s): %s", s.MaxStale, why)
	}
	return fmt.Errorf("no keys from %s: %s", s.name, why)
}
