package mqtt

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/lmqgate/lmqgate/core/auth"
	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/mqtt/websocket"
	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/core/session"
	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/tracing"
)

const (
	// connectTimeout is the default of Options.ConnectTimeout.
	connectTimeout = 10 * time.Second
	// maxConnectSize bounds each packet from a client that is not admitted yet, in bytes. The largest parts of a CONNECT, the will's
	// payload and the password, take up to 64 KiB each.
	maxConnectSize = 192 << 10
	// attachTimeout bounds the calls to plugins, metadata and the store for one CONNECT.
	attachTimeout = 15 * time.Second
	// topicAliasMaximum bounds the topic aliases in each direction.
	topicAliasMaximum = 64
	// window3 bounds the messages in flight to a client that cannot say how many it accepts (MQTT 3.1 and 3.1.1).
	window3 = 128
	// windowMax bounds the messages in flight to an MQTT 5 client, however many it accepts.
	windowMax = 1024
)

// handshake reads CONNECT, admits the client and attaches its session.
func (c *conn) handshake(ctx context.Context) error {
	if err := c.nc.SetReadDeadline(c.begun.Add(c.srv.o.ConnectTimeout)); err != nil {
		return err
	}
	c.reader.Large = c.reserve
	defer c.unreserve()
	p, err := c.readPacket()
	if err != nil {
		if bad, ok := errors.AsType[*packet.Error](err); ok {
			c.srv.metrics.malformed.Inc()
			c.log.Warn("first packet is not an acceptable CONNECT; closing the connection", "remote", c.remote, "error", bad)
			// A malformed MQTT 3.1.1 CONNECT gets no answer [MQTT-3.1.4-1]; an unknown protocol level gets one [MQTT-3.1.2-2].
			if bad.Version == packet.V5 || bad.Code == packet.UnsupportedProtocolVersion {
				c.version = bad.Version
				return c.refuse(bad.Code, bad.Reason)
			}
		} else {
			c.srv.metrics.handshakes.WithLabelValues(c.listener).Inc()
		}
		return err
	}
	c.asked = time.Now()
	c.place.judging(true)
	cn, ok := p.(*packet.Connect)
	if !ok {
		return errEnded // unreachable: the reader accepts nothing else
	}
	c.version = cn.Version
	props := cn.Properties
	if props == nil {
		props = &packet.Properties{}
	}
	c.reasons = c.version == packet.V5 && (props.RequestProblemInformation == nil || *props.RequestProblemInformation == 1)
	if props.MaximumPacketSize != nil {
		c.maxSize = *props.MaximumPacketSize
	}
	if props.TopicAliasMaximum != nil {
		c.aliasMax = min(*props.TopicAliasMaximum, topicAliasMaximum) // each alias takes the memory of its topic
	}
	span := c.connects(cn)
	defer span.End()
	if err := c.admit(ctx, cn, props, span); err != nil {
		span.Fail("not admitted")
		return err
	}
	if err := c.attach(ctx, cn, props); err != nil {
		span.Fail("its session is not available")
		return err
	}
	return nil
}

// admit checks CONNECT and authenticates the client.
func (c *conn) admit(ctx context.Context, cn *packet.Connect, props *packet.Properties, span *tracing.Span) error {
	c.clientID = cn.ClientID
	if c.srv.o.Watermark.High() {
		return c.noMemory()
	}
	if cn.ClientID == "" && (c.version == packet.V31 || c.version == packet.V311 && !cn.CleanStart) {
		// [MQTT-3.1.3-8]
		return c.refuse(packet.ClientIdentifierNotValid, "a session that is kept needs a client id")
	}
	if cn.ClientID == "" {
		var id [12]byte
		_, _ = rand.Read(id[:])
		c.clientID = "auto-" + hex.EncodeToString(id[:])
	}
	req := auth.Request{ClientID: c.clientID, Username: cn.Username, HasUsername: cn.HasUsername, Password: cn.Password,
		HasPassword: cn.HasPassword, Version: byte(cn.Version), Listener: c.listener, RemoteAddr: c.remote}
	switch t := c.nc.(type) {
	case *tls.Conn:
		req.PeerCertificates = t.ConnectionState().PeerCertificates
	case *websocket.Conn:
		if state := t.TLSState(); state != nil {
			req.PeerCertificates = state.PeerCertificates
		}
	}
	if err := c.keptOut(cn, props.AuthenticationMethod != nil); err != nil {
		return err
	}
	moment := c.srv.revoked.now()
	judged := span.Child("authenticate", tracing.Client, time.Now())
	principal, err := c.authenticate(ctx, req, props)
	if err != nil {
		judged.Fail("not admitted")
	}
	judged.End()
	switch {
	case errors.Is(err, errEnded):
		return err
	case err != nil:
		code := packet.ServerUnavailable
		if denied, ok := errors.AsType[*auth.Denied](err); ok {
			code = reasonCode(denied.Reason)
			c.judged(nil, denied)
		}
		c.log.Debug("client not admitted", "client", c.clientID, "remote", c.remote, "error", err)
		return c.refuse(code, code.String())
	}
	c.judged(principal, nil)
	c.principal = principal
	c.admitted.Store(principal)
	if err := c.settled(); err != nil {
		return err
	}
	c.srv.joinRates(c)
	if err := c.paced(); err != nil {
		return err
	}
	if c.srv.revoked.since(moment, principal) {
		c.log.Warn("client refused: its admission was revoked meanwhile", "client", c.clientID, "remote", c.remote)
		return c.refuse(packet.NotAuthorized, "the client's admission was revoked")
	}
	if w := cn.Will; w != nil {
		if err := c.srv.validateName(w.Topic); err != nil {
			return c.refuse(packet.TopicNameInvalid, err.Error())
		}
		if !isFormat(w.Properties, w.Payload) {
			return c.refuse(packet.PayloadFormatInvalid, "the will's payload is not UTF-8, as its format indicator says it is")
		}
		ok, err := c.srv.o.Authority.Authorize(ctx, principal, auth.Action{Kind: auth.Publish, Topic: w.Topic, QoS: w.QoS,
			Retain: w.Retain})
		if err != nil {
			return c.refuse(packet.ServerUnavailable, "the will could not be judged")
		}
		if !ok {
			return c.refuse(packet.NotAuthorized, "the client may not publish its will")
		}
	}
	if full := c.srv.takeSlot(c); full != nil {
		return c.full(full)
	}
	return nil
}

