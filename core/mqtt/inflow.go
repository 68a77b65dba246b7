package mqtt

import (
	"cmp"
	"context"
	"sync/atomic"
	"time"

	"github.com/lmqgate/lmqgate/core/limits"
	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/packet"
)

// inflow is the memory of a client's messages, of any QoS, from the moment their bodies are read until their outcome is known. While the
// client or the node has no memory for the next message, the message is not read: it stays in the socket, and then with the client.
type inflow struct {
	account limits.Account
	// taken is the memory of the packet that is being read or handled. Used by the reader only.
	taken int64
	// due is the deadline for the body being read, which applies if others wait for memory, in Unix nanoseconds; 0: no body is being read.
	due atomic.Int64
}

const (
	// messageCost is the approximate memory of a message besides its bytes, with up to fewProperties user properties.
	messageCost   = 1024
	fewProperties = 16
	// propertyCost is the approximate memory of each further user property besides its bytes.
	propertyCost = 64
)

// awaitMessage takes the memory for a message whose body of n bytes is to be read next.
func (c *conn) awaitMessage(n int) error {
	var wait time.Duration
	for _, party := range c.heldTo() {
		wait = max(wait, party.messages.Take(1), party.bytes.Take(float64(n)))
	}
	if err := c.pause(wait); err != nil {
		return err
	}
	cost := int64(n) + messageCost
	waited, err := c.takeInbound(cost)
	if err != nil {
		return err
	}
	if c.reader.Buffered() >= n {
		return nil
	}
	c.inflow.due.Store(time.Now().Add(c.srv.messageTime(n)).UnixNano())
	if waited {
		return c.again() // the wait is not the client's fault: give it the full time again
	}
	return nil
}

// awaitProperties takes the memory for the many user properties of a message that was read.
func (c *conn) awaitProperties(n int) error {
	if n <= fewProperties {
		return nil
	}
	// While it waits, the message holds the memory of its bytes: the server closes the connection if that goes on.
	c.inflow.due.Store(time.Now().Add(c.srv.o.StalledAfter).UnixNano())
	defer c.inflow.due.Store(0)
	_, err := c.takeInbound(int64(n-fewProperties) * propertyCost)
	return err
}

// takeInbound adds to the memory of the packet. It waits while the client or the node has none, and reports whether it did.
func (c *conn) takeInbound(cost int64) (waited bool, err error) {
	if !c.inflow.account.Try(cost) {
		ctx, done, err := c.whileOpen()
		if err != nil {
			return true, err
		}
		defer done()
		c.srv.metrics.unread.Inc()
		if c.inflow.account.Take(ctx, cost) != nil {
			return true, errEnded
		}
		waited = true
	}
	c.inflow.taken += cost
	return waited, nil
}

// belongsTo counts what the client sends from now on under its identity, or under the client where there is none.
func (c *conn) belongsTo(owner meta.Owner) {
	c.lanes.By(owner.Mark())
	c.inflow.account.For(cmp.Or(owner.Mark(), c.clientID))
}

// claim hands over the memory of the packet; the caller gives it back later.
func (f *inflow) claim() int64 {
	n := f.taken
	f.taken = 0
	return n
}

// giveBack gives back the memory of the packet unless it was claimed.
func (f *inflow) giveBack() {
	f.account.Give(f.claim())
}

const (
	// reliefEvery is how often the server looks whether anyone waits for memory that others hold without using it.
	reliefEvery = 500 * time.Millisecond
	// stalledAfter is the default of Options.StalledAfter.
	stalledAfter = 3 * time.Second
	// slowestMessage is the slowest acceptable average rate for a message's body while others wait for memory, in bytes per second.
	slowestMessage = 64 << 10
)

// messageTime is how long the body of a message may take while others wait for memory.
func (s *Server) messageTime(bytes int) time.Duration {
	return s.o.StalledAfter + time.Duration(bytes)*time.Second/slowestMessage
}

// relieve closes connections that hold memory of the node without making progress: their message body does not come, or their client does
// not take what it is sent. It does nothing while nobody waits for memory.
func (s *Server) relieve(ctx context.Context) {
	tick := time.NewTicker(min(reliefEvery, s.o.StalledAfter))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if s.inbound.Waiting() > 0 {
			s.giveUp("inbound", func(c *conn) int64 { return c.inflow.due.Load() })
			s.inbound.Look() // the process may no longer be short of memory
		}
		if s.outbound.Waiting() > 0 {
			s.giveUp("outbound", func(c *conn) int64 { return c.out.due.Load() })
			s.outbound.Look()
		}
	}
}

// giveUp closes the connections that hold memory and have passed their deadline. due returns the deadline in Unix nanoseconds; 0: the
// connection holds no memory.
func (s *Server) giveUp(memory string, due func(*conn) int64) {
	var stalled []*conn
	now := time.Now().UnixNano()
	s.mu.Lock()
	for c := range s.conns {
		if at := due(c); at != 0 && at < now {
			stalled = append(stalled, c)
		}
	}
	s.mu.Unlock()
	if len(stalled) == 0 {
		return
	}
	for _, c := range stalled {
		s.metrics.stalled.WithLabelValues(memory).Inc()
		c.Close(packet.QuotaExceeded, "others wait for the memory that the connection holds")
	}
	times, told := s.stalledTold.Due(tellEvery)
	if told {
		s.log.Warn("the node's memory for messages is used up; closed connections that held some and did not go on", "memory", memory,
			"connections", len(stalled), "times", times, "last_from", stalled[len(stalled)-1].remote)
	}
}
