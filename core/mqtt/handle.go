package mqtt

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/lmqgate/lmqgate/core/auth"
	"github.com/lmqgate/lmqgate/core/catalog"
	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/core/publish"
	"github.com/lmqgate/lmqgate/core/session"
	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/topic"
	"github.com/lmqgate/lmqgate/core/trace"
	"github.com/lmqgate/lmqgate/core/tracing"
	"github.com/lmqgate/lmqgate/internal/wait"
)

// handle acts on one packet of an admitted client. An error ends the connection.
func (c *conn) handle(ctx context.Context, p packet.Packet) error {
	switch p := p.(type) {
	case *packet.Publish:
		return c.publish(ctx, p)
	case *packet.Ack:
		return c.acknowledged(ctx, p)
	case *packet.Subscribe:
		return c.subscribe(ctx, p)
	case *packet.Unsubscribe:
		return c.unsubscribe(ctx, p)
	case *packet.Pingreq:
		c.out.add(packet.AppendPingresp)
		return c.vain()
	case *packet.Disconnect:
		return c.disconnect(p)
	case *packet.Auth:
		return c.reauthenticate(ctx, p)
	default:
		return c.fail(packet.ProtocolError, "unexpected "+p.Type().String())
	}
}

// publish stores a message. The client gets its answer once the message is stored.
func (c *conn) publish(ctx context.Context, p *packet.Publish) error {
	defer c.inflow.giveBack() // unless the store has taken the memory over
	if p.Properties != nil {
		if err := c.awaitProperties(len(p.Properties.User)); err != nil {
			return err
		}
	}
	if err := c.resolveAlias(p); err != nil {
		return err
	}
	if err := topic.ValidateName(p.Topic); err != nil {
		return c.fail(packet.TopicNameInvalid, err.Error())
	}
	if p.QoS > 0 && c.version == packet.V5 && !c.acks.admit(p.QoS, p.PacketID, c.srv.o.ReceiveMaximum) {
		return c.fail(packet.ReceiveMaximumExceeded, "more messages in flight than the receive maximum")
	}
	c.srv.metrics.received[p.QoS].Inc()
	span := c.receives(p)
	k := c.acks.begin(p.QoS, p.PacketID, c.srv.o.ReceiveMaximum)
	if k != nil {
		k.span = span
	}
	if err := c.srv.levels(p.Topic); err != nil {
		c.refusePublish(k, span, p.Topic, packet.TopicNameInvalid, err.Error(), nil)
		return nil
	}
	if !isFormat(p.Properties, p.Payload) {
		c.refusePublish(k, span, p.Topic, packet.PayloadFormatInvalid, "the payload is not UTF-8, as its format indicator says it is", nil)
		return nil
	}
	ok, err := c.srv.o.Authority.Authorize(ctx, c.principal, auth.Action{Kind: auth.Publish, Topic: p.Topic, QoS: p.QoS, Retain: p.Retain})
	switch {
	case err != nil:
		c.refusePublish(k, span, p.Topic, packet.ImplementationSpecificError, "it cannot be judged now", err)
		return nil
	case !ok:
		c.refusePublish(k, span, p.Topic, packet.NotAuthorized, "its rules do not allow it", nil)
		return nil
	}
	m := session.NewMessage(p, c.clientID)
	publish.Carry(m, span)
	if p.Retain {
		m.Identity = ownerOf(c.principal).Mark()
	}
	cost := c.inflow.claim()
	c.session.Publish(ctx, c.lanes, m, p.PacketID, func(err error) {
		c.inflow.account.Give(cost)
		c.published(k, span, m, err)
	})
	return nil
}

