package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/lmqgate/lmqgate/internal/regular"
)

// adminTLS returns the TLS settings for calls of the admin API. caFile has authorities to trust instead of the system's. certFile is the
// gateway's certificate in the configuration: it is trusted as well, whatever its issuer and name, because whoever can read the
// configuration knows that it is the right one.
func adminTLS(caFile, certFile string) (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if caFile != "" {
		text, err := os.ReadFile(filepath.Clean(caFile))
		if err != nil {
			return nil, fmt.Errorf("--ca-file: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("--ca-file: %s holds no PEM certificate", caFile)
		}
	}
	known, err := firstCertificate(certFile)
	if known == nil || err != nil {
		return conf, err
	}
	// VerifyConnection replaces the default verification.
	conf.InsecureSkipVerify = true
	conf.VerifyConnection = func(state tls.ConnectionState) error {
		if bytes.Equal(state.PeerCertificates[0].Raw, known) {
			return nil
		}
		opts := x509.VerifyOptions{Roots: conf.RootCAs, DNSName: state.ServerName, Intermediates: x509.NewCertPool()}
		for _, c := range state.PeerCertificates[1:] {
			opts.Intermediates.AddCert(c)
		}
		_, err := state.PeerCertificates[0].Verify(opts)
		return err
	}
	return conf, nil
}

// firstCertificate returns the first certificate of a PEM file, or nil without a file.
func firstCertificate(file string) ([]byte, error) {
	if file == "" {
		return nil, nil
	}
	text, err := regular.Read(file)
	if err != nil {
		return nil, fmt.Errorf("admin.cert_file: %w", err)
	}
	for {
		block, rest := pem.Decode(text)
		switch {
		case block == nil:
			return nil, fmt.Errorf("admin.cert_file: %s holds no PEM certificate", file)
		case block.Type == "CERTIFICATE":
			return block.Bytes, nil
		}
		text = rest
	}
}

// tlsHint returns the remedy for a TLS error; "" for other errors.
func tlsHint(err error) string {
	var (
		unknown  x509.UnknownAuthorityError
		name     x509.HostnameError
		invalid  x509.CertificateInvalidError
		plain    tls.RecordHeaderError
		remote   *net.OpError
		verified *tls.CertificateVerificationError
	)
	switch {
	case errors.As(err, &unknown):
		return "; --ca-file FILE names the authority that signed the certificate, or the certificate itself where nobody else did"
	case errors.As(err, &name):
		return "; connect by a name that the certificate is for"
	case errors.As(err, &invalid):
		return "; the certificate must be renewed, or --ca-file name another authority"
	case errors.As(err, &verified):
		return "; --ca-file FILE names the authority that signed the certificate"
	case errors.As(err, &plain):
		return "; no TLS is spoken there: connect without it"
	case errors.As(err, &remote) && remote.Op == "remote error":
		return "; does the other side ask for a client certificate? --cert-file and --key-file name one"
	}
	return ""
}
