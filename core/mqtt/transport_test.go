package mqtt_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/pires/go-proxyproto"
	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/mqtt"
	"github.com/lmqgate/lmqgate/core/mqtt/mqtttest"
	"github.com/lmqgate/lmqgate/core/packet"
)

// authority is a certificate authority.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	raw, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(raw)
	require.NoError(t, err)
	return &authority{t, cert, key}
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// issue returns a certificate for a name. It is valid for servers on the loopback interface and for clients.
func (a *authority) issue(name string) tls.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(a.t, err)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{name + ".example.com"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	raw, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &key.PublicKey, a.key)
	require.NoError(a.t, err)
	return tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key}
}

// listening sets the listeners of a node.
func listening(list ...mqtt.Listener) func(*mqtttest.Config) {
	return func(c *mqtttest.Config) { c.MQTT.Listeners = list }
}

func dial(t *testing.T, addr net.Addr) net.Conn {
	t.Helper()
	nc, err := net.DialTimeout(addr.Network(), addr.String(), mqtttest.Patience)
	require.NoError(t, err)
	return nc
}

// dialWS opens a WebSocket. o can supply the underlying connection.
func dialWS(t *testing.T, url string, o *websocket.DialOptions) (*websocket.Conn, *http.Response, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), mqtttest.Patience)
	defer cancel()
	if o.Subprotocols == nil {
		o.Subprotocols = []string{"mqtt"}
	}
	ws, resp, err := websocket.Dial(ctx, url, o)
	if ws != nil {
		t.Cleanup(func() { _ = ws.CloseNow() })
	}
	return ws, resp, err
}

// Proves 3.1.1: [MQTT-7.1.1-1]
// Proves 5.0: [MQTT-4.2-1]
func TestTheCertificateOfAClientReachesTheAuthority(t *testing.T) {
	t.Parallel()
	ca, other := newAuthority(t), newAuthority(t)
	server := func(auth tls.ClientAuthType) *tls.Config {
		return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{ca.issue("server")}, ClientCAs: ca.pool(), ClientAuth: auth}
	}
	rules := &mqtttest.Rules{}
	n := mqtttest.Start(t, func(c *mqtttest.Config) { c.Authority = rules }, listening(
		mqtt.Listener{Type: "tls", Address: "127.0.0.1:0", TLS: server(tls.RequireAndVerifyClientCert)},
		mqtt.Listener{Type: "tls", Address: "127.0.0.1:0", TLS: server(tls.VerifyClientCertIfGiven)},
		mqtt.Listener{Type: "wss", Address: "127.0.0.1:0", Path: "/mqtt", TLS: server(tls.RequireAndVerifyClientCert)}))
	client := func(certs ...tls.Certificate) *tls.Config {
		return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: ca.pool(), ServerName: "127.0.0.1", Certificates: certs}
	}
	names := func() (listener, name string) {
		all := rules.Requests()
		last := all[len(all)-1]
		if len(last.PeerCertificates) > 0 {
			name = last.PeerCertificates[0].Subject.CommonName
		}
		return last.Listener, name
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		cfg := client(ca.issue("device-7"))
		cfg.MinVersion, cfg.MaxVersion = version, version
		n.Client(tls.Client(dial(t, n.Addr(0)), cfg), packet.V5).Connect("a")
		listener, name := names()
		require.Equal(t, [2]string{"tls", "device-7"}, [2]string{listener, name})
	}
	n.Client(tls.Client(dial(t, n.Addr(1)), client()), packet.V311).Connect("b")
	_, name := names()
	require.Empty(t, name, "a certificate is optional here")

	ws, _, err := dialWS(t, "wss://"+n.Addr(2).String()+"/mqtt", &websocket.DialOptions{ //nolint:bodyclose // websocket does
		HTTPClient: &http.Client{Transport: &http.Transport{TLSClientConfig: client(ca.issue("browser"))}}})
	require.NoError(t, err)
	n.Client(websocket.NetConn(context.Background(), ws, websocket.MessageBinary), packet.V5).Connect("c")
	listener, name := names()
	require.Equal(t, [2]string{"wss", "browser"}, [2]string{listener, name})

	seen := len(rules.Requests())
	for i, cfg := range []*tls.Config{client(), client(other.issue("stranger")), {MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11, RootCAs: ca.pool(), ServerName: "127.0.0.1"}} {
		c := n.Client(tls.Client(dial(t, n.Addr(0)), cfg), packet.V5)
		_ = c.TrySendRaw(c.Encode(nil, &packet.Connect{Version: packet.V5, CleanStart: true, ClientID: "x"})...)
		c.ExpectClosed()
		require.Len(t, rules.Requests(), seen, "configuration %d", i)
	}
}

