package main

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/url"

	"github.com/coder/websocket"

	"github.com/lmqgate/lmqgate/core/config"
	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/internal/mqttload"
	"github.com/lmqgate/lmqgate/internal/redact"
)

// target returns the broker that the common MQTT flags name.
func (f *benchFlags) target() (*mqttload.Target, error) {
	version, err := benchVersion(f.version)
	if err != nil {
		return nil, err
	}
	var conf *config.Config
	if f.client.config.given() {
		if conf, err = f.client.config.load(); err != nil {
			return nil, err
		}
	}
	server, err := f.client.server(conf)
	if err != nil {
		return nil, err
	}
	t, err := f.dialer(server)
	if err != nil {
		return nil, err
	}
	t.Version = version
	if err := f.client.findPassword(); err != nil {
		return nil, err
	}
	switch {
	case conf != nil && !f.client.passwordGiven && !conf.Auth.Anonymous():
		user := f.client.username
		t.Login = func(id string) (string, string, error) { return credentials(conf, user, id) }
	case f.client.username != "":
		t.Login = fixedLogin(f.client.username, f.client.password)
	}
	return t, nil
}

// otherTarget returns the broker of --compare.
func (f *benchFlags) otherTarget(version packet.Version) (*mqttload.Target, error) {
	second := clientFlags{url: f.compare, caFile: f.client.caFile, certFile: f.client.certFile, keyFile: f.client.keyFile,
		insecure: f.client.insecure}
	server, err := second.server(nil)
	if err != nil {
		return nil, usagef("--compare wants a URL such as mqtt://127.0.0.1:1884, not %q", f.compare)
	}
	t, err := f.dialer(server)
	if err != nil {
		return nil, err
	}
	t.Version = version
	if f.compareUser != "" {
		t.Login = fixedLogin(f.compareUser, f.comparePassword)
	}
	return t, nil
}

func fixedLogin(user, password string) func(string) (string, string, error) {
	return func(string) (string, string, error) { return user, password, nil }
}

func benchVersion(s string) (packet.Version, error) {
	switch s {
	case "3.1.1", "311", "4":
		return packet.V311, nil
	case "5", "5.0":
		return packet.V5, nil
	}
	return 0, usagef("--mqtt wants 3.1.1 or 5, not %q", s)
}

// dialer returns a target for a URL that clientFlags.server has checked.
func (f *benchFlags) dialer(server string) (*mqttload.Target, error) {
	u, err := url.Parse(server)
	if err != nil {
		return nil, err
	}
	conf, err := f.client.tlsConfig()
	if err != nil {
		return nil, err
	}
	t := &mqttload.Target{Name: redact.Address(server)}
	plain := new(net.Dialer)
	switch u.Scheme {
	case "unix":
		t.Dial = func(ctx context.Context) (net.Conn, error) { return plain.DialContext(ctx, "unix", u.Path) }
	case "ws", "wss":
		t.Dial = func(ctx context.Context) (net.Conn, error) { return dialWebSocket(ctx, server, conf) }
	case "mqtts", "ssl", "tls":
		address := withPort(u, "8883")
		secure := &tls.Dialer{NetDialer: plain, Config: conf}
		t.Dial = func(ctx context.Context) (net.Conn, error) { return secure.DialContext(ctx, "tcp", address) }
	default:
		address := withPort(u, "1883")
		t.Dial = func(ctx context.Context) (net.Conn, error) { return plain.DialContext(ctx, "tcp", address) }
	}
	return t, nil
}

func withPort(u *url.URL, port string) string {
	if u.Port() != "" {
		port = u.Port()
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// dialWebSocket opens a WebSocket that carries MQTT.
func dialWebSocket(ctx context.Context, server string, conf *tls.Config) (net.Conn, error) {
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: conf}}
	ws, _, err := websocket.Dial(ctx, server, &websocket.DialOptions{Subprotocols: []string{"mqtt"}, HTTPClient: client}) //nolint:bodyclose // websocket closes it
	if err != nil {
		return nil, err
	}
	ws.SetReadLimit(-1)
	return websocket.NetConn(context.WithoutCancel(ctx), ws, websocket.MessageBinary), nil
}
