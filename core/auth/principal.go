package auth

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"strings"
	"time"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// Principal is an admitted client: who it is, who admitted it, until when, and the cached decisions about it. Each connection has its own;
// it needs no closing. Its identity never changes.
type Principal struct {
	client    *pluginv1.Client
	expiresAt time.Time
	cache     cache
	// buckets are the revocation epochs that invalidate this principal's cached decisions.
	buckets [3]uint32
}

func newPrincipal(req Request, resp *pluginv1.AuthenticateResponse, admittedBy string) *Principal {
	conn := connectionOf(req)
	if cert := conn.GetPeerCertificate(); cert != nil {
		// Drop the chain: it can be kilobytes, would be kept as long as the connection, and has been checked. Authorize goes by the names.
		cert.Chain = nil
	}
	p := &Principal{client: &pluginv1.Client{
		Connection: conn,
		Identity:   resp.GetIdentity(),
		Attributes: resp.GetAttributes(),
		AdmittedBy: admittedBy,
	}}
	if p.client.Identity == "" {
		p.client.Identity = req.Username
	}
	if ms := resp.GetExpiresAtMs(); ms > 0 {
		p.expiresAt = time.UnixMilli(ms)
	}
	p.setBuckets()
	return p
}

func (p *Principal) setBuckets() {
	p.buckets = [3]uint32{bucketOf(byClientID, p.ClientID()), bucketOf(byUsername, p.Username()), bucketOf(byIdentity, p.Identity())}
}

// ClientID returns the admitted MQTT client identifier.
func (p *Principal) ClientID() string { return p.client.GetConnection().GetClientId() }

// Username returns the user name of the CONNECT, "" if there was none.
func (p *Principal) Username() string { return p.client.GetConnection().GetUsername() }

// RemoteAddr returns the host:port that the client connected from.
func (p *Principal) RemoteAddr() string { return p.client.GetConnection().GetRemoteAddress() }

// Identity returns the identity that the plugin established, or the user name if the plugin returned none.
func (p *Principal) Identity() string { return p.client.GetIdentity() }

// maxIdentityName bounds an identity's stable name, in bytes. digestPrefix begins the names that are digests.
const (
	maxIdentityName = 256
	digestPrefix    = "sha256:"
)

// Name returns the identity for records and quotas: deterministic, of bounded length, and without secrets. It is the identity itself if
// that is short, not a token and does not look like a digest, otherwise a digest: no identity has the name of another. Anonymous clients
// have no name.
func (p *Principal) Name() string {
	id := p.Identity()
	switch {
	case p.AdmittedBy() == "":
		return ""
	case len(id) <= maxIdentityName && Shown(id) == id && !strings.HasPrefix(id, digestPrefix):
		return id
	default:
		sum := sha256.Sum256([]byte(id))
		return digestPrefix + hex.EncodeToString(sum[:])
	}
}

// Attributes returns the attributes that the plugin attached to the client. The map must not be modified.
func (p *Principal) Attributes() map[string]string { return p.client.GetAttributes() }

// AdmittedBy returns the name of the plugin that admitted the client; "" for anonymous access.
func (p *Principal) AdmittedBy() string { return p.client.GetAdmittedBy() }

// ExpiresAt returns when the admission ends and the connection must be closed; the zero time means never.
func (p *Principal) ExpiresAt() time.Time { return p.expiresAt }

// Matches reports whether a revocation concerns this client.
func (p *Principal) Matches(r Revocation) bool {
	return (r.ClientID == "" || r.ClientID == p.ClientID()) &&
		(r.Username == "" || r.Username == p.Username()) &&
		(r.Identity == "" || r.Identity == p.Identity())
}

// connectionOf converts a request to the message of the plugin contract.
func connectionOf(req Request) *pluginv1.Connection {
	return &pluginv1.Connection{
		ClientId:        req.ClientID,
		HasUsername:     req.HasUsername,
		Username:        req.Username,
		MqttVersion:     uint32(req.Version),
		Listener:        req.Listener,
		RemoteAddress:   req.RemoteAddr,
		PeerCertificate: certificateOf(req.PeerCertificates),
	}
}

func certificateOf(chain []*x509.Certificate) *pluginv1.PeerCertificate {
	if len(chain) == 0 {
		return nil
	}
	leaf := chain[0]
	sum := sha256.Sum256(leaf.Raw)
	cert := &pluginv1.PeerCertificate{
		Subject:    validUTF8(leaf.Subject.String()),
		CommonName: validUTF8(leaf.Subject.CommonName),
		Sha256:     hex.EncodeToString(sum[:]),
	}
	for _, c := range chain {
		cert.Chain = append(cert.Chain, c.Raw)
	}
	for _, name := range leaf.DNSNames {
		cert.DnsNames = append(cert.DnsNames, validUTF8(name))
	}
	for _, uri := range leaf.URIs {
		cert.Uris = append(cert.Uris, validUTF8(uri.String()))
	}
	return cert
}

// validUTF8 sanitises the names of a certificate: gRPC cannot send invalid UTF-8.
func validUTF8(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