func TestASocketFileIsForItsUserReplacesAStaleOneAndGoesWithTheServer(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "lmq") //nolint:usetesting // a socket's path has to be short
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "mqtt.sock")
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	require.NoError(t, err)
	stale.SetUnlinkOnClose(false)
	require.NoError(t, stale.Close())

	rules := &mqtttest.Rules{}
	n := mqtttest.Start(t, func(c *mqtttest.Config) { c.Authority = rules }, listening(mqtt.Listener{Type: "unix", Address: path, Permissions: 0o600}))
	require.Equal(t, path, n.Addr(0).String())
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.ModeSocket|0o600, info.Mode())
	c := n.Client(dial(t, n.Addr(0)), packet.V5).Connect("local")
	c.Subscribe(1, "T/a")
	n.Connect(packet.V5, "remote").Publish(1, "T/a", "x")
	c.ExpectPublish("T/a", "x")
	require.Equal(t, [2]string{"unix", "unix"}, [2]string{rules.Requests()[0].Listener, rules.Requests()[0].RemoteAddr})

	second := mqtt.New(mqtt.Options{Listeners: []mqtt.Listener{{Type: "unix", Address: path, Permissions: 0o600}}})
	_, err = second.Listen()
	require.ErrorContains(t, err, "in use by another process")
	second.Close()
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	third := mqtt.New(mqtt.Options{Listeners: []mqtt.Listener{{Type: "unix", Address: file, Permissions: 0o600}}})
	_, err = third.Listen()
	require.ErrorContains(t, err, "is no socket")
	third.Close()
	n.Stop()
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 1, "only the file that is no socket is left")
}

func TestALoadBalancersHeaderTellsTheClientsAddress(t *testing.T) {
	t.Parallel()
	rules := &mqtttest.Rules{}
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	elsewhere := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	ca := newAuthority(t)
	server := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{ca.issue("server")}}
	n := mqtttest.Start(t, func(c *mqtttest.Config) { c.Authority = rules }, listening(
		mqtt.Listener{Type: "tcp", Address: "127.0.0.1:0", ProxyFrom: loopback},
		mqtt.Listener{Type: "tls", Address: "127.0.0.1:0", ProxyFrom: loopback, TLS: server},
		mqtt.Listener{Type: "ws", Address: "127.0.0.1:0", Path: "/mqtt", ProxyFrom: loopback},
		mqtt.Listener{Type: "tcp", Address: "127.0.0.1:0", ProxyFrom: elsewhere},
		mqtt.Listener{Type: "ws", Address: "127.0.0.1:0", Path: "/mqtt", ProxyFrom: elsewhere}))
	client := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 4711}
	through := func(addr net.Addr, version byte) net.Conn {
		nc := dial(t, addr)
		_, err := proxyproto.HeaderProxyFromAddrs(version, client, nc.RemoteAddr()).WriteTo(nc)
		require.NoError(t, err)
		return nc
	}
	last := func() string {
		all := rules.Requests()
		return all[len(all)-1].RemoteAddr
	}
	for _, version := range []byte{1, 2} {
		n.Client(through(n.Addr(0), version), packet.V5).Connect("a")
		require.Equal(t, client.String(), last())
		secure := tls.Client(through(n.Addr(1), version), &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: ca.pool(), ServerName: "127.0.0.1"})
		n.Client(secure, packet.V5).Connect("b")
		require.Equal(t, client.String(), last())
		ws, _, err := dialWS(t, "ws://"+n.Addr(2).String()+"/mqtt", &websocket.DialOptions{ //nolint:bodyclose // websocket does
			HTTPClient: &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
				return through(n.Addr(2), version), nil
			}}}})
		require.NoError(t, err)
		n.Client(websocket.NetConn(context.Background(), ws, websocket.MessageBinary), packet.V5).Connect("c")
		require.Equal(t, client.String(), last())
	}
	// A connection from the load balancer itself, such as a health check, has no client address in its header.
	own := dial(t, n.Addr(0))
	_, err := (&proxyproto.Header{Version: 2, Command: proxyproto.LOCAL}).WriteTo(own)
	require.NoError(t, err)
	n.Client(own, packet.V5).Connect("d")
	require.Contains(t, last(), "127.0.0.1:")

	// Other hosts may connect, but must not send a PROXY header.
	n.Client(dial(t, n.Addr(3)), packet.V5).Connect("e")
	seen := len(rules.Requests())
	for name, nc := range map[string]net.Conn{"no header from the load balancer": dial(t, n.Addr(0)), "a header from another": through(n.Addr(3), 1)} {
		t.Log(name)
		c := n.Client(nc, packet.V5)
		_ = c.TrySendRaw(c.Encode(nil, &packet.Connect{Version: packet.V5, CleanStart: true, ClientID: "x"})...)
		c.ExpectClosed()
	}
	for i, nc := range []net.Conn{dial(t, n.Addr(2)), through(n.Addr(4), 2)} {
		_, err := io.WriteString(nc, "GET /mqtt HTTP/1.1\r\nHost: x\r\n\r\n")
		require.NoError(t, err)
		answer, _ := io.ReadAll(nc)
		require.NotContains(t, string(answer), "101", "connection %d", i)
		_ = nc.Close()
	}
	require.Len(t, rules.Requests(), seen)
}

