package mqtt

import (
	"strings"
	"time"

	"github.com/lmqgate/lmqgate/core/auth"
	"github.com/lmqgate/lmqgate/core/events"
	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/core/topic"
)

// What programs are told of a connection; see package events. Each asks Log.On first, so that nothing is made for nobody.

func (c *conn) eventConnected(sessionPresent bool) {
	if c.srv.o.Events.On() {
		e := c.event(events.Connected)
		e.SessionPresent = &sessionPresent
		c.srv.o.Events.Add(e)
	}
}

func (c *conn) eventDisconnected(reason, cause string) {
	if !c.srv.o.Events.On() {
		return
	}
	e := c.event(events.Disconnected)
	e.Reason, e.Cause, e.BytesIn = reason, cause, c.bytesIn
	if !c.connected.IsZero() {
		e.Seconds = time.Since(c.connected).Seconds()
	}
	c.out.mu.Lock()
	c.tellDrops()
	e.BytesOut = c.out.total
	c.out.mu.Unlock()
	c.srv.o.Events.Add(e)
}

// eventSubscribed tells which filters of a SUBSCRIBE were granted.
func (c *conn) eventSubscribed(filters []packet.Subscription, codes []packet.Code) {
	if !c.srv.o.Events.On() {
		return
	}
	var granted []events.Filter
	for i, f := range filters {
		if !codes[i].Failed() {
			qos := byte(codes[i])
			granted = append(granted, events.Filter{Filter: f.Filter, QoS: &qos})
		}
	}
	c.eventFilters(events.Subscribed, granted)
}

// eventUnsubscribed tells which filters of an UNSUBSCRIBE the client had.
func (c *conn) eventUnsubscribed(filters []string, codes []packet.Code) {
	if !c.srv.o.Events.On() {
		return
	}
	var ended []events.Filter
	for i, f := range filters {
		if codes[i] == packet.Success {
			ended = append(ended, events.Filter{Filter: f})
		}
	}
	c.eventFilters(events.Unsubscribed, ended)
}

func (c *conn) eventFilters(kind events.Kind, filters []events.Filter) {
	for len(filters) > 0 {
		n, size := 0, 0
		for n < min(len(filters), events.MostFilters) && (n == 0 || size+len(filters[n].Filter) <= events.FilterBytes) {
			size += len(filters[n].Filter)
			n++
		}
		e := c.event(kind)
		e.Filters = filters[:n]
		c.srv.o.Events.Add(e)
		filters = filters[n:]
	}
}

// droppedEvery is the least time between two events about dropped messages of one connection.
const droppedEvery = time.Second

// drops are the dropped messages of a connection since its last event about them. The event names the latest one.
type drops struct {
	told   time.Time
	n      int64
	latest events.Event
}

// eventTooLarge tells that a message is larger than the client takes. It does not tell that of events: the new event would be too large as
// well, and so on.
func (c *conn) eventTooLarge(name string) {
	if c.srv.o.Events.On() && topic.First(name) != topic.Events {
		c.eventDropped(name, "larger than the client takes", "")
	}
}

// eventDropped tells that a message was not stored, or was not sent to the client.
func (c *conn) eventDropped(name, reason, cause string) {
	if !c.srv.o.Events.On() {
		return
	}
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	if c.drops == nil {
		c.drops = new(drops)
	}
	c.drops.n++
	c.drops.latest = events.Event{Kind: events.MessageDropped, ClientID: c.clientID, Address: c.remote, Topic: strings.Clone(name),
		Reason: reason, Cause: cause}
	if time.Since(c.drops.told) >= droppedEvery {
		c.tellDrops()
	}
}

// tellDrops tells what was dropped since the last time. Called with out.mu held.
func (c *conn) tellDrops() {
	if c.drops == nil || c.drops.n == 0 {
		return
	}
	c.drops.latest.Messages = c.drops.n
	c.srv.o.Events.Add(c.drops.latest)
	*c.drops = drops{told: time.Now()}
}

// event is an event of this connection. The reader calls it.
func (c *conn) event(kind events.Kind) events.Event {
	return events.Event{Kind: kind, ClientID: c.clientID, User: auth.Shown(c.principal.Username()), Address: c.remote, Listener: c.listener,
		Version: c.version.String()}
}
