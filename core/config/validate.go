package config

import (
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/lmqgate/lmqgate/internal/regular"
)

var (
	nodeIDPattern     = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)
	pluginNamePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)
	topicPattern      = regexp.MustCompile(`^[%|a-zA-Z0-9_-]{1,127}$`)
	checksumPattern   = regexp.MustCompile(`^sha256:[0-9a-fA-F]{64}$`)
)

// maxPacket is the largest possible MQTT packet: a remaining length of 268,435,455 bytes and its five bytes of header (MQTT 2.2.3).
const maxPacket = 268_435_460

// Validate reports the problems of c as an *Error. Load calls it already; call it for configurations that are built in code.
func (c *Config) Validate() error {
	var p problems
	c.validate(&p)
	return p.err()
}

func (c *Config) validate(p *problems) {
	if c.Node.ID != "" && !nodeIDPattern.MatchString(c.Node.ID) {
		p.add("node.id", "%s wants 1 to 64 of letters, digits, '.', '_' and '-'", quote(c.Node.ID))
	}
	duration(p, "node.lease", c.Node.Lease, 2*time.Second, 10*time.Second)
	duration(p, "node.drain_timeout", c.Node.DrainTimeout, 0, time.Hour)
	if c.Node.DataDir == "" {
		p.add("node.data_dir", "wants a directory")
	}
	c.validateListeners(p)
	c.validateMQTT(p)
	c.validateLimits(p)
	c.validatePlugins(p)
	c.validateStore(p)
	c.validateTopics(p)
	c.validateEvents(p)
	c.validateTracing(p)
	c.validateAdmin(p)
	oneOf(p, "log.level", c.Log.Level, "debug", "info", "warn", "error")
	oneOf(p, "log.format", c.Log.Format, LogText, LogJSON)
}

func (c *Config) validateMQTT(p *problems) {
	between(p, "mqtt.max_packet_size", int64(c.MQTT.MaxPacketSize), 64, maxPacket)
	between(p, "mqtt.receive_maximum", int64(c.MQTT.ReceiveMaximum), 1, 65535)
	between(p, "mqtt.max_connections", int64(c.MQTT.MaxConnections), 0, 1<<31-1)
	duration(p, "mqtt.max_keep_alive", c.MQTT.MaxKeepAlive, time.Second, 65535*time.Second)
	duration(p, "mqtt.session_expiry_max", c.MQTT.SessionExpiryMax, time.Second, 0)
	duration(p, "mqtt.sys_interval", c.MQTT.SysInterval, time.Second, time.Hour)
	between(p, "mqtt.max_topic_levels", int64(c.MQTT.MaxTopicLevels), 1, 65535)
	oneOf(p, "mqtt.session_owner", c.MQTT.SessionOwner, OwnerIdentity, OwnerClientID)
	propertyText(p, "mqtt.response_information", c.MQTT.ResponseInformation)
	propertyText(p, "mqtt.server_reference", c.MQTT.ServerReference)
}

