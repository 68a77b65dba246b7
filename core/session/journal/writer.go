package journal

import "sync"

// Keeper is who stores the states of a session.
type Keeper interface {
	// Run runs a function in a goroutine, or not at all if the session's node stops.
	Run(f func())
	// Prepare does what is to be done before a state is taken. After an error of it nothing is stored.
	Prepare() error
	// Store stores the session's present state.
	Store() error
	// Failed is told of an error of the two, before those who wait are.
	Failed(err error)
}

// Writer has states stored, one at a time; what comes meanwhile shares the next one. Its mutex is a leaf.
type Writer struct {
	// Keeper is set before the first use.
	Keeper Keeper

	mu      sync.Mutex
	writing bool
	waiting []func(error)
}

// Note has the state of now, or a later one, stored and then calls done, from another goroutine.
func (w *Writer) Note(done func(error)) {
	w.mu.Lock()
	w.waiting = append(w.waiting, done)
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
		}
		for _, done := range waiting {
			done(err)
		}
	}
}

// pending reports whether somebody waits; the writer rests if nobody does.
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
