package mqtt

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/lmqgate/lmqgate/core/limits"
	"github.com/lmqgate/lmqgate/core/packet"
)

// inflow is the memory of a client's messages from when their bodies are read until their fate is known, whatever their QoS. Where the
// client or the node has no room for the next message, it is not read: it stays in the socket, and then with the client.
type inflow struct {
	account limits.Account
	// taken is what the packet that is being read, or acted upon, has taken. By the reader only.
	taken int64
	// due is when the body that is being read is to be there if others wait for memory, in Unix nanoseconds; 0 where none is read.
	due atomic.Int64
}

// messageCost is what a message costs beside its bytes, about.
const messageCost = 1024

// awaitMessage takes the memory for a message whose body comes next.
func (c *conn) awaitMessage(n int) error {
	var wait time.Duration
	for _, party := range c.heldTo() {
		wait = max(wait, party.messages.Take(1), party.bytes.Take(float64(n)))
	}
	if err := c.pause(wait); err != nil {
		return err
	}
	cost := int64(n) + messageCost
	waited := !c.inflow.account.Try(cost)
	if waited {
		ctx, done, err := c.whileOpen()
		if err != nil {
			return err
		}
		c.srv.metrics.unread.Inc()
		err = c.inflow.account.Take(ctx, cost)
		done()
		if err != nil {
			return errEnded
		}
	}
	c.inflow.taken = cost
	if c.reader.Buffered() >= n {
		return nil
	}
	c.inflow.due.Store(time.Now().Add(c.srv.messageTime(n)).UnixNano())
	if waited {
		return c.again() // it was not the client that took its time
	}
	return nil
}

// claim hands over what the packet has taken, to be given back by others.
func (f *inflow) claim() int64 {
	n := f.taken
	f.taken = 0
	return n
}

// giveBack gives back what the packet has taken and nobody claimed.
func (f *inflow) giveBack() {
	f.account.Give(f.claim())
}

const (
	// reliefEvery is how often the server looks whether somebody waits for memory that others hold and do not use.
	reliefEvery = 500 * time.Millisecond
	// stalledAfter is Options.StalledAfter where it is not set.
	stalledAfter = 3 * time.Second
	// slowestMessage is how many bytes of a message are to come in a second, on average, while others wait for memory.
	slowestMessage = 64 << 10
)

// messageTime is how long a message may take to come while others wait for memory.
func (s *Server) messageTime(bytes int) time.Duration {
	return s.o.StalledAfter + time.Duration(bytes)*time.Second/slowestMessage
}

// relieve closes connections that hold memory of the node for others in vain: whose message does not come, or who does not take what it is
// sent. It does nothing while nobody waits.
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
			s.inbound.Look() // the process may be short of memory no more
		}
		if s.outbound.Waiting() > 0 {
			s.giveUp("outbound", func(c *conn) int64 { return c.out.due.Load() })
			s.outbound.Look()
		}
	}
}

// giveUp closes the connections that hold memory and have not gone on in time. due is when they had to, in Unix nanoseconds; 0: they hold
// none.
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
