package session

import "sync"

// turns is the queue of feeds that have something to read. It also tracks whether a pump is running. Its mutex is a leaf lock: package
// delivery calls ready with its own locks held.
type turns struct {
	mu      sync.Mutex
	line    []*feed
	running bool
	again   bool // something arrived since the pump last looked
}

// ready puts a feed in line, unless it is nil or in line already. It reports whether the caller must start a pump.
func (t *turns) ready(f *feed) (start bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if f != nil && !f.queued {
		f.queued = true
		t.line = append(t.line, f)
	}
	start = !t.running
	t.running, t.again = true, true
	return start
}

// next takes the first feed in line; nil if there is none.
func (t *turns) next() *feed {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.line) == 0 {
		t.line = nil
		return nil
	}
	f := t.line[0]
	t.line[0] = nil
	t.line = t.line[1:]
	f.queued = false
	return f
}

// look is called by the pump before it looks for work.
func (t *turns) look() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.again = false
}

// rest reports whether the pump may end: nothing has arrived since it last looked.
func (t *turns) rest() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.running = t.again
	return !t.running
}

// wake makes the pump run.
func (s *Session) wake() { s.feedReady(nil) }

// feedReady makes the pump read a feed. It may be called with locks of package delivery held.
func (s *Session) feedReady(f *feed) {
	if s.turns.ready(f) {
		s.m.run(s.pump)
	}
}
