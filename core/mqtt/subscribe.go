package mqtt

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/lmqgate/lmqgate/core/auth"
	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/core/session"
	"github.com/lmqgate/lmqgate/core/topic"
)

// subscribe answers SUBSCRIBE once the subscriptions are recorded.
func (c *conn) subscribe(ctx context.Context, p *packet.Subscribe) error {
	var wait time.Duration
	for _, party := range c.heldTo() {
		wait = max(wait, party.filters.Take(float64(len(p.Filters))))
	}
	if err := c.pause(wait); err != nil {
		return err
	}
	codes := make([]packet.Code, len(p.Filters))
	if c.tooLarge(&packet.Suback{PacketID: p.PacketID, Codes: codes}) { // [MQTT-3.1.2-24]
		return c.fail(packet.PacketTooLarge, "the answer to so many filters is larger than the client takes")
	}
	var list []session.Subscription
	var actions []auth.Action
	var index []int
	var id uint32
	if p.Properties != nil && len(p.Properties.SubscriptionIdentifiers) > 0 {
		id = p.Properties.SubscriptionIdentifiers[0]
	}
	for i, f := range p.Filters {
		group, inner, shared, err := topic.ParseShared(f.Filter)
		if err == nil {
			err = c.srv.levels(inner)
		}
		switch {
		case err != nil:
			c.log.Warn("subscription refused", "client", c.clientID, "filter", f.Filter, "error", err)
			codes[i] = packet.TopicFilterInvalid
		case shared && f.NoLocal: // [MQTT-3.8.3-4]
			return c.fail(packet.ProtocolError, "a shared subscription with the no local option")
		case topic.IsOwn(inner) && c.sysRefusal(shared) != packet.Success:
			codes[i] = c.sysRefusal(shared)
		case c.srv.hides(inner):
			codes[i] = packet.NotAuthorized
		default:
			list = append(list, session.Subscription{Subscription: f, ID: id})
			actions = append(actions, auth.Action{Kind: auth.Subscribe, Topic: inner, ShareGroup: group, QoS: f.QoS})
			index = append(index, i)
		}
	}
	doubts := c.rights.doubts.Load()
	allowed, until, err := c.srv.o.Authority.AuthorizeAll(ctx, c.principal, actions)
	granted := list[:0]
	var at []int
	var sys bool
	var show map[string]uint32 // filters below $SYS that are to be sent the present values
	for j, s := range list {
		switch {
		case err != nil:
			c.log.Warn("subscription refused: it could not be judged", "client", c.clientID, "filter", s.Filter, "error", err)
			codes[index[j]] = packet.UnspecifiedError
		case !allowed[j]:
			codes[index[j]] = packet.NotAuthorized
		case topic.MatchesOwn(s.Filter) && c.sysRefusal(false) == packet.Success:
			sys = true
			code, all := c.grantSys(s)
			if all {
				if show == nil {
					show = make(map[string]uint32)
				}
				show[s.Filter] = s.ID
			}
			if codes[index[j]] = code; !topic.IsOwn(s.Filter) && !code.Failed() { // the filter may match other topics below $SYS as well
				granted, at = append(granted, s), append(at, index[j])
			}
		default:
			granted, at = append(granted, s), append(at, index[j])
		}
	}
	after := func() {}
	if len(granted) > 0 {
		var result []packet.Code
		result, after = c.session.Subscribe(ctx, granted)
		for j, code := range result {
			if code == packet.TopicFilterInvalid && topic.MatchesOwn(granted[j].Filter) && c.readsSys(granted[j].Filter) {
				code = packet.Success // nobody but the gateway has a topic below $SYS
			}
			codes[at[j]] = code
		}
		c.rights.goodUntil(until, c.srv.o.ReviewLeast)
		if c.rights.doubts.Load() != doubts { // a decision came into doubt meanwhile
			c.srv.queueReviews(c)
		}
	}
	answer := &packet.Suback{PacketID: p.PacketID, Codes: codes}
	answer.Properties = c.because(refusedFilters(len(codes), func(i int) (string, packet.Code) { return p.Filters[i].Filter, codes[i] }))
	if c.tooLarge(answer) {
		answer.Properties = nil // [MQTT-3.9.2-1]
	}
	for i, code := range codes {
		if code.Failed() {
			c.noteRefusal(packet.SUBSCRIBE, p.Filters[i].Filter, code, whyRefused(code))
		}
	}
	c.write(answer)
	after()
	c.eventSubscribed(p.Filters, codes)
	if sys {
		c.beginSys(ctx, show)
	}
	return c.vainUnless(codes)
}

func (c *conn) unsubscribe(ctx context.Context, p *packet.Unsubscribe) error {
	if c.tooLarge(&packet.Unsuback{PacketID: p.PacketID, Codes: make([]packet.Code, len(p.Filters))}) { // [MQTT-3.1.2-24]
		return c.fail(packet.PacketTooLarge, "the answer to so many filters is larger than the client takes")
	}
	codes := c.session.Unsubscribe(ctx, p.Filters)
	for i, filter := range p.Filters {
		if topic.MatchesOwn(filter) && c.dropSys(filter) {
			codes[i] = packet.Success
		}
	}
	answer := &packet.Unsuback{PacketID: p.PacketID, Codes: codes}
	answer.Properties = c.because(refusedFilters(len(codes), func(i int) (string, packet.Code) { return p.Filters[i], codes[i] }))
	if c.tooLarge(answer) {
		answer.Properties = nil // [MQTT-3.11.2-1]
	}
	c.write(answer)
	c.eventUnsubscribed(p.Filters, codes)
	return c.vainUnless(codes)
}

// refusedFilters returns the reason string of a SUBACK or UNSUBACK: the refused filters, each with the reason; empty if none was refused.
func refusedFilters(n int, at func(i int) (filter string, code packet.Code)) string {
	var b strings.Builder
	for i := range n {
		filter, code := at(i)
		if !code.Failed() {
			continue
		}
		if b.Len() > 0 {
			b.WriteString("; ")
		}
		fmt.Fprintf(&b, "%.128q: %s", filter, whyRefused(code))
		if b.Len() > maxReason {
			break
		}
	}
	return b.String()
}

// whyRefused explains the code of a refused filter.
func whyRefused(code packet.Code) string {
	switch code {
	case packet.NotAuthorized:
		return "the client's rules do not allow it"
	case packet.TopicFilterInvalid:
		return "no filter, or too many levels, or its first-level topic does not exist"
	case packet.QuotaExceeded:
		return "there are too many filters or first-level topics already"
	case packet.UnspecifiedError:
		return "not possible now; try again"
	default:
		return code.String()
	}
}
