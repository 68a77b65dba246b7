package delivery

import "sync"

// line is a queue of views that are to read the store, a few at a time.
type line struct {
	most int // how many read at the same time

	mu      sync.Mutex
	waiting []*queueView
	workers int
}

// run puts a view in the queue. Unless enough workers are running already, it then calls read for each view in the queue.
func (l *line) run(v *queueView, read func(*queueView)) {
	for v = l.join(v); v != nil; v = l.next() {
		read(v)
	}
}

// join puts a view in the queue and returns the first one, or nil if enough workers are running already.
func (l *line) join(v *queueView) *queueView {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting = append(l.waiting, v)
	if l.workers == l.most {
		return nil
	}
	l.workers++
	return l.take()
}

// next returns the next view; nil ends the worker.
func (l *line) next() *queueView {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) == 0 {
		l.workers--
		return nil
	}
	return l.take()
}

func (l *line) take() *queueView {
	v := l.waiting[0]
	l.waiting[0] = nil
	if l.waiting = l.waiting[1:]; len(l.waiting) == 0 {
		l.waiting = nil
	}
	return v
}