func (c *Config) validateLimits(p *problems) {
	const most = 1_000_000
	between(p, "limits.node.unauthenticated", int64(c.Limits.Node.Unauthenticated), 0, most)
	const leastMemory, mostMemory = 64 << 10, 1 << 44
	between(p, "limits.client.inbound_memory", int64(c.Limits.Client.InboundMemory), leastMemory, mostMemory)
	between(p, "limits.client.outbound_memory", int64(c.Limits.Client.OutboundMemory), leastMemory, mostMemory)
	orNone(p, "limits.node.memory", int64(c.Limits.Node.Memory), 64<<20, mostMemory)
	orNone(p, "limits.node.inbound_memory", int64(c.Limits.Node.InboundMemory), 1<<20, mostMemory)
	orNone(p, "limits.node.outbound_memory", int64(c.Limits.Node.OutboundMemory), 1<<20, mostMemory)
	between(p, "limits.client.flaps", int64(c.Limits.Client.Flaps), 0, most)
	between(p, "limits.client.subscriptions", int64(c.Limits.Client.Subscriptions), 1, most)
	between(p, "limits.client.share", int64(c.Limits.Client.Share), 1, 100)
	between(p, "limits.identity.share", int64(c.Limits.Identity.Share), 1, 100)
	between(p, "limits.identity.connections", int64(c.Limits.Identity.Connections), 0, 1<<31-1)
	between(p, "limits.address.connections", int64(c.Limits.Address.Connections), 0, 1<<31-1)
	between(p, "limits.cluster.reserve", int64(c.Limits.Cluster.Reserve), 1, 90)
	between(p, "limits.cluster.sessions", int64(c.Limits.Cluster.Sessions), 0, mostMemory)
	between(p, "limits.cluster.filters", int64(c.Limits.Cluster.Filters), 0, mostMemory)
	between(p, "limits.cluster.retained_messages", int64(c.Limits.Cluster.RetainedMessages), 0, mostMemory)
	between(p, "limits.cluster.topics", int64(c.Limits.Cluster.Topics), 0, mostMemory)
	orNone(p, "limits.node.filter_memory", int64(c.Limits.Node.FilterMemory), 1<<20, mostMemory)
	orNone(p, "limits.node.subscription_memory", int64(c.Limits.Node.SubscriptionMemory), 1<<20, mostMemory)
	orNone(p, "limits.node.retained_memory", int64(c.Limits.Node.RetainedMemory), 1<<20, mostMemory)
	between(p, "limits.node.connect_memory", int64(c.Limits.Node.ConnectMemory), 256<<10, 1<<40)
	between(p, "limits.listener.unauthenticated", int64(c.Limits.Listener.Unauthenticated), 0, most)
	for _, rate := range []struct {
		key string
		n   int64
	}{
		{"limits.client.connect_rate", int64(c.Limits.Client.ConnectRate)},
		{"limits.client.message_rate", int64(c.Limits.Client.MessageRate)},
		{"limits.client.byte_rate", int64(c.Limits.Client.ByteRate)},
		{"limits.client.subscribe_rate", int64(c.Limits.Client.SubscribeRate)},
		{"limits.client.outbound_byte_rate", int64(c.Limits.Client.OutboundByteRate)},
		{"limits.identity.connect_rate", int64(c.Limits.Identity.ConnectRate)},
		{"limits.identity.message_rate", int64(c.Limits.Identity.MessageRate)},
		{"limits.identity.byte_rate", int64(c.Limits.Identity.ByteRate)},
		{"limits.identity.subscribe_rate", int64(c.Limits.Identity.SubscribeRate)},
		{"limits.identity.outbound_byte_rate", int64(c.Limits.Identity.OutboundByteRate)},
		{"limits.listener.connect_rate", int64(c.Limits.Listener.ConnectRate)},
		{"limits.listener.message_rate", int64(c.Limits.Listener.MessageRate)},
		{"limits.listener.byte_rate", int64(c.Limits.Listener.ByteRate)},
		{"limits.listener.subscribe_rate", int64(c.Limits.Listener.SubscribeRate)},
		{"limits.listener.outbound_byte_rate", int64(c.Limits.Listener.OutboundByteRate)},
		{"limits.address.connect_rate", int64(c.Limits.Address.ConnectRate)},
		{"limits.address.message_rate", int64(c.Limits.Address.MessageRate)},
		{"limits.address.byte_rate", int64(c.Limits.Address.ByteRate)},
		{"limits.address.subscribe_rate", int64(c.Limits.Address.SubscribeRate)},
		{"limits.address.outbound_byte_rate", int64(c.Limits.Address.OutboundByteRate)},
		{"limits.node.connect_rate", int64(c.Limits.Node.ConnectRate)},
		{"limits.node.message_rate", int64(c.Limits.Node.MessageRate)},
		{"limits.node.byte_rate", int64(c.Limits.Node.ByteRate)},
		{"limits.node.subscribe_rate", int64(c.Limits.Node.SubscribeRate)},
		{"limits.node.outbound_byte_rate", int64(c.Limits.Node.OutboundByteRate)},
		{"limits.address.failed_logins", int64(c.Limits.Address.FailedLogins)},
	} {
		between(p, rate.key, rate.n, 0, 1<<40)
	}
	between(p, "limits.address.unauthenticated", int64(c.Limits.Address.Unauthenticated), 0, most)
}

