package gateway

import (
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"strconv"

	"github.com/lmqgate/lmqgate/core/config"
	"github.com/lmqgate/lmqgate/core/mqtt"
)

// listeners converts the configured listeners for the MQTT server.
func (g *Gateway) listeners() ([]mqtt.Listener, error) {
	out := make([]mqtt.Listener, 0, len(g.cfg.Listeners))
	for _, l := range g.cfg.Listeners {
		made, err := g.listener(l)
		if err != nil {
			return nil, fmt.Errorf("listener %s %s: %w", l.Type, l.Address, err)
		}
		out = append(out, made)
	}
	return out, nil
}

func (g *Gateway) listener(l config.Listener) (mqtt.Listener, error) {
	out := mqtt.Listener{Type: string(l.Type), Address: l.Address, Path: l.Path, AllowedOrigins: l.AllowedOrigins}
	if l.Type == config.ListenerUnix {
		permissions, err := strconv.ParseUint(l.Permissions, 8, 32)
		if err != nil {
			return out, fmt.Errorf("permissions: %w", err)
		}
		out.Address, out.Path, out.Permissions = l.Path, "", fs.FileMode(permissions)
	}
	for _, from := range l.ProxyProtocol.From {
		network, err := config.ParseNetwork(from)
		if err != nil {
			return out, fmt.Errorf("proxy_protocol.from: %w", err)
		}
		out.ProxyFrom = append(out.ProxyFrom, unmapped(network))
	}
	if l.Type.Encrypted() {
		cfg, err := serverTLS(l, g.log)
		if err != nil {
			return out, err
		}
		out.TLS = cfg
	}
	return out, nil
}

// dashboardOrigins returns the origins of the dashboard's page, which may connect by WebSocket. If the admin address is open to other
// machines, its name is unknown here; an operator then has to list it in allowed_origins.
func (g *Gateway) dashboardOrigins() []string {
	a, ok := g.admin.Addr().(*net.TCPAddr)
	if !ok || !a.IP.IsLoopback() {
		return nil
	}
	var out []string
	for _, host := range []string{a.IP.String(), "localhost"} {
		out = append(out, net.JoinHostPort(host, strconv.Itoa(a.Port)))
	}
	return out
}

// unmapped converts an IPv4 network in IPv6 form to IPv4 form, in which addresses are compared.
func unmapped(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p
}
