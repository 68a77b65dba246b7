// Package storetest is the conformance suite of store.Store: it tests what the gateway relies on, whichever store is configured.
//
// The tests of a store call Run with a Factory. Each case uses first-level topics and queues that no other case uses, so all cases can
// share one running store. If a store shows a change with a delay (a remote queue index), the suite waits for it, at most Factory.Patience.
//
// Faulty wraps a store and injects faults that a real store cannot produce on demand.
package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/lmqgate/lmqgate/core/store"
)

// Factory provides the store under test and says what it can do. Only Open is required.
type Factory struct {
	// Open returns a started, ready store. The factory registers its cleanup (t.Cleanup). Open may return the same store every time.
	Open func(t *testing.T) store.Store
	// OpenCrashable returns a started store and a function that ends it without Close, as a power cut or kill -9 would, and returns the
	// store started again on what is left. Nil: the crash cases are skipped.
	OpenCrashable func(t *testing.T) (s store.Store, crash func(t *testing.T) store.Store)
	// OpenExpiring returns a started store and a function that expires all records stored before the call and returns when they are gone.
	// Nil: the retention cases are skipped.
	OpenExpiring func(t *testing.T) (s store.Store, expire func(t *testing.T))
	// Skip names cases that the store cannot pass, with the reason.
	Skip map[string]string
	// Patience is how long to wait for a change that a store shows with a delay; 0: a minute.
	Patience time.Duration
	// MaxPayload is the largest payload that must be stored, TooLarge one that must be refused, both in bytes; 0: not tested.
	MaxPayload, TooLarge int
	// InvalidTopic is a first-level topic name that the store cannot hold; "": not tested.
	InvalidTopic string
	// Epochs says that the store remembers the epoch of a client's last commit.
	Epochs bool
	// OffsetsRestart says that the offsets of a queue may begin again at 0 after all its records are gone.
	OffsetsRestart bool
	// LongestGroupQueue is the length of the longest queue name possible with a long group name, in bytes; 0: no limit.
	LongestGroupQueue int
	// Strangers says that others than the gateway write to the store, so that it must skip records that do not count. If it is false, the
	// cases about that are skipped.
	Strangers bool
	// Load scales the cases that store many records; 0: 1. A slow store uses less.
	Load float64
	// Parallel runs the cases concurrently, as far as go test's flag -parallel allows, except those that crash the store. It suits a
	// remote store, with which cases mostly wait.
	Parallel bool
}

// suite is the view of one case on the factory and the store.
type suite struct {
	Factory
	store.Store
	ctx context.Context
}

type testCase struct {
	name string
	run  func(t *testing.T, s *suite)
}

// use makes st the store of the case, whose time begins now.
func (s *suite) use(t *testing.T, st store.Store) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*s.Patience)
	t.Cleanup(cancel)
	s.Store, s.ctx = st, ctx
}

// Run runs every case against the factory's store.
func Run(t *testing.T, f Factory) {
	if f.Patience == 0 {
		f.Patience = time.Minute
	}
	if f.Load == 0 {
		f.Load = 1
	}
	f.run(t, expiryCases, f.Parallel, nil) // first, because they wait longest
	for _, list := range [][]testCase{appendCases, readCases, tailCases, offsetCases, topicCases, groupCases, strangerCases} {
		f.run(t, list, f.Parallel, func(t *testing.T, s *suite) { s.use(t, f.Open(t)) })
	}
	f.run(t, crashCases, false, nil)
}

// run runs cases. A case opens its store itself if open is nil.
func (f Factory) run(t *testing.T, cases []testCase, parallel bool, open func(t *testing.T, s *suite)) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if reason := f.Skip[c.name]; reason != "" {
				t.Skip(reason)
			}
			if parallel {
				t.Parallel()
			}
			s := &suite{Factory: f}
			if open != nil {
				open(t, s)
			}
			c.run(t, s)
		})
	}
}