func (c *Config) validatePlugins(p *problems) {
	pluginName(p, "auth.plugin", c.Auth.Plugin)
	pluginName(p, "meta.plugin", c.Meta.Plugin)
	if c.Meta.Plugin == AuthNone {
		p.add("meta.plugin", "wants a meta plugin; only auth.plugin can be none")
	}
	if next := c.Meta.Next; next.Plugin != "" {
		pluginName(p, "meta.next.plugin", next.Plugin)
	} else if len(next.Config) > 0 {
		p.add("meta.next.plugin", "is missing: meta.next.config is of which plugin?")
	}
	if m := c.Plugins.MemoryLimit; m != 0 && m < 32<<20 {
		p.add("plugins.memory_limit", "%s wants at least 32MiB, or 0 for no limit", m)
	}
	if t := c.Plugins.StartTimeout; t < time.Second || t > 10*time.Minute {
		p.add("plugins.start_timeout", "%s is out of range; it wants 1s to 10m", formatDuration(t))
	}
	for _, name := range sortedKeys(c.Plugins.Checksums) {
		key := "plugins.checksums." + name
		pluginName(p, key, name)
		if sum := c.Plugins.Checksums[name]; !checksumPattern.MatchString(sum) {
			p.add(key, "%s wants sha256: and 64 hexadecimal digits", quote(sum))
		}
	}
}

func (c *Config) validateStore(p *problems) {
	oneOf(p, "store.type", c.Store.Type, StoreRocketMQ, StoreLocal)
	r := c.Store.RocketMQ
	if len(r.Namesrv) == 0 && c.Store.Type == StoreRocketMQ {
		p.add("store.rocketmq.namesrv", `wants at least one name server, such as ["127.0.0.1:9876"]`)
	}
	for i, address := range r.Namesrv {
		key := "store.rocketmq.namesrv[" + strconv.Itoa(i) + "]"
		host, port, err := net.SplitHostPort(address)
		if err != nil || host == "" || !validPort(port) || port == "0" {
			p.add(key, "%s wants host:port, such as 127.0.0.1:9876", quote(address))
		}
	}
	if (r.AccessKey == "") != (r.SecretKey == "") {
		p.add("store.rocketmq.access_key", "access_key and secret_key go together: set both or none")
	}
	if r.SecurityToken != "" && r.AccessKey == "" {
		p.add("store.rocketmq.security_token", "goes with access_key and secret_key, which are not set")
	}
	if (r.TLS.CertFile == "") != (r.TLS.KeyFile == "") {
		p.add("store.rocketmq.tls.cert_file", "cert_file and key_file go together: set both or none")
	}
	oneOf(p, "store.rocketmq.dispatch", r.Dispatch, DispatchAuto, DispatchCompatible, DispatchLean)
	oneOf(p, "store.rocketmq.producer", r.Producer, ProducerRemoting, ProducerClientGo)
	if r.Producer == ProducerClientGo && (r.TLS.Enabled || r.SecurityToken != "") {
		p.add("store.rocketmq.producer", "client-go can neither verify TLS certificates nor sign with a security token; use remoting")
	}
	duration(p, "store.rocketmq.send_timeout", r.SendTimeout, 100*time.Millisecond, time.Minute)
	duration(p, "store.local.sync", c.Store.Local.Sync.Interval(), time.Millisecond, time.Hour)
	duration(p, "store.local.retention", c.Store.Local.Retention, time.Second, 0)
}

func (c *Config) validateTopics(p *problems) {
	between(p, "topics.queues", int64(c.Topics.Queues), 1, 1024)
	between(p, "topics.max_filters", int64(c.Topics.MaxFilters), 1, 1<<31-1)
	if f := c.Topics.Fallback; f != "" && (!topicPattern.MatchString(f) || strings.HasPrefix(f, "%")) {
		p.add("topics.fallback", "%s wants a RocketMQ topic: 1 to 127 of letters, digits, '_' and '-'", quote(f))
	}
}

