package main

import (
	"sync"
	"time"
)

// meeting pairs calls: a fault that needs two of them at once shows then, however busy the machine is.
type meeting struct {
	mu      sync.Mutex
	waiting chan struct{} // closed by the second call of a pair; nil if none waits
}

// wait returns when another call waits too, or after the given time.
func (m *meeting) wait(atMost time.Duration) {
	m.mu.Lock()
	if first := m.waiting; first != nil {
		m.waiting = nil
		m.mu.Unlock()
		close(first)
		return
	}
	second := make(chan struct{})
	m.waiting = second
	m.mu.Unlock()
	select {
	case <-second:
	case <-time.After(atMost):
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.waiting == second {
			m.waiting = nil
		}
	}
}
