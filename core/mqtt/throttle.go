package mqtt

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/lmqgate/lmqgate/core/auth"
	"github.com/lmqgate/lmqgate/core/limits"
	"github.com/lmqgate/lmqgate/core/packet"
)

// pause delays reading from the client, and extends the client's deadline by the wait.
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
	for held := c.parties.Load(); wait > 0 && c.parties.Load() == held; wait -= longestPause { // stop if the rates have changed
		select {
		case <-ctx.Done():
			return errEnded
		case <-time.After(min(wait, longestPause)):
		}
	}
	return c.again()
}

// longestPause is the longest pause before checking whether a client's rate has changed.
const longestPause = time.Second

// whileOpen returns a context that ends when the connection begins to close. The caller, the reader, calls done when it no longer waits.
func (c *conn) whileOpen() (ctx context.Context, done func(), err error) {
	ctx, cancel := context.WithCancel(c.srv.ctx)
	if !c.out.onClose(cancel) {
		cancel()
		return nil, nil, errEnded
	}
	return ctx, func() { c.out.onClose(nil); cancel() }, nil
}

// again gives the client its full time for the next packet, unless the connection is closing: then its read deadline must not move.
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
	client   string
	identity string // once the client is authenticated
	// login has the rest: the user name and the source. Its client id is empty where the server has assigned one.
	login limits.Login
}

// isWithin reports whether a network, in the form that bans use, holds the address.
func (k *known) isWithin(network string) bool {
	return slices.ContainsFunc(limits.NetworksOf(k.login.Source), func(n limits.Network) bool { return n.String() == network })
}

// keptOut refuses a banned client, and delays a client whose address or user name has failed to log in before. Loopback is not delayed
// unless its limits apply.
func (c *conn) keptOut(cn *packet.Connect, exchange bool) error {
	k := &known{client: c.clientID,
		// An id that the server assigns names nobody.
		login: limits.Login{User: cn.Username, Client: cn.ClientID, Source: c.place.address(), Exchange: exchange}}
	c.known.Store(k)
	b := c.srv.o.Bans
	for _, who := range [][2]string{{limits.ByClient, k.client}, {limits.ByUser, k.login.User}} {
		if _, banned := b.Banned(who[0], who[1]); banned {
			return c.turnAway(who[0])
		}
	}
	if !k.login.Source.IsValid() {
		return nil
	}
	if ban, banned := b.LoginBanned(k.login); banned {
		return c.turnAway(ban.Kind)
	}
	wait := max(b.LoginDelay(k.login), min(b.Delay(limits.ByUser, k.login.User), longestUserDelay))
	if wait == 0 {
		return nil
	}
	c.srv.metrics.slowed.Inc()
	for patience := longestWait; wait > 0; wait = b.LoginDelay(k.login) {
		if patience -= wait; patience < 0 {
			return c.refuse(packet.ServerBusy, "too many failed logins from this address")
		}
		if err := c.wait(wait); err != nil {
			return err
		}
		if _, banned := b.LoginBanned(k.login); banned { // banned because of others that waited
			c.srv.metrics.turnedAway.WithLabelValues("ban").Inc()
			return c.refuse(packet.Banned, "banned")
		}
	}
	return nil
}

// turnAway refuses a client because of a ban of a kind.
func (c *conn) turnAway(kind string) error {
	c.srv.metrics.turnedAway.WithLabelValues("ban").Inc()
	c.log.Warn("client refused: it is banned; see lmqgate bans list", "kind", kind, "client", c.clientID, "remote", c.remote)
	return c.refuse(packet.Banned, "banned")
}