func TestPagesOfOtherOriginsConnectOnlyWhereTheyAreAllowed(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t, listening(
		mqtt.Listener{Type: "ws", Address: "127.0.0.1:0", Path: "/mqtt"},
		mqtt.Listener{Type: "ws", Address: "127.0.0.1:0", Path: "/mqtt", AllowedOrigins: []string{"https://*.example.com", "localhost:3000"}},
		mqtt.Listener{Type: "ws", Address: "127.0.0.1:0", Path: "/mqtt", AllowedOrigins: []string{"*"}}))
	const own = "own"
	for _, c := range []struct {
		listener int
		origin   string
		allowed  bool
	}{
		{0, "", true}, {0, own, true}, {0, "https://app.example.com", false}, {0, "null", false}, {0, "http://127.0.0.1", false},
		{1, "", true}, {1, own, true}, {1, "https://app.example.com", true}, {1, "HTTPS://APP.example.com", true}, {1, "http://localhost:3000", true},
		{1, "http://app.example.com", false}, {1, "https://example.com.evil.org", false}, {1, "https://example.com", false}, {1, "http://localhost", false},
		{2, "https://evil.org", true}, {2, "null", true},
	} {
		addr := n.Addr(c.listener).String()
		o := &websocket.DialOptions{HTTPHeader: http.Header{}}
		switch c.origin {
		case "":
		case own:
			o.HTTPHeader.Set("Origin", "http://"+addr)
		default:
			o.HTTPHeader.Set("Origin", c.origin)
		}
		ws, resp, err := dialWS(t, "ws://"+addr+"/mqtt", o) //nolint:bodyclose // websocket does
		if !c.allowed {
			require.Error(t, err, "%+v", c)
			require.Equal(t, http.StatusForbidden, resp.StatusCode, "%+v", c)
			continue
		}
		require.NoError(t, err, "%+v", c)
		n.Client(websocket.NetConn(context.Background(), ws, websocket.MessageBinary), packet.V5).Connect("page").Disconnect()
	}
}

// Proves 3.1.1: [MQTT-6.0.0-1] [MQTT-6.0.0-2]
// Proves 5.0: [MQTT-6.0.0-1] [MQTT-6.0.0-2]
func TestAPacketInFragmentsOfAFrameIsOnePacket(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t)
	ws, _, err := dialWS(t, n.URL(), &websocket.DialOptions{}) //nolint:bodyclose // websocket does
	require.NoError(t, err)
	b, err := packet.Append(nil, &packet.Connect{Version: packet.V5, CleanStart: true, ClientID: "fragments"}, packet.V5)
	require.NoError(t, err)
	b = append(b, 0xC0, 0) // a PINGREQ in the same message
	w, err := ws.Writer(t.Context(), websocket.MessageBinary)
	require.NoError(t, err)
	for _, part := range [][]byte{b[:1], b[1:7], b[7:]} { // each part is a frame
		_, err = w.Write(part)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	c := n.Client(websocket.NetConn(context.Background(), ws, websocket.MessageBinary), packet.V5)
	require.Equal(t, packet.Success, mqtttest.Expect[*packet.Connack](c).Code)
	mqtttest.Expect[*packet.Pingresp](c)
}

// Proves 3.1.1: [MQTT-6.0.0-4]
// Proves 5.0: [MQTT-6.0.0-4]
func TestTheSubProtocolIsEchoed(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t)
	for offered, want := range map[string]string{"mqtt": "mqtt", "mqttv3.1": "mqttv3.1"} {
		ws, _, err := dialWS(t, n.URL(), &websocket.DialOptions{Subprotocols: []string{"other", offered}}) //nolint:bodyclose // websocket does
		require.NoError(t, err)
		require.Equal(t, want, ws.Subprotocol())
		n.Client(websocket.NetConn(context.Background(), ws, websocket.MessageBinary), packet.V311).Connect("c").Disconnect()
	}
}

