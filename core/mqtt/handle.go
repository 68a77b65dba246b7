package mqtt

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/lmqgate/lmqgate/core/auth"
	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/core/publish"
	"github.com/lmqgate/lmqgate/core/session"
	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/topic"
	"github.com/lmqgate/lmqgate/core/trace"
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
		return nil
	case *packet.Disconnect:
		return c.disconnect(p)
	case *packet.Auth:
		return c.reauthenticate(ctx, p)
	default:
		return c.fail(packet.ProtocolError, "unexpected "+p.Type().String())
	}
}

// publish stores a message and answers it once it is stored.
func (c *conn) publish(ctx context.Context, p *packet.Publish) error {
	defer c.inflow.giveBack() // unless the store has it
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
	k := c.acks.begin(p.QoS, p.PacketID, c.srv.o.ReceiveMaximum)
	if err := c.srv.levels(p.Topic); err != nil {
		c.refusePublish(k, p.Topic, packet.TopicNameInvalid, err.Error(), nil)
		return nil
	}
	if !isFormat(p.Properties, p.Payload) {
		c.refusePublish(k, p.Topic, packet.PayloadFormatInvalid, "the payload is not UTF-8, as its format indicator says it is", nil)
		return nil
	}
	ok, err := c.srv.o.Authority.Authorize(ctx, c.principal, auth.Action{Kind: auth.Publish, Topic: p.Topic, QoS: p.QoS, Retain: p.Retain})
	switch {
	case err != nil:
		c.refusePublish(k, p.Topic, packet.ImplementationSpecificError, "it cannot be judged now", err)
		return nil
	case !ok:
		c.refusePublish(k, p.Topic, packet.NotAuthorized, "its rules do not allow it", nil)
		return nil
	}
	m := session.NewMessage(p, c.clientID)
	if p.Retain {
		m.Identity = ownerOf(c.principal).Mark()
	}
	cost := c.inflow.claim()
	c.session.Publish(ctx, c.lanes, m, p.PacketID, func(err error) {
		c.inflow.account.Give(cost)
		c.published(k, m, err)
	})
	return nil
}

// resolveAlias replaces a topic alias by its topic (MQTT 5, 3.3.2.3.4).
func (c *conn) resolveAlias(p *packet.Publish) error {
	if p.Properties == nil || p.Properties.TopicAlias == nil {
		return nil
	}
	a := *p.Properties.TopicAlias
	switch {
	case a == 0 || a > topicAliasMaximum:
		return c.fail(packet.TopicAliasInvalid, "the topic alias is 0 or over the maximum")
	case p.Topic != "":
		if c.aliasesIn == nil {
			c.aliasesIn = make(map[uint16]string)
		}
		c.aliasesIn[a] = strings.Clone(p.Topic) // it shares its memory with the payload
	case c.aliasesIn[a] == "":
		return c.fail(packet.ProtocolError, "the topic alias is not known")
	default:
		p.Topic = c.aliasesIn[a]
	}
	return nil
}

// published answers a message once its fate is known. It is called from any goroutine.
//
// The client that cannot be told that a message was not stored sends it again by its next connection, so nothing that it sent
// after the message may be stored before: the lanes are broken. MQTT 5 tells it, and it decides itself.
func (c *conn) published(k *ack, m *store.Message, err error) {
	over := c.out.closed()
	if err == nil && !over && c.Held() { // it is stored, and the client hears of it when it is this node's for sure
		time.AfterFunc(heldLook, func() { c.published(k, m, nil) })
		return
	}
	if err != nil && (c.version != packet.V5 || over) {
		c.lanes.Break()
	}
	switch {
	case over && errors.Is(err, publish.ErrEnded):
		c.acks.end(nil, packet.ImplementationSpecificError, nil) // the message that was not stored has been logged
	case err == nil:
		c.srv.metrics.stored[m.QoS].Observe(time.Since(m.Created).Seconds())
		c.tracedStored(m)
		c.acks.end(k, packet.Success, c.sendPublishAck)
	case errors.Is(err, store.ErrTooLarge):
		c.refusePublish(k, m.Topic, packet.QuotaExceeded, err.Error(), nil)
	case errors.Is(err, meta.ErrLimit):
		c.refusePublish(k, m.Topic, packet.QuotaExceeded, "it is delivered, but there is no room to retain it", err)
	case publish.Refused(err):
		c.refusePublish(k, m.Topic, packet.TopicNameInvalid, err.Error(), nil)
	default:
		c.refusePublish(k, m.Topic, packet.ImplementationSpecificError, "it cannot be stored now", err)
	}
}

// refusePublish answers a message that is not stored: MQTT 5 has a code for it, earlier versions can only be disconnected. why is
// for the client as well, cause is for the log only.
func (c *conn) refusePublish(k *ack, name string, code packet.Code, why string, cause error) {
	logged := why
	if cause != nil {
		logged += ": " + cause.Error()
	}
	c.tracedWhy(trace.Refused, name, code.String(), logged)
	c.log.Warn("message refused", "client", c.clientID, "topic", name, "reason", code.String(), "cause", logged)
	if c.version == packet.V5 {
		if k != nil {
			k.reason = why
		}
		c.acks.end(k, code, c.sendPublishAck)
		return
	}
	c.Close(code, why)
	// Nothing is sent after it; the count is kept right.
	c.acks.end(nil, code, nil)
}

func (c *conn) sendPublishAck(k *ack) { c.sendAck(k.kind, k.id, k.code, k.reason) }

// acknowledged takes an answer to a message of ours, or the release of one of the client's.
func (c *conn) acknowledged(ctx context.Context, p *packet.Ack) error {
	if p.Kind != packet.PUBREL {
		c.session.Ack(p.Kind, p.PacketID, p.Code)
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
	c.session.Release(id, func(known bool, err error) { c.released(id, known, err) })
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

// Held implements publish.Holder: nothing may be stored or acknowledged now.
func (c *conn) Held() bool {
	s := c.rights.session.Load()
	return s != nil && s.Held()
}

// heldLook is how often it is looked whether the client's session is still held.
const heldLook = 50 * time.Millisecond

// disconnect ends the connection as the client wishes.
func (c *conn) disconnect(p *packet.Disconnect) error {
	c.said = true
	// Any other code, a failure's too, leaves the will to be published [MQTT-3.14.4-3].
	c.ending.Graceful = p.Code == packet.NormalDisconnection
	if p.Properties != nil && p.Properties.SessionExpiryInterval != nil {
		asked := expiryOf(*p.Properties.SessionExpiryInterval)
		if !c.session.Durable() && asked > 0 {
			// It cannot be raised from zero (MQTT 5, 3.14.2.2.2).
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