// wait delays the admission of a client. Meanwhile other connections may take its place. A client whose CONNECT takes memory of the budget
// is refused instead: it would hold that memory while it waits.
func (c *conn) wait(d time.Duration) error {
	if c.memory.bytes > 0 {
		return c.refuse(packet.ServerBusy, "it has to wait, and its CONNECT is too large to be held meanwhile; try again later")
	}
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

// paced delays an authenticated client that connects too often, by itself or as part of its identity. It refuses the client if the delay
// would be too long.
func (c *conn) paced() error {
	var wait time.Duration
	var held []*party
	for _, p := range c.heldTo() {
		if p.scope == ofClient || p.scope == ofIdentity { // the other scopes were checked when the connection was accepted
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

// longestWait bounds the total delay of a login; a login that would wait longer is refused.
const longestWait = 20 * time.Second

// longestUserDelay bounds how long others can delay the logins of a user.
const longestUserDelay = 2 * time.Second

// judged records the outcome of a login: a principal, or a denial.
func (c *conn) judged(p *auth.Principal, denied *auth.Denied) {
	k := c.known.Load()
	allowed := c.srv.bounds.Load().FailedLogins
	if k == nil || !k.login.Source.IsValid() || allowed == 0 {
		return
	}
	if denied == nil {
		c.srv.o.Bans.LoggedIn(k.login, p.Identity())
		return
	}
	switch denied.Reason {
	case auth.BadCredentials, auth.NotAuthorized, auth.BadClientID:
	default:
		return
	}
	for _, ban := range c.srv.o.Bans.LoginFailed(k.login, allowed, "too many failed logins") {
		until := ban.Until.Format(time.RFC3339)
		if ban.Kind == limits.ByAddress {
			c.log.Warn("address banned: too many failed logins", "remote", ban.Name, "until", until)
		} else {
			c.log.Warn("client banned at its address: too many failed logins", "client", c.clientID, "user", auth.Shown(k.login.User), "remote", c.remote,
				"until", until)
		}
	}
}

// flapTime is how soon a connection has to end to count as flapping.
const flapTime = 10 * time.Second

// flapping returns the name by which a client that keeps reconnecting is banned. The name combines the identity, the client id and the
// address, so that others who use the client id cannot keep the client out. Loopback is not banned unless its limits apply.
func (c *conn) flapping() (name string, counts bool) {
	k := c.known.Load()
	if k == nil || !k.login.Source.IsValid() {
		return "", false
	}
	return limits.FlappingName(ownerOf(c.admitted.Load()).Name, c.clientID, k.login.Source.String()), true
}

// flapped records the end of an admitted client's connection, and bans the client if that happens too soon and too often.
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

// settled refuses an authenticated client whose identity is banned as a user, or that is banned for flapping. Its identity may be another
// than the user name of its CONNECT, which then proves nothing.
func (c *conn) settled() error {
	k := *c.known.Load()
	k.identity = c.principal.Identity()
	c.known.Store(&k) // before the look, so that a ban meanwhile finds the connection
	if _, banned := c.srv.o.Bans.Banned(limits.ByUser, k.identity); banned {
		return c.turnAway(limits.ByUser)
	}
	name, counts := c.flapping()
	if _, banned := c.srv.o.Bans.Banned(limits.ByFlapping, name); !counts || !banned {
		return nil
	}
	c.srv.metrics.turnedAway.WithLabelValues("ban").Inc()
	return c.refuse(packet.Banned, "banned: it connected all the time")
}

// CloseBanned closes the connections that a ban applies to.
func (s *Server) CloseBanned(ban limits.Ban) {
	s.mu.Lock()
	var hit []*conn
	for c := range s.conns {
		k := c.known.Load()
		if k != nil && (ban.Kind == limits.ByClient && limits.BanName(k.client) == ban.Name ||
			ban.Kind == limits.ByUser && (limits.BanName(k.login.User) == ban.Name || limits.BanName(k.identity) == ban.Name) ||
			ban.Kind == limits.ByAddress && k.isWithin(ban.Name)) {
			hit = append(hit, c)
		}
	}
	s.mu.Unlock()
	for _, c := range hit {
		c.Close(packet.AdministrativeAction, "banned")
	}
}

// lets reports whether an address may open another connection: it is not banned, and not over its rate.
func (p *pending) lets(source netip.Prefix) bool {
	if !source.IsValid() {
		return true
	}
	if _, banned := p.bans.AddressBanned(source); banned {
		p.turnedAway.WithLabelValues("ban").Inc()
		return false
	}
	if p.connects.Try(source) > 0 {
		p.refuse("rate", source)
		return false
	}
	return true
}
