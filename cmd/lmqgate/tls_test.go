package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/stretchr/testify/require"
)

// selfSigned creates a self-signed certificate for a name.
func selfSigned(t *testing.T, name string) (certFile, keyFile string, pair tls.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	if ip := net.ParseIP(name); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{name}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	require.NoError(t, os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600))
	pair, err = tls.LoadX509KeyPair(certFile, keyFile)
	require.NoError(t, err)
	return certFile, keyFile, pair
}

// allowHook admits everybody.
type allowHook struct{ mochi.HookBase }

func (*allowHook) Provides(b byte) bool {
	return b == mochi.OnConnectAuthenticate || b == mochi.OnACLCheck
}
func (*allowHook) OnConnectAuthenticate(*mochi.Client, packets.Packet) bool { return true }
func (*allowHook) OnACLCheck(*mochi.Client, string, bool) bool              { return true }

func TestErrorsOfTLSNameTheFlagThatHelps(t *testing.T) {
	cert, _, pair := selfSigned(t, "127.0.0.1")
	otherCert, _, other := selfSigned(t, "mq.example.com")
	serve := func(settings *tls.Config) string {
		server := mochi.New(&mochi.Options{Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, server.AddHook(new(allowHook), nil))
		l := listeners.NewTCP(listeners.Config{ID: "t", Address: "127.0.0.1:0", TLSConfig: settings})
		require.NoError(t, server.AddListener(l))
		require.NoError(t, server.Serve())
		t.Cleanup(func() { l.Close(func(string) {}) }) // the server's own Close races with connections that it accepts
		return l.Address()
	}
	known := serve(&tls.Config{Certificates: []tls.Certificate{pair}})
	misnamed := serve(&tls.Config{Certificates: []tls.Certificate{other}})
	plain := serve(nil)
	for _, version := range []string{"3.1.1", "5"} {
		pub := func(address string, args ...string) result {
			return runCommand(t, "", append([]string{"pub", "-V", version, "-t", "a", "-m", "b", "-q", "1", "--url", "mqtts://" + address}, args...)...)
		}
		require.Equal(t, result{}, pub(known, "--ca-file", cert), version)
		require.Equal(t, result{}, pub(known, "--insecure"), version)
		r := pub(known)
		requireOneErrorLine(t, r)
		require.Contains(t, r.err, "; --ca-file FILE names the authority that signed the certificate", version)
		r = pub(misnamed, "--ca-file", otherCert)
		requireOneErrorLine(t, r)
		require.Contains(t, r.err, "; connect by a name that the certificate is for", version)
		r = pub(plain)
		requireOneErrorLine(t, r)
	}
}

func TestTheAdminAPIIsCalledOverTLS(t *testing.T) {
	cert, _, pair := selfSigned(t, "mq.example.com")
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"topics":[]}`) }))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()

	r := runCommand(t, "", "topic", "list", "--admin", server.URL)
	requireOneErrorLine(t, r)
	require.Contains(t, r.err, "no TLS with "+server.URL)
	require.Contains(t, r.err, "connect by a name that the certificate is for")
	right, _, rightPair := selfSigned(t, "127.0.0.1")
	named := httptest.NewUnstartedServer(server.Config.Handler)
	named.TLS = &tls.Config{Certificates: []tls.Certificate{rightPair}}
	named.Config.ErrorLog = log.New(io.Discard, "", 0)
	named.StartTLS()
	defer named.Close()
	require.Equal(t, result{}, runCommand(t, "", "topic", "list", "--admin", named.URL, "--ca-file", right))
	r = runCommand(t, "", "topic", "list", "--admin", named.URL)
	requireOneErrorLine(t, r)
	require.Contains(t, r.err, "--ca-file FILE names the authority")
	r = runCommand(t, "", "topic", "list", "--admin", strings.Replace(server.URL, "https", "http", 1))
	requireOneErrorLine(t, r)
	require.Contains(t, r.err, "speaks TLS: give --admin https://")

	// A client with the configuration trusts the certificate, whatever its name.
	keyFile := filepath.Join(filepath.Dir(cert), "key.pem")
	conf := writeFile(t, "c.yaml", "admin: {address: \""+server.Listener.Addr().String()+"\", cert_file: "+cert+", key_file: "+keyFile+"}\n")
	require.Equal(t, result{}, runCommand(t, "", "topic", "list", "--config", conf))
	otherCert, otherKey, _ := selfSigned(t, "mq.example.com")
	conf = writeFile(t, "c.yaml", "admin: {address: \""+server.Listener.Addr().String()+"\", cert_file: "+otherCert+", key_file: "+otherKey+"}\n")
	r = runCommand(t, "", "topic", "list", "--config", conf)
	requireOneErrorLine(t, r)
	require.Contains(t, r.err, "no TLS with https://")
}
