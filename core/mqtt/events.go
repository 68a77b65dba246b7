package mqtt

import (
	"slices"
	"time"

	"github.com/lmqgate/lmqgate/core/auth"
	"github.com/lmqgate/lmqgate/core/events"
	"github.com/lmqgate/lmqgate/core/packet"
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
	for part := range slices.Chunk(filters, events.MostFilters) {
		e := c.event(kind)
		e.Filters = part
		c.srv.o.Events.Add(e)
	}
}

// eventDropped tells that a message was not stored, or was not sent to the client.
func (c *conn) eventDropped(name, reason, cause string) {
	if c.srv.o.Events.On() {
		c.srv.o.Events.Add(events.Event{Kind: events.MessageDropped, ClientID: c.clientID, Address: c.remote, Topic: name, Reason: reason,
			Cause: cause, Messages: 1})
	}
}

// event is an event of this connection. The reader calls it.
func (c *conn) event(kind events.Kind) events.Event {
	return events.Event{Kind: kind, ClientID: c.clientID, User: auth.Shown(c.principal.Username()), Address: c.remote, Listener: c.listener,
		Version: c.version.String()}
}
