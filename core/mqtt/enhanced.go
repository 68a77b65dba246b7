package mqtt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/lmqgate/lmqgate/core/auth"
	"github.com/lmqgate/lmqgate/core/limits"
	"github.com/lmqgate/lmqgate/core/packet"
)

// Enhanced authentication: exchanges of several AUTH packets, before CONNACK and after it. For passwords see login.go.

const (
	// maxExchangeSteps bounds the steps of one enhanced authentication.
	maxExchangeSteps = 16
	// MaxAgain bounds the re-authentications that a connection begins within againWithin: each takes up to maxExchangeSteps calls of the
	// plugin. A client needs one before its credentials expire.
	MaxAgain    = 10
	againWithin = time.Minute
	// exchangeTimeouts bounds an enhanced authentication as a whole, in multiples of Options.ConnectTimeout. Each packet of the client may
	// take one ConnectTimeout.
	exchangeTimeouts = 3
)

// enhanced is the state of a connection's enhanced authentication.
type enhanced struct {
	method string
	req    auth.Request // the client's identification
	// lastWord is the data with which the authentication before CONNACK ended; CONNACK carries it.
	lastWord []byte
	// again is the re-authentication under way; nil: none. steps counts its steps; end ends the connection if it takes too long.
	again auth.Exchange
	steps int
	end   *time.Timer
	// begun counts the re-authentications since the time since.
	begun int
	since time.Time
}

// exchange authenticates the client with the method that it names (MQTT 5, 4.12). If exchange itself has answered the client, it returns
// errEnded.
func (c *conn) exchange(ctx context.Context, req auth.Request, props *packet.Properties) (*auth.Principal, error) {
	req.Password, req.HasPassword = nil, false // not needed again
	e := &enhanced{method: *props.AuthenticationMethod, req: req}
	c.enhanced = e
	x, err := c.srv.o.Authority.Begin(req, e.method, false)
	if err != nil {
		return nil, err
	}
	defer x.Abandon() // does nothing if there is an outcome
	data := props.AuthenticationData
	end := time.Now().Add(exchangeTimeouts * c.srv.o.ConnectTimeout)
	for range maxExchangeSteps {
		a, err := x.Step(ctx, data)
		if err != nil {
			return nil, err
		}
		if a.Principal != nil {
			e.lastWord = a.Data
			return a.Principal, nil
		}
		ask := c.auth(packet.ContinueAuthentication, a.Data)
		if c.tooLarge(ask) {
			return nil, c.refuse(packet.PacketTooLarge, "AUTH is larger than the client takes")
		}
		c.write(ask)
		if data, err = c.nextStep(end); err != nil {
			return nil, err
		}
	}
	return nil, c.refuse(packet.NotAuthorized, "the authentication takes too many steps")
}

// nextStep waits for the client's next AUTH. Before CONNACK, no other packet but DISCONNECT is allowed [MQTT-3.1.2-30].
func (c *conn) nextStep(end time.Time) ([]byte, error) {
	deadline := time.Now().Add(c.srv.o.ConnectTimeout)
	if deadline.After(end) {
		deadline = end
	}
	if err := c.nc.SetReadDeadline(deadline); err != nil {
		return nil, errEnded
	}
	c.place.judging(false)
	p, err := c.readPacket()
	if err != nil {
		if bad, ok := errors.AsType[*packet.Error](err); ok {
			c.srv.metrics.malformed.Inc()
			return nil, c.refuse(bad.Code, bad.Reason)
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, c.refuse(packet.NotAuthorized, "the authentication was not finished in time")
		}
		return nil, fmt.Errorf("%w: %w", errEnded, err)
	}
	c.place.judging(true)
	switch p := p.(type) {
	case *packet.Auth:
		if p.Code != packet.ContinueAuthentication || *p.Properties.AuthenticationMethod != c.enhanced.method {
			return nil, c.refuse(packet.ProtocolError, "AUTH with another code or method than the authentication's")
		}
		return p.Properties.AuthenticationData, nil
	case *packet.Disconnect:
		return nil, errEnded
	default:
		return nil, c.refuse(packet.ProtocolError, p.Type().String()+" before the authentication is done")
	}
}

// auth makes an AUTH packet, which always carries the method [MQTT-4.12.0-5].
func (c *conn) auth(code packet.Code, data []byte) *packet.Auth {
	return &packet.Auth{Code: code, Properties: &packet.Properties{AuthenticationMethod: &c.enhanced.method, AuthenticationData: data}}
}

