package main

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/lmqgate/lmqgate/plugins/internal/trustedfile"
	"github.com/lmqgate/lmqgate/plugins/sdk"
)

// Bounds of RSA keys: smaller keys can be broken; with larger ones a signature is too expensive to verify.
const minRSABits, maxRSABits = 2048, 8192

// maxKeyBytes bounds a file with one key.
const maxKeyBytes = 64 << 10

// algorithms lists all supported algorithms (RFC 7518, section 3.1; RFC 8037). "none" is not among them.
var algorithms = []string{
	"HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
}

func known(alg string) bool { return slices.Contains(algorithms, alg) }

func unknownAlgorithm(alg string) string {
	return fmt.Sprintf("%q is not known; there are %s", alg, strings.Join(algorithms, ", "))
}

// key verifies signatures of tokens. The key determines its algorithms, so that a token cannot choose an unsuitable one, for instance use a
// public key as the secret of an HMAC.
type key struct {
	id         string
	algorithms []string
	// material is []byte, *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey.
	material any
}

// newKey makes a key for the wanted algorithms; if wanted is empty, for all that fit the material.
func newKey(id string, material any, wanted []string) (key, error) {
	fitting, kind, err := fit(material)
	if err != nil {
		return key{}, err
	}
	for _, alg := range wanted {
		switch {
		case !known(alg):
			return key{}, errors.New(unknownAlgorithm(alg))
		case !slices.Contains(fitting, alg):
			return key{}, fmt.Errorf("%s is not for %s, which fits %s", alg, kind, strings.Join(fitting, ", "))
		}
	}
	if len(wanted) == 0 {
		wanted = fitting
	}
	return key{id: id, algorithms: wanted, material: material}, nil
}

// fit lists the algorithms that key material can be used with.
func fit(material any) (fitting []string, kind string, err error) {
	switch m := material.(type) {
	case []byte:
		// RFC 7518, section 3.2: at least as long as the hash.
		for bytes, alg := range map[int]string{32: "HS256", 48: "HS384", 64: "HS512"} {
			if len(m) >= bytes {
				fitting = append(fitting, alg)
			}
		}
		if len(fitting) == 0 {
			return nil, "", errors.New(
				"the secret has fewer than 32 bytes, which HS256 needs at least; make one with `openssl rand -base64 32`",
			)
		}
		slices.Sort(fitting)
		return fitting, fmt.Sprintf("a secret of %d bytes", len(m)), nil
	case *rsa.PublicKey:
		if bits := m.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return nil, "", fmt.Errorf("the RSA key has %d bits; %d to %d are taken", bits, minRSABits, maxRSABits)
		}
		return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}, "an RSA key", nil
	case *ecdsa.PublicKey:
		name := m.Curve.Params().Name
		if alg, ok := map[string]string{"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}[name]; ok {
			return []string{alg}, "a key on the curve " + name, nil
		}
		return nil, "", fmt.Errorf("the curve %s is not one of P-256, P-384 and P-521", name)
	case ed25519.PublicKey:
		return []string{"EdDSA"}, "an Ed25519 key", nil
	}
	return nil, "", fmt.Errorf("keys of the type %T are not known; there are RSA, ECDSA and Ed25519", material)
}

// keys are the keys of one source.
type keys []key

// find returns the key material that may verify a token with this key id and algorithm.
func (ks keys) find(id string, hasID bool, alg string) (materials []any) {
	for _, k := range ks {
		if (!hasID || k.id == "" || k.id == id) && slices.Contains(k.algorithms, alg) {
			materials = append(materials, k.material)
		}
	}
	return materials
}

// has reports whether one of the keys has the id.
func (ks keys) has(id string) bool {
	return slices.ContainsFunc(ks, func(k key) bool { return k.id == id })
}

// configured loads the key of an entry in the configuration key `keys`.
func (c keyConfig) configured(setup sdk.Setup, at string) (key, []sdk.Problem) {
	type form struct {
		name, text string
		file       bool
	}
	forms := []form{
		{"secret", c.Secret, false}, {"secret_file", c.SecretFile, true},
		{"public_key", c.PublicKey, false}, {"public_key_file", c.PublicKeyFile, true},
	}
	forms = slices.DeleteFunc(forms, func(f form) bool { return f.text == "" })
	if len(forms) != 1 {
		return key{}, []sdk.Problem{
			sdk.Problemf(at, "needs one of secret, secret_file, public_key and public_key_file, not %d of them", len(forms)),
		}
	}
	f := forms[0]
	problem := func(err error) (key, []sdk.Problem) {
		return key{}, []sdk.Problem{sdk.Problemf(at+"."+f.name, "%v", err)}
	}
	text := []byte(f.text)
	if f.file {
		var err error
		read := trustedfile.Read
		if f.name == "secret_file" {
			read = trustedfile.ReadSecret
		}
		if text, err = read(setup.Path(f.text), maxKeyBytes); err != nil {
			return problem(fmt.Errorf("%s %w", f.text, err))
		}
	}
	var (
		material any
		err      error
	)
	if strings.HasPrefix(f.name, "secret") {
		material, err = secretOf(text, f.file, c.Base64)
	} else {
		material, err = publicKeyOf(text)
	}
	if err != nil {
		return problem(err)
	}
	k, err := newKey(c.ID, material, c.Algorithms)
	if err != nil && len(c.Algorithms) > 0 {
		return key{}, []sdk.Problem{sdk.Problemf(at+".algorithms", "%v", err)}
	}
	if err != nil {
		return problem(err)
	}
	return k, nil
}

func secretOf(text []byte, file, encoded bool) ([]byte, error) {
	s := string(text)
	if file {
		s = strings.TrimSuffix(strings.TrimSuffix(s, "\n"), "\r")
	}
	if !encoded {
		return []byte(s), nil
	}
	s = strings.TrimRight(strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimSpace(s)), "=")
	secret, err := base64.RawStdEncoding.DecodeString(s)
	if err != nil {
		return nil, errors.New("is no Base64")
	}
	return secret, nil
}

// publicKeyOf reads the first PEM block.
func publicKeyOf(text []byte) (any, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("holds no PEM block (-----BEGIN PUBLIC KEY-----)")
	}
	switch block.Type {
	case "PUBLIC KEY":
		return x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		return x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		return cert.PublicKey, nil
	}
	if strings.Contains(block.Type, "PRIVATE KEY") {
		return nil, errors.New("is a private key, which belongs to the issuer of tokens only; give its public key (`openssl pkey -pubout`)")
	}
	return nil, fmt.Errorf("holds the PEM block %q, not a public key or certificate", block.Type)
}