// resolveAlias replaces a topic alias with its topic (MQTT 5, 3.3.2.3.4).
func (c *conn) resolveAlias(p *packet.Publish) error {
	if p.Properties == nil || p.Properties.TopicAlias == nil {
		return nil
	}
	a := *p.Properties.TopicAlias
	switch {
	case a == 0 || a > topicAliasMaximum:
		return c.fail(packet.TopicAliasInvalid, "the topic alias is 0 or over the maximum")
	case p.Topic != "":
		if err := c.aliasesIn.set(a, p.Topic, c.session); err != nil {
			c.log.Warn("client closed: there is no memory for its topic aliases", "client", c.clientID, "remote", c.remote, "error", err)
			return c.fail(packet.QuotaExceeded, "there is no memory for so long topic aliases")
		}
	case c.aliasesIn.of[a] == "":
		return c.fail(packet.ProtocolError, "the topic alias is not known")
	default:
		p.Topic = c.aliasesIn.of[a]
	}
	return nil
}

// aliasesIn are the topic aliases from a client.
type aliasesIn struct {
	of    map[uint16]string
	bytes int // of their topics
	// held is memory of the node for bytes over freeAliases, freeAliases each: a client that makes its topics longer byte by byte has few.
	held []*session.Memory
}

// freeAliases is how many bytes of topics the aliases of a connection, in each direction, may have without being counted.
const freeAliases = 8 << 10

// set makes an alias stand for a topic.
func (x *aliasesIn) set(a uint16, name string, s *session.Session) error {
	bytes := x.bytes + len(name) - len(x.of[a])
	for bytes > freeAliases*(1+len(x.held)) {
		m, err := s.Hold(freeAliases)
		if err != nil {
			return err
		}
		x.held = append(x.held, m)
	}
	if x.of == nil {
		x.of = make(map[uint16]string)
	}
	x.of[a], x.bytes = strings.Clone(name), bytes // clone: the topic shares memory with the payload
	return nil
}

// published answers a message once its outcome is known. It is called from any goroutine.
//
// A client that cannot be told that a message was not stored sends it again on its next connection. Nothing that the client sent after that
// message may be stored before it, so published breaks the lanes. An MQTT 5 client is told, and decides itself what to do.
func (c *conn) published(k *ack, span *tracing.Span, m *store.Message, err error) {
	over := c.out.closed()
	if err == nil && !over && c.Held() { // stored; the client is told once this node surely owns the session
		time.AfterFunc(heldLook, func() { c.published(k, span, m, nil) })
		return
	}
	if err != nil && (c.version != packet.V5 || over) {
		c.lanes.Break()
	}
	switch {
	case over && errors.Is(err, publish.ErrEnded):
		span.Fail(err.Error())
		span.End()
		c.acks.end(nil, packet.ImplementationSpecificError, nil) // the message whose failure ended the lane is logged already
	case err == nil:
		c.srv.metrics.stored[m.QoS].Observe(time.Since(m.Created).Seconds())
		c.tracedStored(m)
		if k == nil {
			span.End()
		}
		c.acks.end(k, packet.Success, c.sendPublishAck)
	case errors.Is(err, store.ErrTooLarge):
		c.refusePublish(k, span, m.Topic, packet.QuotaExceeded, err.Error(), nil)
	case errors.Is(err, publish.ErrNoRoom):
		c.refusePublish(k, span, m.Topic, packet.QuotaExceeded, "there is no room to retain it; it is not delivered either", err)
	case errors.Is(err, catalog.ErrTooManyTopics):
		c.refusePublish(k, span, m.Topic, packet.QuotaExceeded, "its first-level topic does not exist, and there is no room for another", err)
	case errors.Is(err, meta.ErrLimit):
		c.refusePublish(k, span, m.Topic, packet.QuotaExceeded, "it is delivered, but there is no room to retain it", err)
	case publish.Refused(err):
		c.refusePublish(k, span, m.Topic, packet.TopicNameInvalid, err.Error(), nil)
	default:
		c.refusePublish(k, span, m.Topic, packet.ImplementationSpecificError, "it cannot be stored now", err)
	}
}

