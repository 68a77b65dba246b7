package gateway

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/config"
)

// writeCertificate writes a certificate with a serial number, and its key, as if at a given time.
func writeCertificate(t *testing.T, l config.Listener, serial int64, at time.Time) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(serial), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
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
	r := &certReloader{certFile: l.CertFile, keyFile: l.KeyFile, log: slog.New(slog.DiscardHandler)}
	require.NoError(t, r.load())
	serial := func() int64 {
		r.checked = time.Time{} // the files are looked at once a second
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
