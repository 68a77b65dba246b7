package session

import "sync"

// turns is the line of feeds that have something to read, and whether a pump runs that takes them. Its mutex is a leaf: package
// delivery calls ready with locks held.
type turns struct {
	mu      sync.Mutex
	line    []*feed
	running bool
	again   bool // something came since the pump last looked
}

// ready puts a feed in line, unless it is there or nil; it reports whether a pump is to be started.
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

// next takes the first feed; nil if there is none.
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

// rest ends the pump, unless something came since it last looked.
func (t *turns) rest() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.running = t.again
	return !t.running
}

// wake makes the pump run.
func (s *Session) wake() { s.feedReady(nil) }

// feedReady makes the pump read a feed. It is called with locks of package delivery held.
func (s *Session) feedReady(f *feed) {
	if s.turns.ready(f) {
		s.m.run(s.pump)
	}
}
