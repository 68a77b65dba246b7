package config

import (
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"unicode/utf8"
)

var (
	// originPattern matches an optional scheme and a host with an optional port; any part may be a "*".
	originPattern      = regexp.MustCompile(`^([a-z][a-z0-9+.-]*://)?[A-Za-z0-9*_-][A-Za-z0-9.*_-]*(:[0-9*]+)?$`)
	permissionsPattern = regexp.MustCompile(`^0?[0-7]{3}$`)
)

// maxSocketPath is the longest path of a socket file that works on every system (a longer temporary name beside it is used for a moment).
const maxSocketPath = 96

func (c *Config) validateListeners(p *problems) {
	if len(c.Listeners) == 0 {
		p.add("listeners", "wants at least one listener")
	}
	for i, l := range c.Listeners {
		at := "listeners[" + strconv.Itoa(i) + "]"
		known := oneOf(p, at+".type", string(l.Type),
			string(ListenerTCP), string(ListenerTLS), string(ListenerWS), string(ListenerWSS), string(ListenerUnix))
		if l.Type == ListenerUnix {
			c.validateSocket(p, at, i)
		} else {
			c.validateAddress(p, at, i)
		}
		if !known {
			continue
		}
		c.validateListenerTLS(p, at, l)
		validateOrigins(p, at, l)
		validateProxies(p, at, l)
	}
	c.validateDemo(p)
}

// validateDemo refuses the public demo secret if a listener is open to other machines.
func (c *Config) validateDemo(p *problems) {
	open := slices.IndexFunc(c.Listeners, func(l Listener) bool {
		_, _, err := net.SplitHostPort(l.Address)
		return l.Type != ListenerUnix && err == nil && !Loopback(l.Address)
	})
	users, _ := c.Auth.Config["users"].([]any)
	if open < 0 || c.Auth.Plugin != DefaultAuthPlugin {
		return
	}
	for i, entry := range users {
		if u, _ := entry.(map[string]any); u["secret_key"] == DemoSecret {
			p.add("auth.config.users["+strconv.Itoa(i)+"].secret_key", "everybody knows the secret key %s, and listeners[%d] (%s) is open to other machines: choose a secret key of your own, such as the output of: openssl rand -hex 16",
				DemoSecret, open, c.Listeners[open].Address)
		}
	}
}

func (c *Config) validateAddress(p *problems, at string, i int) {
	l := c.Listeners[i]
	listenAddress(p, at+".address", l.Address)
	for j := range i {
		if sameAddress(l.Address, c.Listeners[j].Address) {
			p.add(at+".address", "%s is taken by listeners[%d]", quote(l.Address), j)
		}
	}
	if l.Permissions != "" {
		p.add(at+".permissions", "is for unix only; the listener's type is %s", l.Type)
	}
	switch {
	case !l.Type.WebSocket() && l.Path != "":
		p.add(at+".path", "is for ws, wss and unix only; a %s listener has no path", l.Type)
	case l.Type.WebSocket() && l.Path != "" && !validHTTPPath(l.Path):
		p.add(at+".path", "%s wants an HTTP path, such as /mqtt", quote(l.Path))
	}
}

func (c *Config) validateSocket(p *problems, at string, i int) {
	l := c.Listeners[i]
	if l.Address != "" {
		p.add(at+".address", "is not for unix, which listens on the socket file path")
	}
	switch {
	case l.Path == "":
		p.add(at+".path", "wants a socket file, such as /run/lmqgate/mqtt.sock, because the listener's type is unix")
	case len(l.Path) > maxSocketPath:
		p.add(at+".path", "%s is too long for a socket file; it wants at most %d bytes", quote(l.Path), maxSocketPath)
	}
	for j := range i {
		if c.Listeners[j].Type == ListenerUnix && c.Listeners[j].Path == l.Path && l.Path != "" {
			p.add(at+".path", "%s is taken by listeners[%d]", quote(l.Path), j)
		}
	}
	if l.Permissions != "" && !permissionsPattern.MatchString(l.Permissions) {
		p.add(at+".permissions", `%s wants permissions in octal, such as "0600" or "0660"`, quote(l.Permissions))
	}
}

func (c *Config) validateListenerTLS(p *problems, at string, l Listener) {
	files := []struct {
		key, value string
		required   bool
	}{{"cert_file", l.CertFile, true}, {"key_file", l.KeyFile, true}, {"client_ca_file", l.ClientCAFile, false}}
	for _, f := range files {
		switch {
		case l.Type.Encrypted() && f.required && f.value == "":
			p.add(at+"."+f.key, "wants a PEM file, because the listener's type is %s", l.Type)
		case !l.Type.Encrypted() && f.value != "":
			p.add(at+"."+f.key, "is for tls and wss only; the listener's type is %s", l.Type)
		}
	}
	switch {
	case l.TLSMinVersion == "":
	case !l.Type.Encrypted():
		p.add(at+".tls_min_version", "is for tls and wss only; the listener's type is %s", l.Type)
	default:
		oneOf(p, at+".tls_min_version", l.TLSMinVersion, "1.2", "1.3")
	}
	if l.ClientCert == "" {
		return
	}
	if oneOf(p, at+".client_cert", l.ClientCert, ClientCertRequired, ClientCertOptional) && l.ClientCAFile == "" {
		p.add(at+".client_cert", "goes with client_ca_file, which is not set")
	}
}

func validateOrigins(p *problems, at string, l Listener) {
	if len(l.AllowedOrigins) > 0 && !l.Type.WebSocket() {
		p.add(at+".allowed_origins", "is for ws and wss only; the listener's type is %s", l.Type)
		return
	}
	for i, origin := range l.AllowedOrigins {
		if !originPattern.MatchString(origin) {
			p.add(at+".allowed_origins["+strconv.Itoa(i)+"]", "%s wants an origin, such as https://app.example.com, or *", describeText(origin))
		}
	}
}

func validateProxies(p *problems, at string, l Listener) {
	if len(l.ProxyProtocol.From) > 0 && l.Type == ListenerUnix {
		p.add(at+".proxy_protocol.from", "is not for unix, whose clients have no addresses")
		return
	}
	for i, from := range l.ProxyProtocol.From {
		if _, err := ParseNetwork(from); err != nil {
			p.add(at+".proxy_protocol.from["+strconv.Itoa(i)+"]", "%s wants an address or a network, such as 10.0.0.0/8", describeText(from))
		}
	}
}

// ParseNetwork reads an address or a network in CIDR form; an address is a network of its own.
func ParseNetwork(s string) (netip.Prefix, error) {
	if prefix, err := netip.ParsePrefix(s); err == nil {
		return prefix.Masked(), nil
	}
	addr, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, err
	}
	return netip.PrefixFrom(addr, addr.BitLen()), nil
}

// propertyText checks a text that is sent as a property of an MQTT packet.
func propertyText(p *problems, key, text string) {
	for _, r := range text {
		if r == 0 || r == utf8.RuneError {
			p.add(key, "wants UTF-8 text without U+0000")
			return
		}
	}
	if len(text) > 1024 {
		p.add(key, "has %d bytes; it wants at most 1024", len(text))
	}
}