// refusePublish answers a message that is not stored. MQTT 5 has a reason code for that; clients of earlier versions can only be
// disconnected. why is for the client and the log, cause for the log only.
func (c *conn) refusePublish(k *ack, span *tracing.Span, name string, code packet.Code, why string, cause error) {
	logged := why
	if cause != nil {
		logged += ": " + cause.Error()
	}
	c.tracedWhy(trace.Refused, name, code.String(), logged)
	span.Fail(code.String())
	if c.version != packet.V5 || k == nil {
		span.End()
	}
	c.eventDropped(name, code.String(), logged)
	c.noteRefusal(packet.PUBLISH, name, code, logged)
	if !errors.Is(cause, catalog.ErrTooManyTopics) {
		c.log.Warn("message refused", "client", c.clientID, "topic", name, "reason", code.String(), "cause", logged)
	} else if times, due := c.srv.topicsTold.Due(tellEvery); due { // a client that makes up names sends many
		c.log.Warn("messages refused: there is no room for their first-level topics", "times", times, "client", c.clientID, "topic", name,
			"cause", logged)
	}
	if c.version == packet.V5 {
		if k != nil {
			k.reason = why
		}
		c.acks.end(k, code, c.sendPublishAck)
		return
	}
	c.Close(code, why)
	// Nothing is sent after Close; this only keeps the counters right.
	c.acks.end(nil, code, nil)
}

func (c *conn) sendPublishAck(k *ack) {
	c.sendAck(k.kind, k.id, k.code, k.reason)
	if k.span != nil {
		c.endSpan(k)
	}
}

// acknowledged handles PUBACK, PUBREC and PUBCOMP for messages to the client, and PUBREL for messages from it.
func (c *conn) acknowledged(ctx context.Context, p *packet.Ack) error {
	if p.Kind != packet.PUBREL {
		if !c.session.Ack(p.Kind, p.PacketID, p.Code) {
			return c.vain()
		}
		return nil
	}
	for c.Held() {
		if c.out.closed() {
			return errEnded
		}
		if err := wait.For(ctx, heldLook); err != nil {
			return errEnded
		}
	}
	id := p.PacketID
	if !c.session.Release(id, func(known bool, err error) { c.released(id, known, err) }) {
		return c.vain()
	}
	return nil
}

// released answers PUBREL. It is called from any goroutine.
func (c *conn) released(id uint16, known bool, err error) {
	switch {
	case err != nil: // the session has closed the connection
	case c.Held():
		if !c.out.closed() {
			time.AfterFunc(heldLook, func() { c.released(id, known, nil) })
		}
	case known:
		c.acks.finish(id)
		c.SendAck(packet.PUBCOMP, id, packet.Success)
	default:
		c.SendAck(packet.PUBCOMP, id, packet.PacketIdentifierNotFound)
	}
}

// Held implements publish.Holder: it reports whether nothing may be stored or acknowledged now.
func (c *conn) Held() bool {
	owns := c.rights.owns.Load()
	return owns != nil && owns.Held()
}

// Lost implements publish.Holder: it reports whether another node has taken the client.
func (c *conn) Lost() bool {
	owns := c.rights.owns.Load()
	return owns != nil && owns.Lost()
}

// Cork implements publish.Corker: answers that follow are written together.
func (c *conn) Cork() { c.out.cork() }

// Uncork implements publish.Corker.
func (c *conn) Uncork() { c.out.uncork() }

// heldLook is the interval between two looks whether the client's session is still held.
const heldLook = 50 * time.Millisecond

// disconnect ends the connection at the client's request.
func (c *conn) disconnect(p *packet.Disconnect) error {
	c.said = true
	// With any other code, even that of a failure, the will is published [MQTT-3.14.4-3].
	c.ending.Graceful = p.Code == packet.NormalDisconnection
	if p.Properties != nil && p.Properties.SessionExpiryInterval != nil {
		asked := expiryOf(*p.Properties.SessionExpiryInterval)
		if !c.session.Durable() && asked > 0 {
			// The expiry cannot be raised from zero (MQTT 5, 3.14.2.2.2).
			c.ending.Graceful = false
			return c.fail(packet.ProtocolError, "the session expiry cannot be raised from 0")
		}
		if limit := c.srv.o.SessionExpiryMax; limit > 0 {
			asked = min(asked, limit)
		}
		c.ending.Expiry = &asked
	}
	c.session.Ends(c, c.ending)
	return errEnded
}
