package gateway

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/config"
)

// writeCertificate writes a certificate with a serial number, and its key. at is the modification time of the files.
func writeCertificate(t *testing.T, l config.Listener, serial int64, at time.Time) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(serial), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}
	cert, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	require.NoError(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	for file, block := range map[string]*pem.Block{l.CertFile: {Type: "CERTIFICATE", Bytes: cert}, l.KeyFile: {Type: "PRIVATE KEY", Bytes: private}} {
		require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(block), 0o600))
		require.NoError(t, os.Chtimes(file, at, at))
	}
}

func TestACertificateIsReadAgainWhenItsFilesChangeAndABrokenOneIsNot(t *testing.T) {
	dir := t.TempDir()
	l := config.Listener{Type: config.ListenerTLS, CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem")}
	begin := time.Now().Add(-time.Minute)
	writeCertificate(t, l, 1, begin)
	r := &certReloader{certFile: l.CertFile, keyFile: l.KeyFile, oldest: tls.VersionTLS12, log: slog.New(slog.DiscardHandler)}
	require.NoError(t, r.load())
	serial := func() int64 {
		r.checked = time.Time{} // because the files are checked only once a second
		c, err := r.get(nil)
		require.NoError(t, err)
		leaf, err := x509.ParseCertificate(c.Certificates[0].Certificate[0])
		require.NoError(t, err)
		return leaf.SerialNumber.Int64()
	}
	require.EqualValues(t, 1, serial())
	writeCertificate(t, l, 2, begin.Add(time.Second))
	require.EqualValues(t, 2, serial())

	require.NoError(t, os.WriteFile(l.CertFile, []byte("broken"), 0o600))
	require.EqualValues(t, 2, serial())
	writeCertificate(t, l, 3, begin.Add(3*time.Second))
	require.EqualValues(t, 3, serial())
}

func TestAListenerWithAMissingCertificateFailsWithItsName(t *testing.T) {
	_, err := serverTLS(config.Listener{Type: config.ListenerTLS, CertFile: "no-cert.pem", KeyFile: "no-key.pem"}, slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, "no-cert.pem")
}

// handshakes reports whether a handshake with a listener succeeds for a client with the given certificate, or nil for none.
func handshakes(t *testing.T, server *tls.Config, cert *tls.Certificate) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	client := &tls.Config{MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12, InsecureSkipVerify: true}
	if cert != nil {
		client.Certificates = []tls.Certificate{*cert}
	}
	done := make(chan error, 1)
	go func() { done <- tls.Client(b, client).HandshakeContext(ctx) }()
	s := tls.Server(a, server)
	err := s.HandshakeContext(ctx)
	if err != nil {
		_ = a.Close()
	}
	<-done
	return err == nil && (cert == nil || len(s.ConnectionState().PeerCertificates) == 1)
}

func TestClientCertificatesAreAskedForAsConfiguredAndTheirAuthoritiesAreReadAgain(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	begin := time.Now().Add(-time.Minute)
	var certs []tls.Certificate
	for i, name := range []string{"server", "one", "two"} { // each certificate is its own authority
		writeCertificate(t, config.Listener{CertFile: file(name + ".pem"), KeyFile: file(name + "-key.pem")}, int64(i+1), begin)
		cert, err := tls.LoadX509KeyPair(file(name+".pem"), file(name+"-key.pem"))
		require.NoError(t, err)
		certs = append(certs, cert)
	}
	authority := func(name string, at time.Time) {
		text, err := os.ReadFile(file(name + ".pem"))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(file("ca.pem"), text, 0o600))
		require.NoError(t, os.Chtimes(file("ca.pem"), at, at))
	}
	authority("one", begin)
	l := config.Listener{Type: config.ListenerTLS, CertFile: file("server.pem"), KeyFile: file("server-key.pem")}
	serve := func(ca, mode string) *tls.Config {
		l.ClientCAFile, l.ClientCert = ca, mode
		c, err := serverTLS(l, slog.New(slog.DiscardHandler))
		require.NoError(t, err)
		return c
	}
	for _, c := range []struct {
		ca, mode       string
		none, one, two bool
	}{
		{file("ca.pem"), "", false, true, false},
		{file("ca.pem"), config.ClientCertRequired, false, true, false},
		{file("ca.pem"), config.ClientCertOptional, true, true, false},
	} {
		server := serve(c.ca, c.mode)
		require.Equal(t, [3]bool{c.none, c.one, c.two}, [3]bool{handshakes(t, server, nil), handshakes(t, server, &certs[1]), handshakes(t, server, &certs[2])}, "%+v", c)
	}
	require.True(t, handshakes(t, serve("", ""), nil), "nobody is asked")
	l.TLSMinVersion = "1.3"
	require.False(t, handshakes(t, serve("", ""), nil), "the client speaks 1.2")
	l.TLSMinVersion = "1.2"

	server := serve(file("ca.pem"), "")
	require.True(t, handshakes(t, server, &certs[1]))
	authority("two", begin.Add(time.Second))
	require.Eventually(t, func() bool { return handshakes(t, server, &certs[2]) }, time.Minute, 50*time.Millisecond, "the files are looked at once a second")
	require.False(t, handshakes(t, server, &certs[1]))
}