// noMemory refuses a client because the process is short of memory.
func (c *conn) noMemory() error {
	if times, due := c.srv.shortOfMemory.Due(tellEvery); due {
		c.log.Warn("clients are refused: the gateway is short of memory; see limits.node.memory", "times", times, "last_from", c.remote)
	}
	const cause = "the server is short of memory"
	if c.version != packet.V5 {
		return c.refuse(packet.ServerUnavailable, cause)
	}
	return c.refuse(packet.ServerBusy, cause)
}

// reasonCode returns the CONNACK code for a denial.
func reasonCode(r auth.Reason) packet.Code {
	switch r {
	case auth.BadCredentials:
		return packet.BadUserNameOrPassword
	case auth.NotAuthorized:
		return packet.NotAuthorized
	case auth.BadClientID:
		return packet.ClientIdentifierNotValid
	case auth.Banned:
		return packet.Banned
	case auth.BadMethod:
		return packet.BadAuthenticationMethod
	default:
		return packet.ServerUnavailable
	}
}

// attach attaches the connection to its session and answers CONNECT.
func (c *conn) attach(ctx context.Context, cn *packet.Connect, props *packet.Properties) error {
	answer := &packet.Properties{}
	r := session.Request{ClientID: c.clientID, Username: auth.Shown(cn.Username), Owner: ownerOf(c.principal), Version: c.version,
		CleanStart: cn.CleanStart,
		Expiry:     c.sessionExpiry(cn, props, answer), ReceiveMaximum: window3, Conn: c, RemoteAddr: c.remote, Listener: c.listener}
	if c.version == packet.V5 {
		r.ReceiveMaximum = windowMax
	}
	if props.ReceiveMaximum != nil {
		r.ReceiveMaximum = min(windowMax, int(*props.ReceiveMaximum))
	}
	r.Bytes = int64(len(c.clientID) + len(cn.Username))
	if cn.Will != nil {
		r.Will = c.will(cn.Will)
		record := store.Record{Message: *r.Will.Message}
		r.Bytes += int64(record.Size() + len(cn.Will.Topic))
	}
	c.setKeepAlive(cn.KeepAlive, answer)
	ack := &packet.Connack{}
	if c.version == packet.V5 {
		c.describe(cn, props, answer)
		ack.Properties = answer
	}
	if c.tooLarge(ack) {
		return c.refuse(packet.PacketTooLarge, "CONNACK is larger than the client takes")
	}
	c.out.mu.Lock()
	c.lanes = c.srv.o.Publisher.Lanes(c.clientID, c)
	c.out.mu.Unlock()
	c.belongsTo(r.Owner)
	attachCtx, cancel := context.WithTimeout(ctx, attachTimeout)
	s, present, err := c.srv.o.Sessions.Connect(attachCtx, r)
	cancel()
	if err != nil {
		code, reason := session.Refusal(err)
		if other, ok := errors.AsType[*session.Other](err); ok {
			c.refusedForOther(other)
			return c.refuse(code, reason)
		}
		if code == packet.ServerUnavailable && c.srv.stopping() {
			return errStopping // without an answer: many clients try again after that, and give up after a refusal
		}
		c.log.Warn("client refused because its session is not available", "client", c.clientID, "reason", code.String(), "error", err)
		return c.refuse(code, reason)
	}
	c.session = s
	owns := s.Ownership()
	c.rights.owns.Store(&owns)
	c.rights.session.Store(s)
	c.review(ctx) // judge the subscriptions of a resumed session before anything is sent for them
	c.place.leave()
	c.reader.SetMaxPacketSize(c.srv.o.MaxPacketSize)
	if w, ok := c.nc.(*websocket.Conn); ok {
		w.Admit()
	}
	c.out.mu.Lock()
	c.out.writable = s.Writable
	c.out.mu.Unlock()
	ack.SessionPresent = present && !cn.CleanStart
	c.noteConnected(ack.SessionPresent)
	c.accept(ack)
	c.expireWith(c.principal)
	s.Start()
	if c.keepAlive == 0 {
		return c.nc.SetReadDeadline(time.Time{})
	}
	return nil
}

