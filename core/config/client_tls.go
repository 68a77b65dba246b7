package config

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"

	"github.com/lmqgate/lmqgate/internal/regular"
)

// Client returns the TLS settings for connections to the service, or nil if TLS is off.
func (c TLS) Client() (*tls.Config, error) {
	if !c.Enabled {
		return nil, nil //nolint:nilnil // no TLS is not an error
	}
	out := &tls.Config{MinVersion: tls.VersionTLS12}
	out.InsecureSkipVerify = c.InsecureSkipVerify
	if c.CAFile != "" {
		pem, err := regular.Read(c.CAFile)
		if err != nil {
			return nil, err
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate in PEM form", c.CAFile)
		}
		out.RootCAs = pool
	}
	if c.CertFile != "" {
		cert, err := regular.KeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("client certificate: %w", err)
		}
		out.Certificates = []tls.Certificate{cert}
	}
	return out, nil
}
