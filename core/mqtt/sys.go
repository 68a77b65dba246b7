package mqtt

import (
	"context"
	"sync"
	"time"

	"github.com/lmqgate/lmqgate/core/auth"
	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/core/session"
	"github.com/lmqgate/lmqgate/core/topic"
)

// The topics below $SYS/broker tell clients about the state of the node, under the names that mosquitto uses. They are never stored, and no
// client can publish to them. A subscriber gets the present values, and then at each interval those that have changed, at QoS 0, as long as
// the connection lasts and the client's rules allow it. A filter that also matches other topics below $SYS is an ordinary subscription as
// well.

// SysValue is the value of a topic below $SYS.
type SysValue struct{ Topic, Payload string }

// maxSysFilters bounds the filters below $SYS of one client.
const maxSysFilters = 100

// sysReaders holds the connections that read $SYS, each with its filters.
type sysReaders struct {
	mu   sync.Mutex
	of   map[*conn]map[string]sysFilter
	last map[string]string // the values sent last, by topic; nil while nobody reads
}

// sysFilter is a subscription below $SYS.
type sysFilter struct {
	id       uint32 // subscription identifier; 0: none
	answered bool   // SUBACK was written, so changes may follow
}

// answeredOnes returns the filters whose SUBACK was written, with their subscription identifiers. Called with mu held.
func (r *sysReaders) answeredOnes(c *conn) map[string]uint32 {
	filters := make(map[string]uint32, len(r.of[c]))
	for name, f := range r.of[c] {
		if f.answered {
			filters[name] = f.id
		}
	}
	return filters
}

// serveSys sends changes until ctx ends.
func (s *Server) serveSys(ctx context.Context) {
	t := time.NewTicker(s.o.SysInterval)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		s.sys.mu.Lock()
		nobody := len(s.sys.of) == 0
		s.sys.mu.Unlock()
		if nobody {
			continue
		}
		now := s.o.Sys()
		s.sys.mu.Lock()
		readers := make(map[*conn]map[string]uint32, len(s.sys.of))
		for c := range s.sys.of {
			readers[c] = s.sys.answeredOnes(c)
		}
		changed := s.sys.changed(now)
		s.sys.mu.Unlock()
		for c, filters := range readers {
			c.sendSys(ctx, filters, changed, false)
		}
	}
}

// changed stores the present values and returns those that differ from the stored ones. Called with mu held.
func (r *sysReaders) changed(now []SysValue) []SysValue {
	changed := now[:0:0]
	for _, v := range now {
		if old, known := r.last[v.Topic]; !known || old != v.Payload {
			changed = append(changed, v)
		}
	}
	r.last = valuesOf(now)
	return changed
}

// valuesOf returns the values by topic.
func valuesOf(now []SysValue) map[string]string {
	values := make(map[string]string, len(now))
	for _, v := range now {
		values[v.Topic] = v.Payload
	}
	return values
}

// grantSys adds a filter below $SYS that the client's rules allow. show reports whether to send the present values.
func (c *conn) grantSys(s session.Subscription) (code packet.Code, show bool) {
	r := &c.srv.sys
	r.mu.Lock()
	defer r.mu.Unlock()
	filters := r.of[c]
	old, had := filters[s.Filter]
	if !had && len(filters) >= maxSysFilters {
		return packet.QuotaExceeded, false
	}
	if filters == nil {
		filters = make(map[string]sysFilter)
		if r.of == nil {
			r.of = make(map[*conn]map[string]sysFilter)
		}
		r.of[c] = filters
	}
	filters[s.Filter] = sysFilter{id: s.ID, answered: old.answered}
	return packet.Success, s.RetainHandling == 0 || s.RetainHandling == 1 && !had
}

// readsSys reports whether the client has a filter below $SYS.
func (c *conn) readsSys(filter string) bool {
	r := &c.srv.sys
	r.mu.Lock()
	defer r.mu.Unlock()
	_, reads := r.of[c][filter]
	return reads
}

// dropSys ends a subscription below $SYS; it returns false if there was none.
func (c *conn) dropSys(filter string) bool {
	r := &c.srv.sys
	r.mu.Lock()
	defer r.mu.Unlock()
	_, had := r.of[c][filter]
	delete(r.of[c], filter)
	if len(r.of[c]) == 0 {
		delete(r.of, c)
	}
	return had
}

// leaveSys ends all of the client's subscriptions below $SYS.
func (c *conn) leaveSys() {
	c.srv.sys.mu.Lock()
	defer c.srv.sys.mu.Unlock()
	delete(c.srv.sys.of, c)
	if len(c.srv.sys.of) == 0 {
		c.srv.sys.last = nil
	}
}

// beginSys sends the present values to the filters in show, and lets changes be sent to all of the client's filters from then on. SUBACK
// must have been written.
func (c *conn) beginSys(ctx context.Context, show map[string]uint32) {
	now := c.srv.o.Sys()
	if len(show) > 0 {
		c.sendSys(ctx, show, now, true)
	}
	r := &c.srv.sys
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, f := range r.of[c] {
		r.of[c][name] = sysFilter{id: f.id, answered: true}
	}
	if r.last == nil && len(r.of) > 0 {
		r.last = valuesOf(now)
	}
	for _, v := range now {
		if r.last[v.Topic] != v.Payload {
			delete(r.last, v.Topic) // the next round sends it: this client was shown another value than the others
		}
	}
}

// sendSys sends each value at most once, if a filter that the client may still read matches it. A value for which the connection has no
// room is left out; the client gets that topic again with its next change.
func (c *conn) sendSys(ctx context.Context, filters map[string]uint32, values []SysValue, retained bool) {
	principal := c.admitted.Load()
	for filter := range filters {
		ok, err := c.srv.o.Authority.Authorize(ctx, principal, auth.Action{Kind: auth.Subscribe, Topic: filter})
		if err == nil && !ok {
			c.log.Info("a subscription below $SYS ends: the client's rules have changed", "client", c.clientID, "remote", c.remote, "filter", filter)
			c.dropSys(filter)
		}
		if err != nil || !ok {
			delete(filters, filter)
		}
	}
	for _, v := range values {
		matched := false
		var ids []uint32
		for filter, id := range filters {
			if topic.Match(filter, v.Topic) {
				matched = true
				if id != 0 {
					ids = append(ids, id)
				}
			}
		}
		if !matched || !c.Room(len(v.Topic)+len(v.Payload)) {
			continue
		}
		p := &packet.Publish{Topic: v.Topic, Payload: []byte(v.Payload), Retain: retained}
		if len(ids) > 0 {
			p.Properties = &packet.Properties{SubscriptionIdentifiers: ids}
		}
		if r := c.SendPublish(p); r == session.SentFull || r == session.Gone {
			break
		}
	}
	c.Flush()
}

// sysRefusal returns the code for filters below $SYS that nobody can have: $SYS is switched off, or the subscription is shared.
func (c *conn) sysRefusal(shared bool) packet.Code {
	switch {
	case c.srv.o.SysInterval <= 0 || c.srv.o.Sys == nil:
		return packet.TopicFilterInvalid
	case shared:
		return packet.SharedSubscriptionsNotSupported
	}
	return packet.Success
}