// expireWith closes the connection when the client's admission expires.
func (c *conn) expireWith(p *auth.Principal) {
	if c.expiry != nil {
		c.expiry.Stop()
		c.expiry = nil
	}
	if at := p.ExpiresAt(); !at.IsZero() {
		c.expiry = time.AfterFunc(time.Until(at), func() { c.Close(packet.MaximumConnectTime, "the client's admission has expired") })
	}
}

// describe fills in the server's limits and features (MQTT 5, 3.2.2.3).
func (c *conn) describe(cn *packet.Connect, asked, p *packet.Properties) {
	p.ReceiveMaximum = new(uint16(c.srv.o.ReceiveMaximum))
	p.MaximumPacketSize = new(c.srv.o.MaxPacketSize)
	p.TopicAliasMaximum = new(uint16(topicAliasMaximum))
	if cn.ClientID == "" {
		p.AssignedClientIdentifier = &c.clientID
	}
	if e := c.enhanced; e != nil { // [MQTT-4.12.0-5] [MQTT-4.12.0-6]
		p.AuthenticationMethod, p.AuthenticationData = &e.method, e.lastWord
	}
	if asked.RequestResponseInformation != nil && *asked.RequestResponseInformation == 1 { // [MQTT-3.1.2-28]
		p.ResponseInformation = c.responseInformation(cn.Username)
	}
}

// responseInformation returns the prefix for the client's response topics (MQTT 5, 3.2.2.3.15). It returns nil if none is configured, or if
// the result could not be part of a topic name.
func (c *conn) responseInformation(username string) *string {
	out := strings.NewReplacer("%c", c.clientID, "%u", username).Replace(c.srv.o.ResponseInformation)
	if out == "" || len(out) > 65535 || strings.ContainsAny(out, "+#") {
		return nil
	}
	return &out
}

// sessionExpiry returns how long the session outlives the connection. If that differs from what the client asked for, it is set in the
// answer.
func (c *conn) sessionExpiry(cn *packet.Connect, props, answer *packet.Properties) time.Duration {
	limit := c.srv.o.SessionExpiryMax
	if c.version != packet.V5 {
		switch {
		case cn.CleanStart:
			return 0
		case limit == 0:
			return meta.NeverExpires
		default:
			return limit
		}
	}
	if props.SessionExpiryInterval == nil {
		return 0
	}
	asked := expiryOf(*props.SessionExpiryInterval)
	if limit > 0 && asked > limit {
		answer.SessionExpiryInterval = new(uint32(limit / time.Second))
		return limit
	}
	return asked
}

// expiryOf decodes a Session Expiry Interval; 0xFFFFFFFF means never.
func expiryOf(seconds uint32) time.Duration {
	if seconds == 0xFFFFFFFF {
		return meta.NeverExpires
	}
	return time.Duration(seconds) * time.Second
}

func (c *conn) setKeepAlive(asked uint16, answer *packet.Properties) {
	c.keepAlive = time.Duration(asked) * time.Second
	if limit := c.srv.o.MaxKeepAlive; limit > 0 && (c.keepAlive == 0 || c.keepAlive > limit) {
		c.keepAlive = limit
		answer.ServerKeepAlive = new(uint16(limit / time.Second))
	}
}

func (c *conn) will(w *packet.Will) *session.Will {
	m := session.NewMessage(&packet.Publish{QoS: w.QoS, Retain: w.Retain, Topic: w.Topic, Properties: w.Properties,
		Payload: w.Payload}, c.clientID)
	out := &session.Will{Message: m, By: c.principal}
	if w.Properties != nil && w.Properties.WillDelayInterval != nil {
		out.Delay = time.Duration(*w.Properties.WillDelayInterval) * time.Second
	}
	return out
}

// isFormat reports whether a payload agrees with its Payload Format Indicator (MQTT 5, 3.3.2.3.2).
func isFormat(p *packet.Properties, payload []byte) bool {
	return p == nil || p.PayloadFormat == nil || *p.PayloadFormat == 0 || utf8.Valid(payload)
}