func (c *Config) validateEvents(p *problems) {
	switch name := c.Events.Topic; {
	case name == "" && c.Events.MQTT:
		p.add("events.mqtt", "wants events.topic, which keeps the events")
	case name == "":
	case !topicPattern.MatchString(name) || strings.HasPrefix(name, "%") || strings.HasPrefix(name, "lmqgate_"):
		p.add("events.topic", "%s wants a RocketMQ topic: 1 to 127 of letters, digits, '_' and '-', not beginning with lmqgate_", quote(name))
	case name == c.Topics.Fallback:
		p.add("events.topic", "%s is topics.fallback, where clients publish; events want a topic of their own", quote(name))
	}
}

func (c *Config) validateAdmin(p *problems) {
	listenAddress(p, "admin.address", c.Admin.Address)
	for i, l := range c.Listeners {
		if sameAddress(l.Address, c.Admin.Address) {
			p.add("admin.address", "%s is taken by listeners[%d]", quote(c.Admin.Address), i)
		}
	}
	c.validateAdminTokens(p)
	if c.Admin.Token == "" && !Loopback(c.Admin.Address) {
		p.add("admin.token", "wants a token, because admin.address %s is not a loopback address", quote(c.Admin.Address))
	}
	if c.Admin.Token != "" {
		validateToken(p, "admin.token", c.Admin.Token)
	}
	if (c.Admin.CertFile == "") != (c.Admin.KeyFile == "") {
		p.add("admin.cert_file", "cert_file and key_file go together: set both or none")
	}
}

// validateToken checks that a token cannot be guessed and can be sent.
func validateToken(p *problems, key string, token Secret) {
	if n := len(token); n < minToken {
		p.add(key, "has %d bytes; a token that cannot be guessed has at least %d, such as the output of: openssl rand -hex 16", n, minToken)
	}
	if strings.ContainsFunc(string(token), func(r rune) bool { return r <= ' ' || r > '~' }) {
		p.add(key, "wants printable ASCII without spaces, because it travels in an HTTP header")
	}
}

func (c *Config) validateAdminTokens(p *problems) {
	names, tokens := map[string]bool{}, map[Secret]bool{c.Admin.Token: true}
	for i, t := range c.Admin.Tokens {
		key := fmt.Sprintf("admin.tokens[%d]", i)
		if n := len(t.Name); n < 1 || n > 64 || strings.ContainsFunc(t.Name, func(r rune) bool { return !unicode.IsPrint(r) }) {
			p.add(key+".name", "wants 1 to 64 printable characters that say whose token it is")
		} else if names[t.Name] {
			p.add(key+".name", "%s is there twice; give each token a name of its own", quote(t.Name))
		}
		oneOf(p, key+".role", t.Role, RoleAdmin, RoleViewer)
		validateToken(p, key+".token", t.Token)
		if t.Token != "" && tokens[t.Token] {
			p.add(key+".token", "is the token of somebody else as well; make one for each")
		}
		names[t.Name], tokens[t.Token] = true, true
	}
}

// checkFiles reports files that are named but cannot be read, so that a
// mistyped path is an error of its key and not of a TLS library.
func (c *Config) checkFiles(p *problems) {
	check := func(key, path string) {
		if path == "" {
			return
		}
		f, err := regular.Open(path)
		if err != nil {
			p.add(key, "%s", err)
			return
		}
		_ = f.Close()
	}
	c.eachTLS(func(at, cert, key, authorities, authoritiesKey string) {
		check(at+"cert_file", cert)
		check(at+"key_file", key)
		check(at+authoritiesKey, authorities)
	})
}

// CheckTLS reports, as an *Error, certificates, keys and authorities that would fail at the start: a key of another certificate, or a file
// of another kind.
func (c *Config) CheckTLS() error {
	p := problems{where: c.Where}
	c.eachTLS(func(at, cert, key, authorities, authoritiesKey string) {
		if cert != "" {
			if _, err := regular.KeyPair(cert, key); err != nil {
				p.add(at+"cert_file", "certificate %s with key %s: %s", cert, key, strings.TrimPrefix(err.Error(), "tls: "))
			}
		}
		if authorities != "" {
			if pem, err := regular.Read(authorities); err != nil || !x509.NewCertPool().AppendCertsFromPEM(pem) {
				p.add(at+authoritiesKey, "%s holds no certificate in PEM form", authorities)
			}
		}
	})
	return p.err()
}

