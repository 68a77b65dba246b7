package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	// maxTokenBytes bounds a token; MQTT allows 64 KiB.
	maxTokenBytes = 16 << 10
	// farFuture is the latest time that Go and JSON can represent.
	farFuture = 253402300799 // 9999-12-31T23:59:59Z, in seconds
)

// errNoKeys means that no token can be verified at the moment.
var errNoKeys = errors.New("the keys cannot be read at the moment")

// verifier verifies tokens.
type verifier struct {
	parser  *jwt.Parser
	issuers []string
	static  keys
	sources []*source
}

func newVerifier(c *config, static keys, sources []*source) *verifier {
	options := []jwt.ParserOption{
		jwt.WithValidMethods(algorithms), jwt.WithJSONNumber(), jwt.WithLeeway(c.Leeway), jwt.WithIssuedAt(), jwt.WithStrictDecoding(),
	}
	if c.RequireExpiry {
		options = append(options, jwt.WithExpirationRequired())
	}
	if len(c.Audiences) > 0 {
		options = append(options, jwt.WithAudience(c.Audiences...))
	}
	return &verifier{parser: jwt.NewParser(options...), issuers: c.Issuers, static: static, sources: sources}
}

// verify returns the claims of a token and its expiry time; zero means never. An error says why the token is refused, and reveals nothing
// of its content except algorithm and key id.
func (v *verifier) verify(ctx context.Context, token string) (claims, time.Time, error) {
	if len(token) > maxTokenBytes {
		return nil, time.Time{}, fmt.Errorf("the token is longer than %d bytes", maxTokenBytes)
	}
	if strings.ContainsAny(token, "\r\n") { // which Go's Base64 decoder ignores
		return nil, time.Time{}, reasonFor(jwt.ErrTokenMalformed)
	}
	found := jwt.MapClaims{}
	var keyErr error
	_, err := v.parser.ParseWithClaims(token, found, func(t *jwt.Token) (any, error) {
		var set jwt.VerificationKeySet
		set.Keys, keyErr = v.keysFor(ctx, t)
		return set, keyErr
	})
	if keyErr != nil {
		return nil, time.Time{}, keyErr
	}
	if err != nil {
		return nil, time.Time{}, reasonFor(err)
	}
	c := claims(found)
	if issuer, _ := found["iss"].(string); len(v.issuers) > 0 && !slices.Contains(v.issuers, issuer) {
		return nil, time.Time{}, errors.New("the issuer (iss) is not one that is trusted")
	}
	at, err := found.GetExpirationTime()
	if err != nil || at == nil {
		return c, time.Time{}, err
	}
	return c, time.Unix(min(at.Unix(), farFuture), 0), nil
}

// keysFor finds the keys that a token may have been signed with.
func (v *verifier) keysFor(ctx context.Context, t *jwt.Token) ([]jwt.VerificationKey, error) {
	if _, critical := t.Header["crit"]; critical { // RFC 7515, section 4.1.11
		return nil, errors.New("the token's header has crit, and nothing that it may ask for is known here")
	}
	id, hasID := "", false
	if kid, there := t.Header["kid"]; there {
		if id, hasID = kid.(string); !hasID {
			return nil, errors.New("the token's key id (kid) is no text")
		}
	}
	alg := t.Method.Alg()
	found, complete := v.find(id, hasID, alg)
	if !complete {
		for _, s := range v.sources {
			s.demand(ctx)
		}
		found, _ = v.find(id, hasID, alg)
	}
	switch {
	case len(found) > 0:
		return found, nil
	case !v.ready():
		return nil, errNoKeys
	case hasID:
		return nil, fmt.Errorf("no key has the id %.100q and is for %s", id, alg)
	}
	return nil, fmt.Errorf("no key is for %s", alg)
}

// find searches the current keys; complete is false if reading the sources again could bring more.
func (v *verifier) find(id string, hasID bool, alg string) (found []jwt.VerificationKey, complete bool) {
	complete = len(v.sources) == 0 || hasID && v.static.has(id)
	for _, m := range v.static.find(id, hasID, alg) {
		found = append(found, m)
	}
	read := true
	for _, s := range v.sources {
		ks := s.usable()
		for _, m := range ks.find(id, hasID, alg) {
			found = append(found, m)
		}
		complete = complete || hasID && ks.has(id)
		read = read && len(ks) > 0
	}
	return found, complete || !hasID && read
}

// ready reports whether every source has keys.
func (v *verifier) ready() bool {
	return !slices.ContainsFunc(v.sources, func(s *source) bool { return len(s.usable()) == 0 })
}

// reasonFor says why a token is rejected. The parser's own messages are not used, because they repeat parts of the token.
func reasonFor(err error) error {
	for _, r := range []struct {
		is   error
		says string
	}{
		{jwt.ErrTokenMalformed, "the token is no JSON Web Token"},
		{jwt.ErrTokenUnverifiable, "the token's algorithm (alg) is not known"},
		{jwt.ErrTokenExpired, "the token has expired"},
		{jwt.ErrTokenNotValidYet, "the token is not valid yet (nbf)"},
		{jwt.ErrTokenUsedBeforeIssued, "the token was issued in the future (iat); look at the clocks"},
		{jwt.ErrTokenRequiredClaimMissing, "the token lacks a claim that is required: exp, or aud where audiences are configured"},
		{jwt.ErrTokenInvalidAudience, "the token is for another audience (aud)"},
		{jwt.ErrInvalidType, "exp, nbf, iat, iss or aud of the token has a type that it cannot have"},
		{jwt.ErrTokenSignatureInvalid, "the token's signature is wrong, or its algorithm (alg) is not allowed"},
	} {
		if errors.Is(err, r.is) {
			return errors.New(r.says)
		}
	}
	return errors.New("the token is not valid")
}
