package main

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
)

const (
	// maxSetBytes bounds the text of a set.
	maxSetBytes = 1 << 20
	// maxSetKeys bounds how many keys are tried for a token without a key id.
	maxSetKeys = 64
)

// jwk is one key of a set (RFC 7517, section 4; RFC 7518, section 6; RFC 8037).
type jwk struct {
	Kty    string   `json:"kty"`
	Kid    string   `json:"kid"`
	Use    string   `json:"use"`
	KeyOps []string `json:"key_ops"`
	Alg    string   `json:"alg"`
	N      string   `json:"n"`
	E      string   `json:"e"`
	Crv    string   `json:"crv"`
	X      string   `json:"x"`
	Y      string   `json:"y"`
	K      string   `json:"k"`
}

// parseSet parses a set. Keys for other purposes, and keys that are not understood, are skipped (RFC 7517, section 5); passed says why. A
// set without any usable key is an error. allowed lists the algorithms that keys may be used for; if it is empty, all except those of
// shared secrets.
func parseSet(text []byte, allowed []string) (set keys, passed []string, err error) {
	if len(text) > maxSetBytes {
		return nil, nil, fmt.Errorf("is larger than %d MiB", maxSetBytes>>20)
	}
	var doc struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		return nil, nil, errors.New("is no JSON Web Key Set: no JSON object with a list of keys")
	}
	if len(allowed) == 0 {
		allowed = slices.DeleteFunc(slices.Clone(algorithms), func(alg string) bool { return strings.HasPrefix(alg, "HS") })
	}
	for i, raw := range doc.Keys {
		var j jwk
		if err := json.Unmarshal(raw, &j); err != nil {
			passed = append(passed, fmt.Sprintf("key %d: its members have other types than RFC 7517's", i+1))
			continue
		}
		k, err := j.key(allowed)
		if err != nil {
			passed = append(passed, fmt.Sprintf("key %d (%.40q): %v", i+1, j.Kid, err))
			continue
		}
		if set = append(set, k); len(set) > maxSetKeys {
			return nil, nil, fmt.Errorf("holds more than %d keys", maxSetKeys)
		}
	}
	if len(set) == 0 {
		return nil, passed, fmt.Errorf("holds no usable key: %s", strings.Join(append(passed, "the set ends"), "; "))
	}
	return set, passed, nil
}

func (j *jwk) key(allowed []string) (key, error) {
	switch {
	case j.Use != "" && j.Use != "sig":
		return key{}, fmt.Errorf("its use is %.20q, not sig", j.Use)
	case len(j.KeyOps) > 0 && !slices.Contains(j.KeyOps, "verify"):
		return key{}, errors.New("its key_ops lack verify")
	}
	material, err := j.material()
	if err != nil {
		return key{}, err
	}
	fitting, kind, err := fit(material)
	if err != nil {
		return key{}, err
	}
	// The set may restrict the use of its key, and the configuration may restrict the use of the set.
	usable := slices.DeleteFunc(fitting, func(alg string) bool {
		return !slices.Contains(allowed, alg) || j.Alg != "" && j.Alg != alg
	})
	if len(usable) == 0 {
		return key{}, fmt.Errorf(
			"no algorithm is left for %s: the configuration allows %s, and the key says %.20q",
			kind,
			strings.Join(allowed, " "),
			j.Alg,
		)
	}
	return newKey(j.Kid, material, usable)
}

func (j *jwk) material() (any, error) {
	switch j.Kty {
	case "oct":
		return decoded(j.K, "k")
	case "RSA":
		return j.rsa()
	case "EC":
		return j.ec()
	case "OKP":
		if j.Crv != "Ed25519" {
			return nil, fmt.Errorf("the curve %.20q is not Ed25519", j.Crv)
		}
		x, err := decoded(j.X, "x")
		if err == nil && len(x) != ed25519.PublicKeySize {
			err = fmt.Errorf("x has %d bytes, not %d", len(x), ed25519.PublicKeySize)
		}
		return ed25519.PublicKey(x), err
	}
	return nil, fmt.Errorf("its type %.20q is not known", j.Kty)
}

func (j *jwk) rsa() (any, error) {
	n, err := decoded(j.N, "n")
	if err != nil {
		return nil, err
	}
	e, err := decoded(j.E, "e")
	if err != nil {
		return nil, err
	}
	exponent := new(big.Int).SetBytes(e)
	if exponent.BitLen() > 31 || exponent.Bit(0) == 0 || exponent.Cmp(big.NewInt(3)) < 0 {
		return nil, errors.New("e is no exponent that is taken: odd, from 3 to 2147483647")
	}
	return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(exponent.Int64())}, nil
}

func (j *jwk) ec() (any, error) {
	curve, there := map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}[j.Crv]
	if !there {
		return nil, fmt.Errorf("the curve %.20q is not one of P-256, P-384 and P-521", j.Crv)
	}
	x, err := decoded(j.X, "x")
	if err != nil {
		return nil, err
	}
	y, err := decoded(j.Y, "y")
	if err != nil {
		return nil, err
	}
	size := (curve.Params().BitSize + 7) / 8
	if len(x) != size || len(y) != size { // RFC 7518, section 6.2.1.2
		return nil, fmt.Errorf("x and y do not have %d bytes each", size)
	}
	point, err := ecdsa.ParseUncompressedPublicKey(curve, slices.Concat([]byte{4}, x, y))
	if err != nil {
		return nil, errors.New("x and y are no point of the curve")
	}
	return point, nil
}

func decoded(text, member string) ([]byte, error) {
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(b) == 0 {
		return nil, fmt.Errorf("%s is no Base64url", member)
	}
	return b, nil
}
