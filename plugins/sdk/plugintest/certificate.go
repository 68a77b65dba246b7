package plugintest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"time"
)

// serverName is the name in the certificates of both sides.
const serverName = "localhost"

// certificate creates the kit's certificate for AutoMTLS, once for each process; text is passed to the plugin in PLUGIN_CLIENT_CERT.
func certificate() (own tls.Certificate, text string, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return own, "", err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: serverName},
		DNSNames:     []string{serverName},
		NotBefore:    time.Now().Add(-time.Minute),
		NotAfter:     time.Now().Add(24 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		IsCA:         true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return own, "", err
	}
	own = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	return own, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), nil
}

// trust returns the TLS configuration for a plugin whose handshake line has a certificate.
func trust(own tls.Certificate, field string) (*tls.Config, error) {
	der, err := base64.RawStdEncoding.DecodeString(field)
	if err != nil {
		return nil, fmt.Errorf("the certificate in its handshake line is not Base64 without padding: %w", err)
	}
	theirs, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("the certificate in its handshake line cannot be read: %w", err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(theirs)
	return &tls.Config{
		Certificates: []tls.Certificate{own}, RootCAs: roots, ServerName: serverName, MinVersion: tls.VersionTLS12,
	}, nil
}