// reauthenticate takes one step of a re-authentication (MQTT 5, 4.12.1). Other packets may come in between; they are handled under the old
// authentication.
func (c *conn) reauthenticate(ctx context.Context, p *packet.Auth) error {
	begins, e := p.Code == packet.ReAuthenticate, c.enhanced
	switch {
	case e == nil: // [MQTT-4.12.0-7]
		return c.fail(packet.ProtocolError, "AUTH from a client that named no authentication method in CONNECT")
	case *p.Properties.AuthenticationMethod != e.method: // [MQTT-4.12.1-1]
		return c.fail(packet.ProtocolError, "AUTH with another method than CONNECT's")
	case begins && e.again != nil:
		return c.fail(packet.ProtocolError, "a re-authentication is under way already")
	case !begins && e.again == nil:
		return c.fail(packet.ProtocolError, "AUTH without a re-authentication under way")
	}
	if begins {
		if err := c.mayAgain(); err != nil {
			return err
		}
		x, err := c.srv.o.Authority.Begin(e.req, e.method, true)
		if err != nil {
			return c.notAuthenticated(err)
		}
		e.again, e.steps = x, 0
		e.end = time.AfterFunc(exchangeTimeouts*c.srv.o.ConnectTimeout, func() {
			c.Close(packet.NotAuthorized, "the re-authentication was not finished in time")
		})
	}
	if e.steps++; e.steps > maxExchangeSteps {
		return c.fail(packet.NotAuthorized, "the re-authentication takes too many steps")
	}
	a, err := e.again.Step(ctx, p.Properties.AuthenticationData)
	if err != nil {
		return c.notAuthenticated(err)
	}
	code := packet.ContinueAuthentication
	if a.Principal != nil {
		code = packet.Success
		// Decisions are stored with the principal, so decisions about the old principal are gone with it.
		c.principal = a.Principal
		c.admitted.Store(a.Principal)
		c.srv.joinRates(c)
		c.srv.renameSlot(c)
		if err := c.session.Renewed(ctx, c, ownerOf(a.Principal), a.Principal); err != nil {
			c.log.Warn("a client that authenticated anew cannot be recorded; closing the connection", "client", c.clientID, "error", err)
			return c.fail(packet.ServerBusy, "the session cannot be recorded now")
		}
		c.belongsTo(ownerOf(a.Principal))
		c.rights.doubts.Add(1)
		c.srv.queueReviews(c) // judge the subscriptions by the new rights
		c.expireWith(a.Principal)
		c.abandon()
		c.log.Debug("client authenticated anew", "client", c.clientID, "identity", a.Principal.Identity())
	}
	answer := c.auth(code, a.Data)
	if c.tooLarge(answer) {
		return c.fail(packet.PacketTooLarge, "the next step of the authentication is larger than the client takes")
	}
	c.write(answer)
	return nil
}

// mayAgain closes the connection of a client that begins a re-authentication too often, or that is banned because too many have failed.
func (c *conn) mayAgain() error {
	if _, banned := c.srv.o.Bans.Banned(limits.ByLogin, c.known.Load().login.Name()); banned {
		c.srv.metrics.refusedAgain.Inc()
		return c.fail(packet.NotAuthorized, "too many authentications of the client have failed")
	}
	e := c.enhanced
	if now := time.Now(); now.Sub(e.since) > againWithin {
		e.since, e.begun = now, 0
	}
	if e.begun++; e.begun <= MaxAgain {
		return nil
	}
	c.srv.metrics.refusedAgain.Inc()
	c.log.Warn("client closed: it authenticates anew too often", "client", c.clientID, "remote", c.remote)
	return c.fail(packet.QuotaExceeded, "too many re-authentications")
}

// notAuthenticated ends the connection of a client whose re-authentication failed [MQTT-4.12.1-2]. That counts as a failed login: otherwise
// one password would be enough to guess others.
func (c *conn) notAuthenticated(err error) error {
	if denied, ok := errors.AsType[*auth.Denied](err); ok {
		c.judged(nil, denied)
	}
	c.log.Info("re-authentication failed; closing the connection", "client", c.clientID, "remote", c.remote, "error", err)
	return c.fail(packet.NotAuthorized, "the re-authentication failed")
}

// abandon ends the re-authentication under way, if any.
func (c *conn) abandon() {
	e := c.enhanced
	if e == nil || e.again == nil {
		return
	}
	e.end.Stop()
	e.again.Abandon()
	e.again, e.end = nil, nil
}
