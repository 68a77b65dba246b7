package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/internal/exposed/exposedtest"
	"github.com/lmqgate/lmqgate/plugins/internal/clientcert/clientcerttest"
	"github.com/lmqgate/lmqgate/plugins/sdk"
)

func TestEachAlgorithmIsVerifiedWithItsKeyOnly(t *testing.T) {
	long := []byte(secret + secret)
	signers := map[string]any{
		"HS256": long,
		"HS384": long,
		"HS512": long,
		"ES256": p256Key(),
		"ES384": p384Key(),
		"ES512": p521Key(),
		"EdDSA": edKey(),
	}
	for _, alg := range []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"} {
		signers[alg] = rsaKey()
	}
	require.Len(t, signers, len(algorithms))
	configs := map[string]block{
		"HS": {
			"secret": string(long),
		},
		"RSA":   {"public_key": publicPEM(t, rsaKey().Public())},
		"P-256": {"public_key": publicPEM(t, p256Key().Public())},
		"P-384": {"public_key": publicPEM(t, p384Key().Public())},
		"P-521": {"public_key": publicPEM(t, p521Key().Public())},
		"Ed":    {"public_key": publicPEM(t, edKey().Public())},
	}
	for _, alg := range algorithms {
		token := sign(t, alg, signers[alg], good(nil), nil)
		admittedBy := 0
		for _, c := range configs {
			p, _ := activate(t, "", block{"keys": []block{c}})
			if authenticate(t, p, token).GetReason() == ok {
				admittedBy++
			}
		}
		require.Equal(t, 1, admittedBy, alg)
		broken := []byte(token)
		broken[len(broken)-10] ^= 1
		all := make([]block, 0, len(configs))
		for _, c := range configs {
			all = append(all, c)
		}
		p, _ := activate(t, "", block{"keys": all})
		admit(t, p, token)
		refuse(t, p, string(broken), bad, "")
	}
}

