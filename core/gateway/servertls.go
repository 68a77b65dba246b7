package gateway

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/lmqgate/lmqgate/core/config"
	"github.com/lmqgate/lmqgate/internal/regular"
)

// serverTLS makes the TLS configuration of a listener. The certificate and the client CAs are read again when their files change.
func serverTLS(l config.Listener, log *slog.Logger) (*tls.Config, error) {
	r := &certReloader{certFile: l.CertFile, keyFile: l.KeyFile, caFile: l.ClientCAFile, clientAuth: tls.RequireAndVerifyClientCert,
		oldest: tls.VersionTLS12, log: log}
	if l.ClientCert == config.ClientCertOptional {
		r.clientAuth = tls.VerifyClientCertIfGiven
	}
	if l.TLSMinVersion == "1.3" {
		r.oldest = tls.VersionTLS13
	}
	if err := r.load(); err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: r.oldest, GetConfigForClient: r.get}, nil
}

// adminTLS makes the TLS configuration of the admin HTTP side; nil if it is served without TLS.
func (g *Gateway) adminTLS() (*tls.Config, error) {
	c := g.cfg.Admin
	if c.CertFile == "" {
		return nil, nil //nolint:nilnil // no TLS is no error
	}
	out, err := serverTLS(config.Listener{CertFile: c.CertFile, KeyFile: c.KeyFile}, g.log)
	if err != nil {
		return nil, fmt.Errorf("admin.cert_file: %w", err)
	}
	return out, nil
}

func readCAs(file string) (*x509.CertPool, error) {
	pem, err := regular.Read(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate in PEM form", file)
	}
	return pool, nil
}

// certReloader holds a listener's TLS configuration, and rebuilds it when the files change. If a changed file cannot be read, that is
// logged, and the old configuration stays.
type certReloader struct {
	certFile, keyFile, caFile string // caFile may be empty
	clientAuth                tls.ClientAuthType
	oldest                    uint16 // lowest TLS version accepted
	log                       *slog.Logger

	mu      sync.Mutex
	current *tls.Config
	stamp   time.Time
	checked time.Time
}

// checkInterval is the minimum time between two checks of the files.
const checkInterval = time.Second

func (r *certReloader) modified() time.Time {
	var latest time.Time
	for _, f := range []string{r.certFile, r.keyFile, r.caFile} {
		if st, err := os.Stat(f); err == nil && st.ModTime().After(latest) {
			latest = st.ModTime()
		}
	}
	return latest
}

// load reads the files.
func (r *certReloader) load() error {
	r.stamp = r.modified()
	cert, err := regular.KeyPair(r.certFile, r.keyFile)
	if err != nil {
		return fmt.Errorf("certificate %s with key %s: %w", r.certFile, r.keyFile, err)
	}
	c := &tls.Config{MinVersion: r.oldest, Certificates: []tls.Certificate{cert}}
	if r.caFile != "" {
		if c.ClientCAs, err = readCAs(r.caFile); err != nil {
			return err
		}
		c.ClientAuth = r.clientAuth
	}
	r.current = c
	return nil
}

// get implements tls.Config.GetConfigForClient.
func (r *certReloader) get(*tls.ClientHelloInfo) (*tls.Config, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := time.Now(); now.Sub(r.checked) >= checkInterval {
		r.checked = now
		if m := r.modified(); !m.Equal(r.stamp) {
			if err := r.load(); err != nil {
				r.log.Error("reading changed certificates failed; the old ones stay", "error", err)
			} else {
				r.log.Info("certificates read again", "file", r.certFile)
			}
		}
	}
	return r.current, nil
}