func TestAClientThatDoesNotGetToItsConnectInTimeIsClosed(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	n := mqtttest.Start(t, func(c *mqtttest.Config) { c.MQTT.ConnectTimeout = 8 * time.Second }, func(c *mqtttest.Config) {
		c.MQTT.Listeners = []mqtt.Listener{
			{Type: "tls", Address: "127.0.0.1:0", TLS: &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{ca.issue("server")}}},
			{Type: "tcp", Address: "127.0.0.1:0", ProxyFrom: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}},
			{Type: "ws", Address: "127.0.0.1:0", Path: "/mqtt"},
		}
	})
	tcp := n.Dial(packet.V5)
	tcp.SendRaw(0x10, 20, 0, 4, 'M')
	ws := n.DialWS(packet.V5, "mqtt")
	ws.SendRaw(0x10)
	tlsOnly := n.Client(tls.Client(dial(t, n.Addr(0)), &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: ca.pool(), ServerName: "127.0.0.1"}), packet.V5)
	tlsOnly.SendRaw(0x10)
	admitted := []*mqtttest.Client{n.Connect(packet.V5, "a"), n.DialWS(packet.V5, "mqtt").Connect("b"),
		n.Client(tls.Client(dial(t, n.Addr(0)), &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: ca.pool(), ServerName: "127.0.0.1"}), packet.V5).Connect("c")}
	var halves []net.Conn
	for i, half := range []string{"\x16\x03\x01", "PROXY TCP4 ", "GET /mqtt HTTP/1.1\r\nHost:"} {
		nc := dial(t, n.Addr(i))
		_, err := io.WriteString(nc, half)
		require.NoError(t, err)
		halves = append(halves, nc)
	}
	for _, c := range []*mqtttest.Client{tcp, ws, tlsOnly} {
		c.ExpectClosed()
	}
	for i, nc := range halves {
		require.NoError(t, nc.SetReadDeadline(time.Now().Add(mqtttest.Patience)))
		_, err := io.Copy(io.Discard, nc)
		require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "listener %d", i)
		_ = nc.Close()
	}
	for _, c := range admitted {
		require.Empty(t, c.Ping(), "the bound is for those who were not admitted")
	}
}

func TestOnlySmallPacketsAreTakenBeforeAClientIsAdmitted(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t, func(c *mqtttest.Config) { c.MQTT.MaxPacketSize = 16 << 20 })
	c := n.Dial(packet.V5)
	c.SendRaw(0x10, 0x80, 0x80, 0x40) // announces 1 MiB
	c.ExpectClosed()
	// The largest possible will and password fit.
	big := n.Connect(packet.V5, "big", mqtttest.Will(packet.Will{Topic: "T/w", Payload: make([]byte, 65535)}), func(cn *packet.Connect) {
		cn.HasPassword, cn.Password = true, make([]byte, 65535)
	})
	big.Publish(1, "T/a", string(make([]byte, 2<<20)))
}

func TestAConnectionOfAWebSocketListenerHasOneRequest(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t, listening(mqtt.Listener{Type: "ws", Address: "127.0.0.1:0", Path: "/mqtt"}))
	for _, request := range []string{"GET /elsewhere HTTP/1.1\r\nHost: h\r\n\r\n", "GET /mqtt HTTP/1.1\r\nHost: h\r\n\r\n",
		"GET /mqtt HTTP/1.1\r\nHost: h\r\nOrigin: https://evil.org\r\n\r\n", "GET /mqtt HTTP/1.1\r\nHost: h\r\nX: " + strings.Repeat("x", 32<<10) + "\r\n\r\n",
		"POST /mqtt HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"} {
		nc := dial(t, n.Addr(0))
		require.NoError(t, nc.SetDeadline(time.Now().Add(mqtttest.Patience)))
		go func() { _, _ = io.WriteString(nc, strings.Repeat(request, 3)) }()
		in := bufio.NewReader(nc)
		resp, err := http.ReadResponse(in, nil)
		require.NoError(t, err, "%.60q", request)
		require.GreaterOrEqual(t, resp.StatusCode, 400, "%.60q", request)
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		_, err = http.ReadResponse(in, nil)
		require.Error(t, err, "%.60q", request)
		require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
		_ = nc.Close()
	}
}