func TestATokenCannotChooseAnAlgorithmThatItsKeyIsNotFor(t *testing.T) {
	publicText := publicPEM(t, rsaKey().Public())
	p, _ := activate(t, "", block{"keys": []block{
		{"id": "rsa", "public_key": publicText, "algorithms": []string{"RS256"}},
		{"id": "secret", "secret": secret + secret, "algorithms": []string{"HS512"}},
	}})
	admit(t, p, sign(t, "RS256", rsaKey(), good(nil), block{"kid": "rsa"}))
	admit(t, p, sign(t, "RS256", rsaKey(), good(nil), nil))
	admit(t, p, sign(t, "HS512", []byte(secret+secret), good(nil), block{"kid": "secret"}))
	none, err := jwt.NewWithClaims(jwt.SigningMethodNone, good(nil)).SignedString(jwt.UnsafeAllowNoneSignatureType)
	require.NoError(t, err)
	der, err := x509.MarshalPKIXPublicKey(rsaKey().Public())
	require.NoError(t, err)
	for what, token := range map[string]string{
		"none":                              none,
		"None":                              strings.Replace(none, none[:strings.Index(none, ".")], base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"None","typ":"JWT"}`)), 1),
		"the public key as a secret":        sign(t, "HS256", []byte(publicText), good(nil), block{"kid": "rsa"}),
		"the public key as a secret, DER":   sign(t, "HS512", der, good(nil), nil),
		"another algorithm of the key":      sign(t, "RS384", rsaKey(), good(nil), block{"kid": "rsa"}),
		"another padding":                   sign(t, "PS256", rsaKey(), good(nil), nil),
		"another hash of the secret":        sign(t, "HS256", []byte(secret+secret), good(nil), nil),
		"the key of another id":             sign(t, "RS256", rsaKey(), good(nil), block{"kid": "secret"}),
		"an id that nobody has":             sign(t, "RS256", rsaKey(), good(nil), block{"kid": "nobody"}),
		"an id that is no text":             sign(t, "RS256", rsaKey(), good(nil), block{"kid": 7}),
		"a header that must be understood":  sign(t, "RS256", rsaKey(), good(nil), block{"crit": []string{"b64"}, "b64": false}),
		"a key of its own in the header":    sign(t, "ES256", otherKey(), good(nil), block{"jwk": webKey(t, "x", otherKey().Public(), nil)}),
		"the address of keys in the header": sign(t, "ES256", otherKey(), good(nil), block{"jku": "http://127.0.0.1:1/keys"}),
	} {
		resp := authenticate(t, p, token)
		require.Equal(t, bad, resp.GetReason(), what)
		require.NotEmpty(t, resp.GetDetail(), what)
	}
}

func TestKeysAreReadFromTextsAndFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
		return name
	}
	cert := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, p256Key().Public(), p256Key())
	require.NoError(t, err)
	certificate := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	pkcs1 := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&rsaKey().PublicKey)}))
	binary := string([]byte{0xfb, 0xff}) + strings.Repeat("\x01", 32)
	for what, c := range map[string]struct {
		key    block
		alg    string
		signer any
	}{
		"a secret in a file":          {block{"secret_file": write("s", secret+"\n")}, "HS256", []byte(secret)},
		"a secret in Base64":          {block{"secret": base64.StdEncoding.EncodeToString([]byte(binary)), "base64": true}, "HS256", []byte(binary)},
		"a secret in Base64url, file": {block{"secret_file": write("b", base64.RawURLEncoding.EncodeToString([]byte(binary))+"\n"), "base64": true}, "HS256", []byte(binary)},
		"a PEM file":                  {block{"public_key_file": write("p.pem", publicPEM(t, edKey().Public()))}, "EdDSA", edKey()},
		"a certificate":               {block{"public_key": certificate}, "ES256", p256Key()},
		"a PKCS 1 key":                {block{"public_key": pkcs1}, "PS384", rsaKey()},
	} {
		p, _ := activate(t, dir, block{"keys": []block{c.key}})
		require.Equal(t, ok, authenticate(t, p, sign(t, c.alg, c.signer, good(nil), nil)).GetReason(), what)
	}
}

func TestConfigureNamesEachProblemWithItsKey(t *testing.T) {
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	require.NoError(t, err)
	small, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	require.NoError(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(edKey())
	require.NoError(t, err)
	keys := func(c block) block { return block{"keys": []block{c}} }
	set := func(c block) block { return block{"jwks": []block{c}} }
	cases := []struct {
		b            block
		key, message string
	}{
		{block{}, "keys", "no token could be verified"},
		{keys(block{}), "keys[0]", "needs one of secret"},
		{keys(block{"secret": secret, "public_key": "x"}), "keys[0]", "not 2 of them"},
		{keys(block{"secret": "short"}), "keys[0].secret", "fewer than 32 bytes"},
		{keys(block{"secret": "!", "base64": true}), "keys[0].secret", "no Base64"},
		{keys(block{"secret": secret, "algorithms": []string{"HS512"}}), "keys[0].algorithms", "HS512 is not for a secret of 32 bytes"},
		{keys(block{"secret": secret, "algorithms": []string{"none"}}), "keys[0].algorithms", `"none" is not known`},
		{
			keys(block{"public_key": publicPEM(t, p256Key().Public()), "algorithms": []string{"HS256"}}),
			"keys[0].algorithms",
			"HS256 is not for a key on the curve P-256",
		},
		{keys(block{"public_key": publicPEM(t, weak.Public())}), "keys[0].public_key", "1024 bits"},
		{keys(block{"public_key": publicPEM(t, small.Public())}), "keys[0].public_key", "P-224"},
		{keys(block{"public_key": "x"}), "keys[0].public_key", "no PEM block"},
		{
			keys(block{"public_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))}),
			"keys[0].public_key",
			"private key",
		},
		{keys(block{"public_key_file": "none.pem"}), "keys[0].public_key_file", "no such file"},
		{set(block{}), "jwks[0]", "needs a file or a url"},
		{set(block{"file": "a", "url": "https://a.example"}), "jwks[0]", "not both"},
		{set(block{"url": "http://a.example/keys"}), "jwks[0].url", "allow_plain_http"},
		{set(block{"url": "https://a.example", "refresh": "1ms"}), "jwks[0].refresh", "1s to 24h"},
		{set(block{"url": "https://a.example", "max_stale": "1m"}), "jwks[0].max_stale", "shorter than refresh"},
		{set(block{"url": "https://a.example", "timeout": "1h"}), "jwks[0].timeout", "100ms to 1m"},
		{set(block{"url": "https://a.example", "algorithms": []string{"RS1"}}), "jwks[0].algorithms[0]", `"RS1" is not known`},
		{set(block{"url": "https://a.example", "headers": block{"a b": "x"}}), "jwks[0].headers", "no name"},
		{set(block{"url": "https://a.example", "tls": block{"ca_file": "none.pem"}}), "jwks[0].tls.ca_file", "no such file"},
		{secretOnly(block{"token": "header"}), "token", "password or username"},
		{secretOnly(block{"token": "username", "username_claim": "sub"}), "username_claim", "holds the token"},
		{secretOnly(block{"leeway": "1h"}), "leeway", "from 0 to 5m"},
		{secretOnly(block{"foreign_clients": "allow"}), "foreign_clients", "judge or deny"},
		{secretOnly(block{"identity_claim": ""}), "identity_claim", "must name a claim"},
		{secretOnly(block{"rules": []block{{"effect": "allow", "topic": "a/%{}"}}}), "rules[0].topic", "lacks a name"},
		{secretOnly(block{"issuer": "x"}), "issuer", "did you mean issuers?"},
	}
	for _, c := range cases {
		_, _, problems := configure(t, t.TempDir(), c.b)
		found := false
		for _, problem := range problems {
			found = found || problem.Key == c.key && strings.Contains(problem.Message, c.message)
			require.NotContains(t, problem.Message, secret)
		}
		require.True(t, found, "%v: %v says nothing of %q about %s", c.b, problems, c.message, c.key)
	}
}

func TestSecretsAreDeclaredSecret(t *testing.T) {
	var secrets []string
	for _, k := range sdk.ConfigKeys((&plugin{}).Info().Config) {
		if k.GetSecret() {
			secrets = append(secrets, k.GetPath())
		}
	}
	require.Equal(t, []string{"keys[].secret", "jwks[].headers"}, secrets)
}

func TestAPrivateKeyThatEverybodyMayReadIsRefused(t *testing.T) {
	clientcerttest.RefusesAnExposedKey(t, "jwks[0].tls.key_file", func(dir string) []sdk.Problem {
		_, _, problems := configure(t, dir, block{"jwks": []block{{"url": "https://a.example", "tls": block{"cert_file": "cert.pem", "key_file": "key.pem"}}}})
		return problems
	})
}

func TestASetWithSecretsThatEverybodyMayReadIsRefused(t *testing.T) {
	dir := exposedtest.OpenDir(t)
	file := filepath.Join(dir, "jwks.json")
	require.NoError(t, os.WriteFile(file, webKeys(t, webKey(t, "one", []byte(secret), nil)), 0o600))
	require.NoError(t, os.Chmod(file, 0o644))
	set := block{"file": "jwks.json", "algorithms": []string{"ES256", "HS256"}}
	_, _, problems := configure(t, dir, block{"jwks": []block{set}})
	require.Len(t, problems, 1)
	require.Equal(t, "jwks[0].file", problems[0].Key)
	require.Contains(t, problems[0].Message, "run `chmod o-rwx` on it")

	require.NoError(t, os.Chmod(file, 0o640))
	p, _ := activate(t, dir, block{"jwks": []block{set}})
	healthy(t, p)
	require.NoError(t, os.Chmod(file, 0o644))
	_, _, err := p.verifier.sources[0].fetch(t.Context())
	require.ErrorContains(t, err, "holds secrets")

	delete(set, "algorithms") // secrets in the set are then not used
	_, _, problems = configure(t, dir, block{"jwks": []block{set}})
	require.Empty(t, problems)
}
