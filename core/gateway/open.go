package gateway

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/lmqgate/lmqgate/core/config"
	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/store/local"
	"github.com/lmqgate/lmqgate/core/store/rocketmq"
)

// openStore makes the store that the configuration names.
func (g *Gateway) openStore() (store.Store, error) {
	if g.cfg.Store.Type == config.StoreLocal {
		c := g.cfg.Store.Local
		o := local.Options{Path: c.Path, Retention: c.Retention, Log: g.log, Registerer: g.registry}
		// A record holds the packet and the names of its queues.
		o.MaxRecord = max(local.DefaultMaxRecord, 2*int(g.cfg.MQTT.MaxPacketSize))
		if o.Path == "" {
			o.Path = filepath.Join(g.cfg.Node.DataDir, "store")
		}
		if every := c.Sync.Interval(); every > 0 {
			o.Sync, o.SyncInterval = local.SyncInterval, every
		}
		return local.New(o)
	}
	c := g.cfg.Store.RocketMQ
	tlsConfig, err := clientTLS(c.TLS)
	if err != nil {
		return nil, fmt.Errorf("store.rocketmq.tls: %w", err)
	}
	return rocketmq.New(rocketmq.Options{Namesrv: c.Namesrv, AccessKey: c.AccessKey, SecretKey: c.SecretKey.Reveal(),
		SecurityToken: c.SecurityToken.Reveal(), TLS: tlsConfig, Producer: c.Producer, NodeID: g.id, Log: g.log, Registerer: g.registry})
}

// clientTLS makes the TLS settings for connections to a service; nil where TLS is off.
func clientTLS(c config.TLS) (*tls.Config, error) {
	if !c.Enabled {
		return nil, nil //nolint:nilnil // no TLS is no error
	}
	out := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: c.InsecureSkipVerify} //nolint:gosec // asked for in the configuration
	if c.CAFile != "" {
		pool, err := readCAs(c.CAFile)
		if err != nil {
			return nil, err
		}
		out.RootCAs = pool
	}
	if c.CertFile != "" {
		cert, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("client certificate: %w", err)
		}
		out.Certificates = []tls.Certificate{cert}
	}
	return out, nil
}

// serverTLS makes the TLS settings of a listener. The certificate is read again when its files change.
func serverTLS(l config.Listener, log *slog.Logger) (*tls.Config, error) {
	r := &certReloader{certFile: l.CertFile, keyFile: l.KeyFile, log: log}
	if err := r.load(); err != nil {
		return nil, err
	}
	out := &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: r.get}
	if l.ClientCAFile != "" {
		pool, err := readCAs(l.ClientCAFile)
		if err != nil {
			return nil, err
		}
		out.ClientCAs, out.ClientAuth = pool, tls.RequireAndVerifyClientCert
	}
	return out, nil
}

func readCAs(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate in PEM form", file)
	}
	return pool, nil
}

// certReloader holds a certificate and reads it again when its files change. A change that cannot be read is logged, and the
// old certificate stays.
type certReloader struct {
	certFile, keyFile string
	log               *slog.Logger

	mu      sync.Mutex
	cert    *tls.Certificate
	stamp   time.Time
	checked time.Time
}

// checkInterval is how often the files are looked at.
const checkInterval = time.Second

func (r *certReloader) modified() time.Time {
	var latest time.Time
	for _, f := range []string{r.certFile, r.keyFile} {
		if st, err := os.Stat(f); err == nil && st.ModTime().After(latest) {
			latest = st.ModTime()
		}
	}
	return latest
}

// load reads the certificate.
func (r *certReloader) load() error {
	r.stamp = r.modified()
	cert, err := tls.LoadX509KeyPair(r.certFile, r.keyFile)
	if err != nil {
		return fmt.Errorf("certificate %s with key %s: %w", r.certFile, r.keyFile, err)
	}
	r.cert = &cert
	return nil
}

// get implements tls.Config.GetCertificate.
func (r *certReloader) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := time.Now(); now.Sub(r.checked) >= checkInterval {
		r.checked = now
		if m := r.modified(); !m.Equal(r.stamp) {
			if err := r.load(); err != nil {
				r.log.Error("reading a changed certificate failed; the old one stays", "error", err)
			} else {
				r.log.Info("certificate read again", "file", r.certFile)
			}
		}
	}
	if r.cert == nil {
		return nil, errors.New("no certificate")
	}
	return r.cert, nil
}
