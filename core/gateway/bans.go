package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/lmqgate/lmqgate/core/admin"
	"github.com/lmqgate/lmqgate/core/auth"
	"github.com/lmqgate/lmqgate/core/limits"
	"github.com/lmqgate/lmqgate/core/meta"
)

// Bans lists the bans in force, of all nodes. What several nodes have banned is there once.
func (b *backend) Bans(ctx context.Context, p admin.Page) admin.List[admin.Ban] {
	parts := []part[admin.Ban]{b.bansHere(p)}
	answers, missing := ask[part[admin.Ban]](ctx, b.g.cluster, askBans, p)
	for _, a := range answers {
		parts = append(parts, a.what)
	}
	list := mergeBans(p, parts)
	return admin.List[admin.Ban]{Items: list.Items, Next: list.Next, Unanswered: missing}
}

// bansHere lists those of this node.
func (b *backend) bansHere(p admin.Page) part[admin.Ban] {
	found := &firstOf[admin.Ban]{n: p.Limit, key: banKey}
	for _, l := range b.g.bans.List() {
		ban := admin.Ban{Kind: l.Kind, Name: l.Name, Reason: l.Reason, Until: l.Until, Nodes: []string{b.g.id}}
		if banKey(ban) > p.After {
			found.add(ban)
		}
	}
	return found.part()
}

func banKey(b admin.Ban) string { return b.Kind + "/" + b.Name }

// mergeBans merges the parts of the nodes into a page.
func mergeBans(p admin.Page, parts []part[admin.Ban]) part[admin.Ban] {
	end := endOf(parts)
	all := make(map[string]admin.Ban)
	for _, some := range parts {
		for _, ban := range some.Items {
			key := banKey(ban)
			if !within(key, end) {
				continue
			}
			if have, ok := all[key]; ok {
				if have.Until.After(ban.Until) {
					have, ban = ban, have
				}
				ban.Nodes = slices.Sorted(slices.Values(append(slices.Clone(ban.Nodes), have.Nodes...)))
			}
			all[key] = ban
		}
	}
	found := &firstOf[admin.Ban]{n: p.Limit, key: banKey}
	for _, ban := range all {
		found.add(ban)
	}
	out := found.part()
	out.Next = cmp.Or(out.Next, end)
	return out
}

// banOrder asks a node to put a ban in force. Releases that do not record bans ask without its end.
type banOrder struct {
	admin.BanRequest
	Until time.Time `json:"until"`
}

// AddBan adds a ban on every node that lives, closes the connections that it applies to, and records it for nodes that start later.
func (b *backend) AddBan(ctx context.Context, r admin.BanRequest) error {
	order := banOrder{r, time.Now().Add(time.Duration(r.Seconds) * time.Second).Truncate(time.Millisecond)}
	ban, err := b.banHere(order)
	if err != nil {
		return err
	}
	recorded := b.g.recordedBans.SetBan(ctx, ban)
	_, missing := ask[any](ctx, b.g.cluster, askBan, order)
	switch what := "in force, but not recorded: a node that starts later does not know it; "; {
	case errors.Is(recorded, meta.ErrLimit):
		recorded = admin.Conflict("%s%w", what, recorded)
	case recorded != nil:
		recorded = fmt.Errorf("%srun it again: %w", what, recorded)
	}
	return errors.Join(recorded, leftOut(missing))
}

// banHere adds a ban on this node.
func (b *backend) banHere(order banOrder) (limits.Ban, error) {
	if order.Until.IsZero() {
		order.Until = time.Now().Add(time.Duration(order.Seconds) * time.Second)
	}
	ban := limits.Ban{Kind: order.Kind, Name: limits.BanName(order.Name), Reason: order.Reason, Until: order.Until}
	if ban.Kind == limits.ByAddress {
		source, err := banned(ban.Name)
		if err != nil {
			return ban, err
		}
		if !b.g.bansAddress(source) {
			return ban, fmt.Errorf("%w: bans of loopback have no effect unless limits.address.loopback is set", admin.ErrInvalid)
		}
		ban.Name = source.String()
	}
	if !b.g.bans.Add(ban) {
		return ban, admin.Conflict("too many are banned already; remove some bans first")
	}
	b.g.log.Info("banned by an operator", "kind", ban.Kind, "name", ban.Name, "until", ban.Until.Format(time.RFC3339))
	b.g.mqtt.CloseBanned(ban)
	return ban, nil
}

// bansAddress reports whether a ban of an address has an effect here.
func (g *Gateway) bansAddress(source netip.Prefix) bool {
	return !source.Addr().IsLoopback() || g.reloads.present().Limits.Address.Loopback
}

