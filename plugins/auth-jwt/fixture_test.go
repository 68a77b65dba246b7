package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"log/slog"
	"maps"
	"math/big"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/internal/testlog"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
	"github.com/lmqgate/lmqgate/plugins/sdk"
)

const secret = "0123456789abcdef0123456789abcdef" // 32 bytes

// The private keys of the tests' issuers.
var (
	rsaKey   = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	p256Key  = sync.OnceValue(func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) })
	p384Key  = sync.OnceValue(func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)) })
	p521Key  = sync.OnceValue(func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader)) })
	otherKey = sync.OnceValue(func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) })
	edKey    = sync.OnceValue(func() ed25519.PrivateKey {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return must(key, err)
	})
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func publicPEM(t *testing.T, key any) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	require.NoError(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// webKey is a public key, or a secret, as a JWK set contains it.
func webKey(t *testing.T, kid string, key any, more map[string]any) map[string]any {
	t.Helper()
	b64 := base64.RawURLEncoding.EncodeToString
	out := map[string]any{"kid": kid}
	switch k := key.(type) {
	case []byte:
		out["kty"], out["k"] = "oct", b64(k)
	case *rsa.PublicKey:
		out["kty"], out["n"], out["e"] = "RSA", b64(k.N.Bytes()), b64(big.NewInt(int64(k.E)).Bytes())
	case *ecdsa.PublicKey:
		point, err := k.Bytes()
		require.NoError(t, err)
		size := (len(point) - 1) / 2
		out["kty"], out["crv"], out["x"], out["y"] = "EC", k.Curve.Params().Name, b64(point[1:1+size]), b64(point[1+size:])
	case ed25519.PublicKey:
		out["kty"], out["crv"], out["x"] = "OKP", "Ed25519", b64(k)
	default:
		t.Fatalf("a key of the type %T", key)
	}
	maps.Copy(out, more)
	return out
}

func webKeys(t *testing.T, list ...map[string]any) []byte {
	t.Helper()
	text, err := json.Marshal(map[string]any{"keys": list})
	require.NoError(t, err)
	return text
}

// block is a configuration block.
type block = map[string]any

// secretOnly is a configuration with one shared secret, and more.
func secretOnly(more block) block {
	out := block{"keys": []block{{"secret": secret}}}
	maps.Copy(out, more)
	return out
}

func configure(t *testing.T, dir string, b block) (*plugin, *testlog.Buffer, []sdk.Problem) {
	t.Helper()
	text, err := json.Marshal(b)
	require.NoError(t, err)
	p, log := &plugin{}, &testlog.Buffer{}
	return p, log, p.Configure(t.Context(), sdk.Setup{Config: text, ConfigDir: dir, Log: slog.New(slog.NewTextHandler(log, nil))})
}

func activate(t *testing.T, dir string, b block) (*plugin, *testlog.Buffer) {
	t.Helper()
	p, log, problems := configure(t, dir, b)
	require.Empty(t, problems)
	require.NoError(t, p.Activate(t.Context()))
	t.Cleanup(func() { require.NoError(t, p.Deactivate(context.Background())) })
	return p, log
}

// good returns the claims of a token that is valid for an hour, overlaid with more; a nil value removes a claim.
func good(more jwt.MapClaims) jwt.MapClaims {
	out := jwt.MapClaims{"sub": "dev1", "exp": time.Now().Add(time.Hour).Unix()}
	for k, v := range more {
		if out[k] = v; v == nil {
			delete(out, k)
		}
	}
	return out
}

// sign makes a token; header holds further header fields, such as kid.
func sign(t *testing.T, alg string, key any, c jwt.MapClaims, header block) string {
	t.Helper()
	token := jwt.NewWithClaims(jwt.GetSigningMethod(alg), c)
	maps.Copy(token.Header, header)
	text, err := token.SignedString(key)
	require.NoError(t, err)
	return text
}

// signed returns a token signed with the shared secret.
func signed(t *testing.T, more jwt.MapClaims) string {
	t.Helper()
	return sign(t, "HS256", []byte(secret), good(more), nil)
}

func authenticate(t *testing.T, p *plugin, token string) *pluginv1.AuthenticateResponse {
	t.Helper()
	return authenticateAs(t, p, &pluginv1.Connection{ClientId: "client1", HasUsername: true, Username: "anybody"}, token)
}

func authenticateAs(t *testing.T, p *plugin, conn *pluginv1.Connection, token string) *pluginv1.AuthenticateResponse {
	t.Helper()
	resp, err := p.Authenticate(
		t.Context(),
		&pluginv1.AuthenticateRequest{Connection: conn, HasPassword: token != "", Password: []byte(token)},
	)
	require.NoError(t, err)
	if token != "" {
		require.NotContains(t, resp.GetDetail(), token)
	}
	return resp
}

const (
	ok           = pluginv1.Reason_REASON_OK
	bad          = pluginv1.Reason_REASON_BAD_CREDENTIALS
	unauthorized = pluginv1.Reason_REASON_NOT_AUTHORIZED
	badID        = pluginv1.Reason_REASON_BAD_CLIENT_ID
	unavailable  = pluginv1.Reason_REASON_UNAVAILABLE
)

// admit requires that a token is accepted.
func admit(t *testing.T, p *plugin, token string) *pluginv1.AuthenticateResponse {
	t.Helper()
	resp := authenticate(t, p, token)
	require.Equal(t, ok, resp.GetReason(), resp.GetDetail())
	return resp
}

// admitSoon waits until a token is accepted: on a busy machine, reading keys may take longer than a token waits for them.
func admitSoon(t *testing.T, p *plugin, token string) {
	t.Helper()
	eventually(t, func() bool { return authenticate(t, p, token).GetReason() == ok }, "admitted")
}

// refuse requires that a token is refused with the given reason.
func refuse(t *testing.T, p *plugin, token string, reason pluginv1.Reason, says string) {
	t.Helper()
	resp := authenticate(t, p, token)
	require.Equal(t, reason, resp.GetReason(), resp.GetDetail())
	require.Contains(t, resp.GetDetail(), says)
	require.Empty(t, resp.GetIdentity())
}
