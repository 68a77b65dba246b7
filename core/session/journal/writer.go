package journal

import "sync"

// Keeper stores the states of a session.
type Keeper interface {
	// Run runs f in a goroutine, or not at all if the session's node stops.
	Run(f func())
	// Prepare runs before each Store. If it fails, nothing is stored.
	Prepare() error
	// Store stores the session's present state.
	Store() error
	// Failed is called with an error of Prepare or Store, before the waiting callbacks are.
	Failed(err error)
}

// Writer stores states, one at a time. Callers that come during a write share the next one. Its mutex is a leaf lock.
type Writer struct {
	// Keeper is set before the first use.
	Keeper Keeper

	mu      sync.Mutex
	writing bool
	unsaved bool // something was noted that is not stored yet
	waiting []func(error)
}

// Note stores the present state, or a later one, and then calls done from another goroutine.
func (w *Writer) Note(done func(error)) {
	w.mu.Lock()
	w.waiting, w.unsaved = append(w.waiting, done), true
	start := !w.writing
	w.writing = true
	w.mu.Unlock()
	if start {
		w.Keeper.Run(w.run)
	}
}

func (w *Writer) run() {
	for w.pending() {
		err := w.Keeper.Prepare()
		waiting := w.take()
		if err == nil {
			err = w.Keeper.Store()
		}
		if err != nil {
			w.Keeper.Failed(err)
		} else {
			w.saved()
		}
		for _, done := range waiting {
			done(err)
		}
	}
}

// Unsaved reports whether something was noted that is not stored yet. After a failure that may last until the next Note.
func (w *Writer) Unsaved() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.unsaved
}

// saved marks everything as stored that was noted before the write.
func (w *Writer) saved() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unsaved = len(w.waiting) > 0
}

// pending reports whether any caller waits. If none does, it marks the writer as idle.
func (w *Writer) pending() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writing = len(w.waiting) > 0
	return w.writing
}

func (w *Writer) take() []func(error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	waiting := w.waiting
	w.waiting = nil
	return waiting
}
