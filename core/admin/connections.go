package admin

import (
	"net"
	"net/http"
	"sync"
	"time"
)

// mostConnections bounds the connections of the admin server, which anybody who reaches its address can open.
const mostConnections = 256

// connections are the open connections of the server. Beyond mostConnections, a new one closes the one that has had no request for longest.
// The zero value is ready.
type connections struct {
	mu   sync.Mutex
	open map[net.Conn]time.Time // since when there is no request; zero: one is being answered
}

// changed is for http.Server.ConnState.
func (c *connections) changed(nc net.Conn, s http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch s {
	case http.StateNew:
		if len(c.open) >= mostConnections {
			c.makeRoom(nc)
		}
		if c.open == nil {
			c.open = make(map[net.Conn]time.Time)
		}
		c.open[nc] = time.Now()
	case http.StateIdle:
		c.open[nc] = time.Now()
	case http.StateActive:
		c.open[nc] = time.Time{}
	case http.StateHijacked, http.StateClosed:
		delete(c.open, nc)
	}
}

// makeRoom closes the connection that has waited longest for a request, or the new one if all are answering. Called with mu held.
func (c *connections) makeRoom(nc net.Conn) {
	oldest := nc
	since := time.Now()
	for other, at := range c.open {
		if !at.IsZero() && at.Before(since) {
			oldest, since = other, at
		}
	}
	_ = oldest.Close()
	delete(c.open, oldest)
}