// recordedBans are the bans by operators that the metadata holds, for nodes that start later.
type recordedBans interface {
	Bans() []limits.Ban
	SetBan(ctx context.Context, ban limits.Ban) error
	RemoveBan(ctx context.Context, kind, name string) (bool, error)
}

// followBans puts the recorded bans in force that are new, and ends those that are no longer recorded.
func (g *Gateway) followBans() {
	g.followMu.Lock()
	defer g.followMu.Unlock()
	before := g.followed
	g.followed = make(map[string]limits.Ban)
	for _, ban := range g.recordedBans.Bans() {
		if ban.Kind == limits.ByAddress {
			source, err := banned(ban.Name)
			if err != nil || !g.bansAddress(source) {
				continue
			}
			ban.Name = source.String()
		}
		key := ban.Kind + "/" + ban.Name
		g.followed[key] = ban
		if before[key] != ban && g.bans.Add(ban) {
			g.mqtt.CloseBanned(ban)
		}
	}
	for key, ban := range before {
		if _, still := g.followed[key]; !still {
			g.bans.Lift(ban.Kind, ban.Name)
		}
	}
}

// RemoveBan ends a ban on every node.
func (b *backend) RemoveBan(ctx context.Context, kind, name string) error {
	if kind == limits.ByAddress {
		source, err := banned(name)
		if err != nil {
			return err
		}
		name = source.String()
	}
	name = limits.BanName(name)
	recorded, err := b.g.recordedBans.RemoveBan(ctx, kind, name)
	removed := b.g.bans.Remove(kind, name) || recorded
	answers, missing := ask[bool](ctx, b.g.cluster, askUnban, admin.Ban{Kind: kind, Name: name})
	for _, a := range answers {
		removed = removed || a.what
	}
	if err != nil {
		err = fmt.Errorf("ended on the nodes that live, but a node that starts later may know it again; run it again: %w", err)
	}
	if err := errors.Join(err, leftOut(missing)); err != nil {
		return err
	}
	if !removed {
		return fmt.Errorf("%w: no %s %q is banned; lmqgate bans list shows who is", admin.ErrNotFound, kind, name)
	}
	return nil
}

// leftOut returns the error for what was done on all nodes but those that did not answer; nil if all answered.
func leftOut(missing []admin.Unanswered) error {
	if len(missing) == 0 {
		return nil
	}
	var nodes []string
	for _, m := range missing {
		nodes = append(nodes, m.Node+" ("+m.Error+")")
	}
	return fmt.Errorf("done, but not on %s; run it again once all nodes answer", strings.Join(nodes, ", "))
}

// banned parses an address in the form that bans use: an IPv4 address, or a network of IPv6 that limits.NetworksOf knows.
func banned(text string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	if err != nil {
		var addr netip.Addr
		if addr, err = netip.ParseAddr(text); err == nil {
			p = netip.PrefixFrom(addr, addr.BitLen())
		}
	}
	if err != nil {
		return p, fmt.Errorf("%w: %q is no address such as 192.0.2.1 or 2001:db8::1", admin.ErrInvalid, text)
	}
	addr := p.Addr().Unmap()
	switch {
	case addr.Is4() && p.Bits() == 32 || addr.Is4() && p.Addr().Is4In6() && p.Bits() == 128:
		return netip.PrefixFrom(addr, 32), nil
	case addr.Is6() && p.Bits() >= 64:
		return limits.SourceOf(addr), nil
	case addr.Is6() && limits.ShareOf(p) > 1:
		return p.Masked(), nil
	}
	return p, fmt.Errorf("%w: %q is no IPv4 address and no IPv6 network of 64, 56 or 48 bits; keep other networks out with a firewall",
		admin.ErrInvalid, text)
}

// leavesNoWill reports whether an operator has banned a client; see session.Options.Banned. The gateway's own bans do not count: others at
// the client's address may be the reason.
func (g *Gateway) leavesNoWill(clientID string, by *auth.Principal) bool {
	if g.bans.BannedByHand(limits.ByClient, clientID) {
		return true
	}
	if by == nil {
		return false
	}
	if g.bans.BannedByHand(limits.ByUser, by.Username()) || g.bans.BannedByHand(limits.ByUser, by.Identity()) {
		return true
	}
	host, _, err := net.SplitHostPort(by.RemoteAddr())
	if err != nil {
		return false // a socket file
	}
	source, err := banned(host)
	return err == nil && slices.ContainsFunc(limits.NetworksOf(source), func(n limits.Network) bool {
		return g.bans.BannedByHand(limits.ByAddress, n.String())
	})
}
