package main

import (
	"bytes"
	"crypto/ed25519"
	"testing"

	"github.com/stretchr/testify/require"
)

// Keys of RFC 7517 (appendix A.1) and RFC 8037 (appendix A.2), as they are printed there.
const published = `{"keys": [
 {"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","use":"enc","kid":"1"},
 {"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256","kid":"2011-04-29"},
 {"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"ed"}
]}`

func TestPublishedKeysAreUnderstood(t *testing.T) {
	set, passed, err := parseSet([]byte(published), nil)
	require.NoError(t, err)
	require.Len(t, passed, 1)
	require.Contains(t, passed[0], `key 1 ("1"): its use is "enc"`)
	require.Len(t, set, 2)
	require.Equal(t, "2011-04-29", set[0].id)
	require.Equal(t, []string{"RS256"}, set[0].algorithms)
	require.Equal(t, []string{"EdDSA"}, set[1].algorithms)
}

func TestKeysThatCannotBeUsedArePassedOverWithTheReason(t *testing.T) {
	rsaPublic, p256 := rsaKey().Public(), p256Key().Public()
	good := webKey(
		t,
		"good",
		edKey().Public(),
		map[string]any{"use": "sig", "key_ops": []string{"verify"}, "alg": "EdDSA", "x5c": []string{"ignored"}},
	)
	for says, k := range map[string]map[string]any{
		"key_ops lack verify":           webKey(t, "k", rsaPublic, map[string]any{"key_ops": []string{"encrypt"}}),
		`its type "XYZ"`:                {"kty": "XYZ"},
		`its type ""`:                   {},
		"other types":                   {"kty": 7},
		"the configuration allows":      webKey(t, "k", []byte(secret), nil),
		`the key says "RS1"`:            webKey(t, "k", rsaPublic, map[string]any{"alg": "RS1"}),
		`the key says "HS256"`:          webKey(t, "k", rsaPublic, map[string]any{"alg": "HS256"}),
		"n is no Base64url":             webKey(t, "k", rsaPublic, map[string]any{"n": "!"}),
		"e is no Base64url":             webKey(t, "k", rsaPublic, map[string]any{"e": ""}),
		"e is no exponent":              webKey(t, "k", rsaPublic, map[string]any{"e": "AQ"}),
		"8 bits":                        webKey(t, "k", rsaPublic, map[string]any{"n": "_w"}),
		`the curve "P-224"`:             webKey(t, "k", p256, map[string]any{"crv": "P-224"}),
		"32 bytes each":                 webKey(t, "k", p256, map[string]any{"x": "AQ"}),
		"48 bytes each":                 webKey(t, "k", p256, map[string]any{"crv": "P-384"}),
		"no point":                      webKey(t, "k", p256, map[string]any{"y": webKey(t, "k", otherKey().Public(), nil)["y"]}),
		`the curve "X25519"`:            webKey(t, "k", edKey().Public(), map[string]any{"crv": "X25519"}),
		"x has 31 bytes, not 32":        webKey(t, "k", ed25519.PublicKey(bytes.Repeat([]byte{1}, 31)), nil),
		"the configuration allows HS25": webKey(t, "k", []byte(secret), map[string]any{"alg": "HS512"}),
	} {
		allowed := []string(nil)
		if k["alg"] == "HS512" {
			allowed = []string{"HS256", "EdDSA"}
		}
		set, passed, err := parseSet(webKeys(t, k, good), allowed)
		require.NoError(t, err, says)
		require.Len(t, set, 1, says)
		require.Len(t, passed, 1, says)
		require.Contains(t, passed[0], says)
		_, _, err = parseSet(webKeys(t, k), allowed)
		require.ErrorContains(t, err, "no usable key")
	}
}

func TestASetIsBounded(t *testing.T) {
	var many []map[string]any
	for range maxSetKeys + 1 {
		many = append(many, webKey(t, "k", edKey().Public(), nil))
	}
	_, _, err := parseSet(webKeys(t, many...), nil)
	require.ErrorContains(t, err, "more than 64 keys")
	_, _, err = parseSet(bytes.Repeat([]byte(" "), maxSetBytes+1), nil)
	require.ErrorContains(t, err, "larger than 1 MiB")
}

func FuzzSetsOfAnyTextAreParsedOrRefused(f *testing.F) {
	f.Add([]byte(published))
	f.Add([]byte(`{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		set, _, err := parseSet(text, algorithms)
		if (err == nil) != (len(set) > 0) {
			t.Fatalf("%d keys, %v", len(set), err)
		}
		for _, k := range set {
			if len(k.algorithms) == 0 || k.material == nil {
				t.Fatalf("a key without a purpose: %+v", k)
			}
		}
	})
}
