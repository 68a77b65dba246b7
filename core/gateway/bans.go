package gateway

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/lmqgate/lmqgate/core/admin"
	"github.com/lmqgate/lmqgate/core/limits"
)

// Bans lists the bans in force.
func (b *backend) Bans() []admin.Ban {
	var out []admin.Ban
	for _, ban := range b.g.bans.List() {
		out = append(out, admin.Ban(ban))
	}
	return out
}

// AddBan adds a ban and closes the connections that it applies to.
func (b *backend) AddBan(r admin.BanRequest) error {
	ban := limits.Ban{Kind: r.Kind, Name: r.Name, Reason: r.Reason, Until: time.Now().Add(time.Duration(r.Seconds) * time.Second)}
	if r.Kind == limits.ByAddress {
		source, err := banned(r.Name)
		if err != nil {
			return err
		}
		if source.Addr().IsLoopback() && !b.g.reloads.present().Limits.Address.Loopback {
			return fmt.Errorf("%w: bans of loopback have no effect unless limits.address.loopback is set", admin.ErrInvalid)
		}
		ban.Name = source.String()
	}
	if !b.g.bans.Add(ban) {
		return admin.Conflict("too many are banned already; remove some bans first")
	}
	b.g.log.Info("banned by an operator", "kind", ban.Kind, "name", ban.Name, "until", ban.Until.Format(time.RFC3339))
	b.g.mqtt.CloseBanned(ban)
	return nil
}

// RemoveBan ends a ban.
func (b *backend) RemoveBan(kind, name string) error {
	if kind == limits.ByAddress {
		source, err := banned(name)
		if err != nil {
			return err
		}
		name = source.String()
	}
	if !b.g.bans.Remove(kind, name) {
		return fmt.Errorf("%w: no %s %q is banned; lmqgate bans list shows who is", admin.ErrNotFound, kind, name)
	}
	return nil
}

// banned parses an address in the form that bans use: an IPv4 address, or an IPv6 /64 network.
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
		return addr.WithZone("").Prefix(64)
	}
	return p, fmt.Errorf("%w: %q is wider than one IPv4 address or one IPv6 network of 64 bits; keep networks out with a firewall", admin.ErrInvalid, text)
}
