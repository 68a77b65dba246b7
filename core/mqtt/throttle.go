package mqtt

import (
	"context"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/lmqgate/lmqgate/core/auth"
	"github.com/lmqgate/lmqgate/core/limits"
	"github.com/lmqgate/lmqgate/core/packet"
)

// Rates are what one client may do a second; 0: no limit. Over it the client is not read, or not sent to, for as long as it takes.
type Rates struct {
	// Messages, Bytes and Filters count PUBLISH packets of the client, the bytes of them, and the filters that it subscribes to.
	Messages, Bytes, Filters limits.Rate
	// Outbound counts the bytes of messages to the client, what it missed while it was away included.
	Outbound limits.Rate
}

// rates hold one client to its Rates.
type rates struct{ messages, bytes, filters, outbound atomic.Pointer[limits.Bucket] }

func (r *rates) set(of Rates) {
	r.messages.Store(limits.NewBucket(of.Messages))
	r.bytes.Store(limits.NewBucket(of.Bytes))
	r.filters.Store(limits.NewBucket(of.Filters))
	r.outbound.Store(limits.NewBucket(of.Outbound))
}

// pause waits before the client is read further, and gives it the time back.
func (c *conn) pause(wait time.Duration) error {
	if wait <= 0 {
		return nil
	}
	c.srv.metrics.slowed.Inc()
	ctx, done, err := c.whileOpen()
	if err != nil {
		return err
	}
	defer done()
	select {
	case <-ctx.Done():
		return errEnded
	case <-time.After(wait):
		return c.again()
	}
}

// whileOpen returns a context that ends when the connection begins to close. The reader calls done when it does not wait any more.
func (c *conn) whileOpen() (ctx context.Context, done func(), err error) {
	ctx, cancel := context.WithCancel(c.srv.ctx)
	if !c.out.onClose(cancel) {
		cancel()
		return nil, nil, errEnded
	}
	return ctx, func() { c.out.onClose(nil); cancel() }, nil
}

// again gives the client its time once more, unless the connection is closing: then its read deadline must not be moved.
func (c *conn) again() error {
	if err := c.deadline(); err != nil {
		return err
	}
	if c.out.closed() {
		_ = c.nc.SetReadDeadline(time.Unix(1, 0))
		return errEnded
	}
	return nil
}

// known is what a connection can be banned by.
type known struct {
	client, user string
	source       netip.Prefix
}

// keptOut refuses a client that is banned, and lets one wait whose address or user name has failed before. Loopback is not slowed down
// unless its limits apply.
func (c *conn) keptOut(user string) error {
	k := &known{client: c.clientID, user: user, source: c.place.address()}
	c.known.Store(k)
	b := c.srv.o.Bans
	for _, who := range [][2]string{{limits.ByClient, k.client}, {limits.ByUser, k.user}} {
		if _, banned := b.Banned(who[0], who[1]); banned {
			c.srv.metrics.turnedAway.WithLabelValues("ban").Inc()
			c.log.Warn("client refused: it is banned; see lmqgate bans list", "kind", who[0], "client", c.clientID, "remote", c.remote)
			return c.refuse(packet.Banned, "banned")
		}
	}
	if !k.source.IsValid() {
		return nil
	}
	wait := max(b.Delay(limits.ByAddress, k.source.String()), min(b.Delay(limits.ByUser, user), longestUserDelay))
	if wait == 0 {
		return nil
	}
	c.srv.metrics.slowed.Inc()
	c.unreserve() // others may have the memory of its CONNECT, and its place, meanwhile
	c.place.judging(false)
	defer c.place.judging(true)
	for patience := longestWait; wait > 0; wait = b.Delay(limits.ByAddress, k.source.String()) {
		if patience -= wait; patience < 0 {
			return c.refuse(packet.ServerBusy, "too many failed logins from this address")
		}
		select {
		case <-c.srv.ctx.Done():
			return errEnded
		case <-time.After(wait):
		}
		if c.place.gone() {
			return errEnded
		}
		if _, banned := b.Banned(limits.ByAddress, k.source.String()); banned { // by others that waited
			c.srv.metrics.turnedAway.WithLabelValues("ban").Inc()
			return c.refuse(packet.Banned, "banned")
		}
	}
	return nil
}

// longestWait is how long a login waits in all before it is refused.
const longestWait = 20 * time.Second

// longestUserDelay is how long others can make the logins of a user wait, at most.
const longestUserDelay = 2 * time.Second

// judged notes how a login went.
func (c *conn) judged(user string, denied *auth.Denied) {
	k := c.known.Load()
	allowed := c.srv.bounds.Load().FailedLogins
	if k == nil || !k.source.IsValid() || allowed == 0 {
		return
	}
	b, source := c.srv.o.Bans, k.source.String()
	if denied == nil {
		b.Succeeded(limits.ByAddress, source)
		b.Succeeded(limits.ByUser, user)
		return
	}
	switch denied.Reason {
	case auth.BadCredentials, auth.NotAuthorized, auth.BadClientID:
	default:
		return
	}
	b.Failed(limits.ByUser, user, allowed, "")
	if ban, banned := b.Failed(limits.ByAddress, source, allowed, "too many failed logins"); banned {
		c.log.Warn("address banned: too many failed logins", "remote", source, "until", ban.Until.Format(time.RFC3339))
	}
}

// CloseBanned closes the connections that a ban is about.
func (s *Server) CloseBanned(ban limits.Ban) {
	s.mu.Lock()
	var hit []*conn
	for c := range s.conns {
		k := c.known.Load()
		if k != nil && (ban.Kind == limits.ByClient && k.client == ban.Name || ban.Kind == limits.ByUser && k.user == ban.Name ||
			ban.Kind == limits.ByAddress && k.source.IsValid() && k.source.String() == ban.Name) {
			hit = append(hit, c)
		}
	}
	s.mu.Unlock()
	for _, c := range hit {
		c.Close(packet.AdministrativeAction, "banned")
	}
}

// lets reports whether an address may open another connection: it is not banned, and not too quick.
func (p *pending) lets(source netip.Prefix) bool {
	if !source.IsValid() {
		return true
	}
	if _, banned := p.bans.Banned(limits.ByAddress, source.String()); banned {
		p.turnedAway.WithLabelValues("ban").Inc()
		return false
	}
	if p.connects.Try(source) > 0 {
		p.refuse("rate", source)
		return false
	}
	return true
}
