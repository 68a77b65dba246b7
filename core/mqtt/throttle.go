package mqtt

import (
	"context"
	"net/netip"
	"time"

	"github.com/lmqgate/lmqgate/core/auth"
	"github.com/lmqgate/lmqgate/core/limits"
	"github.com/lmqgate/lmqgate/core/packet"
)

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
	for held := c.parties.Load(); wait > 0 && c.parties.Load() == held; wait -= longestPause { // else it has other rates now
		select {
		case <-ctx.Done():
			return errEnded
		case <-time.After(min(wait, longestPause)):
		}
	}
	return c.again()
}

// longestPause is how long a client that is over a rate waits before it is looked whether the rate is another one.
const longestPause = time.Second

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
	for patience := longestWait; wait > 0; wait = b.Delay(limits.ByAddress, k.source.String()) {
		if patience -= wait; patience < 0 {
			return c.refuse(packet.ServerBusy, "too many failed logins from this address")
		}
		if err := c.wait(wait); err != nil {
			return err
		}
		if _, banned := b.Banned(limits.ByAddress, k.source.String()); banned { // by others that waited
			c.srv.metrics.turnedAway.WithLabelValues("ban").Inc()
			return c.refuse(packet.Banned, "banned")
		}
	}
	return nil
}

// wait waits before the client is admitted. Others may have the memory of its CONNECT, and its place, meanwhile.
func (c *conn) wait(d time.Duration) error {
	c.unreserve()
	c.place.judging(false)
	defer c.place.judging(true)
	select {
	case <-c.srv.ctx.Done():
		return errEnded
	case <-time.After(d):
	}
	if c.place.gone() {
		return errEnded
	}
	return nil
}

// paced lets a client that was authenticated wait where it, or its identity, connects too often, and refuses it where that would take too
// long.
func (c *conn) paced() error {
	var wait time.Duration
	var held []*party
	for _, p := range c.heldTo() {
		if p.scope == ofClient || p.scope == ofIdentity { // the others were asked when the connection was accepted
			held = append(held, p)
			wait = max(wait, p.connects.Take(1))
		}
	}
	if wait > longestWait {
		for _, p := range held {
			p.connects.Give(1)
		}
		c.srv.metrics.turnedAway.WithLabelValues("rate").Inc()
		c.log.Warn("client refused: it, or its user, connects too often; see connect_rate of limits.client and limits.identity", "client", c.clientID,
			"remote", c.remote)
		return c.refuse(packet.ConnectionRateExceeded, "connects too often")
	}
	if wait == 0 {
		return nil
	}
	c.srv.metrics.slowed.Inc()
	return c.wait(wait)
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

// flapTime is how soon a connection has to end that counts as flapping.
const flapTime = 10 * time.Second

// flapping is by what a client that connects all the time is banned: with who it was admitted as and where it comes from, so that nobody is
// kept out by others who use the client id. Loopback is not banned unless its limits apply.
func (c *conn) flapping() (name string, counts bool) {
	k := c.known.Load()
	if k == nil || !k.source.IsValid() {
		return "", false
	}
	return limits.FlappingName(ownerOf(c.admitted.Load()).Name, c.clientID, k.source.String()), true
}

// flapped notes that the connection of an admitted client is over, soon where it does so again and again.
func (c *conn) flapped() {
	allowed := c.srv.bounds.Load().Flaps
	c.causeMu.Lock()
	code := c.closeCode
	c.causeMu.Unlock()
	if allowed == 0 || c.connected.IsZero() || time.Since(c.connected) > flapTime || code == packet.AdministrativeAction ||
		code == packet.ServerShuttingDown || code == packet.UseAnotherServer {
		return
	}
	name, counts := c.flapping()
	if !counts {
		return
	}
	if ban, banned := c.srv.o.Bans.Failed(limits.ByFlapping, name, allowed, "connects all the time"); banned {
		c.log.Warn("client banned: it connects and is gone again all the time, or another one has its client id; see limits.client.flaps", "client",
			c.clientID, "remote", c.remote, "until", ban.Until.Format(time.RFC3339))
	}
}

// settled refuses a client that was authenticated and is banned because it flaps.
func (c *conn) settled() error {
	name, counts := c.flapping()
	if _, banned := c.srv.o.Bans.Banned(limits.ByFlapping, name); !counts || !banned {
		return nil
	}
	c.srv.metrics.turnedAway.WithLabelValues("ban").Inc()
	return c.refuse(packet.Banned, "banned: it connected all the time")
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