// Certificate names the files of one certificate that the configuration uses.
type Certificate struct{ Key, CertFile, KeyFile string }

// Certificates lists the certificates that the configuration uses.
func (c *Config) Certificates() (out []Certificate) {
	c.eachTLS(func(at, cert, key, _, _ string) {
		if cert != "" {
			out = append(out, Certificate{Key: at + "cert_file", CertFile: cert, KeyFile: key})
		}
	})
	return out
}

// eachTLS visits the places that name files for TLS, where TLS is used.
func (c *Config) eachTLS(visit func(at, cert, key, authorities, authoritiesKey string)) {
	for i, l := range c.Listeners {
		if l.Type.Encrypted() {
			visit("listeners["+strconv.Itoa(i)+"].", l.CertFile, l.KeyFile, l.ClientCAFile, "client_ca_file")
		}
	}
	visit("admin.", c.Admin.CertFile, c.Admin.KeyFile, "", "")
	if t := c.Store.RocketMQ.TLS; c.Store.Type == StoreRocketMQ && t.Enabled {
		visit("store.rocketmq.tls.", t.CertFile, t.KeyFile, t.CAFile, "ca_file")
	}
}

func oneOf(p *problems, key, value string, allowed ...string) bool {
	if slices.Contains(allowed, value) {
		return true
	}
	last := len(allowed) - 1
	p.add(key, "%s wants %s or %s", describeText(value), strings.Join(allowed[:last], ", "), allowed[last])
	return false
}

func describeText(s string) string {
	if s == "" {
		return "it is empty and"
	}
	return quote(s)
}

func between(p *problems, key string, n, low, high int64) {
	if n < low || n > high {
		p.add(key, "%d is out of range; it wants %d to %d", n, low, high)
	}
}

// orNone accepts 0 and low to high.
func orNone(p *problems, key string, n, low, high int64) {
	if n != 0 {
		between(p, key, n, low, high)
	}
}

// duration accepts 0 and low to high; a high of 0 is no upper limit.
func duration(p *problems, key string, d, low, high time.Duration) {
	switch {
	case d == 0:
	case high == 0 && d < low:
		p.add(key, "%s is too short; it wants at least %s, or 0", formatDuration(d), formatDuration(low))
	case high != 0 && (d < low || d > high):
		p.add(key, "%s is out of range; it wants %s to %s, or 0", formatDuration(d), formatDuration(low), formatDuration(high))
	}
}

// pluginName refuses anything that could lead out of plugins.dir.
func pluginName(p *problems, key, name string) {
	if !pluginNamePattern.MatchString(name) {
		p.add(key, "%s wants the file name of a plugin, such as %s", describeText(name), DefaultAuthPlugin)
	}
}

func listenAddress(p *problems, key, address string) {
	host, port, err := net.SplitHostPort(address)
	switch {
	case address == "":
		p.add(key, "wants an address to listen on, such as 127.0.0.1:1883")
	case err != nil || strings.ContainsAny(host, " \t\r\n/"):
		p.add(key, "%s wants host:port, such as 127.0.0.1:1883 or :1883", quote(address))
	case !validPort(port):
		p.add(key, "%s wants a port from 0 to 65535", quote(address))
	}
}

func validPort(port string) bool {
	_, err := strconv.ParseUint(port, 10, 16)
	return err == nil
}

// validHTTPPath accepts valid paths of an HTTP request.
func validHTTPPath(path string) bool {
	return strings.HasPrefix(path, "/") && !strings.ContainsFunc(path, func(r rune) bool {
		return r <= ' ' || r > '~' || r == '?' || r == '#' || r == '{' || r == '}'
	})
}

// sameAddress reports whether two listeners cannot both listen. Port 0 never collides.
func sameAddress(a, b string) bool {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	if errA != nil || errB != nil || portA != portB || portA == "0" {
		return false
	}
	return hostA == hostB || everyInterface(hostA) || everyInterface(hostB)
}

func everyInterface(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "" || (err == nil && ip.IsUnspecified())
}

// Loopback reports whether only this machine can reach an address. A name
// other than localhost may resolve to anything, so it is not.
func Loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || (err == nil && ip.Unmap().IsLoopback())
}

var _ fmt.Stringer = Problem{}
