package main

import (
	"fmt"
	"time"

	"github.com/lmqgate/lmqgate/plugins/internal/webclient"
	"github.com/lmqgate/lmqgate/plugins/sdk"
	"github.com/lmqgate/lmqgate/plugins/sdk/topicrules"
)

// config is the plugin's configuration block.
type config struct {
	Token          place             `config:"token" default:"password" doc:"where clients put the token: password or username"`
	Keys           []keyConfig       `config:"keys" doc:"keys that tokens are signed with"`
	JWKS           []jwksConfig      `config:"jwks" doc:"sets of keys (RFC 7517) in files or at URLs"`
	Issuers        []string          `config:"issuers" doc:"the claim iss must be one of these; none: any"`
	Audiences      []string          `config:"audiences" doc:"the claim aud must name one of these; none: any"`
	RequiredClaims map[string]string `config:"required_claims" doc:"claims that must be there, with this value or, where it is empty, with any"`
	Leeway         time.Duration     `config:"leeway" default:"5s" doc:"how far clocks may differ; 0 to 5m"`
	RequireExpiry  bool              `config:"require_expiry" default:"true" doc:"refuse tokens that never expire"`
	IdentityClaim  string            `config:"identity_claim" default:"sub" doc:"the claim that says who the client is; %u in rules"`
	UsernameClaim  string            `config:"username_claim" doc:"the MQTT user name must be what this claim says; empty: the user name does not matter"`
	ClientIDClaim  string            `config:"client_id_claim" doc:"the client identifier must be what this claim says, or one of its list; empty: any"`
	RulesClaim     string            `config:"rules_claim" doc:"the claim with the client's topic rules; empty: none"`
	Rules          []topicrules.Rule `config:"rules" doc:"rules for every client, before those of its token; %c, %u and %{claim}"`
	ForeignClients foreign           `config:"foreign_clients" default:"judge" doc:"clients that another plugin admitted: judge by rules, or deny"`
}

type keyConfig struct {
	ID            string   `config:"id" doc:"for tokens with this kid, and those without; empty: for any token"`
	Algorithms    []string `config:"algorithms" doc:"the algorithms that the key is for; none: all that fit it"`
	Secret        string   `config:"secret,secret" doc:"for HS256, HS384 and HS512: at least 32, 48 or 64 bytes"`
	SecretFile    string   `config:"secret_file" doc:"a file with the secret; one line end at its end is dropped"`
	Base64        bool     `config:"base64" default:"false" doc:"the secret is written in Base64"`
	PublicKey     string   `config:"public_key" doc:"a public key or certificate, PEM"`
	PublicKeyFile string   `config:"public_key_file" doc:"a PEM file with a public key or certificate"`
}

type jwksConfig struct {
	File           string            `config:"file" doc:"a file with the set"`
	URL            string            `config:"url" doc:"where the set is; https, or http on loopback"`
	Algorithms     []string          `config:"algorithms" doc:"the algorithms that its keys are for; none: all but HS256, HS384 and HS512"`
	Refresh        time.Duration     `config:"refresh" doc:"how often it is read: 1s to 24h; by default 5m from a URL and 10s from a file"`
	MaxStale       time.Duration     `config:"max_stale" default:"24h" doc:"how long its keys are used while it cannot be read; 0: for ever"`
	Timeout        time.Duration     `config:"timeout" default:"5s" doc:"how long a reading may take; 100ms to 1m"`
	Headers        map[string]string `config:"headers,secret" doc:"HTTP headers to send"`
	TLS            webclient.TLS     `config:"tls"`
	AllowPlainHTTP bool              `config:"allow_plain_http" default:"false" doc:"take keys over http from other machines"`
}

const (
	refreshURL  = 5 * time.Minute
	refreshFile = 10 * time.Second
	maxLeeway   = 5 * time.Minute
)

// place says which field of CONNECT holds the token.
type place string

const (
	inPassword place = "password"
	inUsername place = "username"
)

func (p *place) UnmarshalText(text []byte) error {
	if *p = place(text); *p != inPassword && *p != inUsername {
		return fmt.Errorf("must be password or username, not %q", text)
	}
	return nil
}

// foreign says how to treat clients that another plugin admitted.
type foreign string

const (
	judgeForeign foreign = "judge"
	denyForeign  foreign = "deny"
)

func (f *foreign) UnmarshalText(text []byte) error {
	if *f = foreign(text); *f != judgeForeign && *f != denyForeign {
		return fmt.Errorf("must be judge or deny, not %q", text)
	}
	return nil
}

// Check implements sdk.Checker: it checks rules that the types cannot express, and fills in defaults that depend on other keys.
func (c *config) Check() []sdk.Problem {
	var problems []sdk.Problem
	add := func(key, format string, args ...any) { problems = append(problems, sdk.Problemf(key, format, args...)) }
	if len(c.Keys) == 0 && len(c.JWKS) == 0 {
		add("keys", "name no key, and there is no jwks, so no token could be verified; write one of them")
	}
	if c.Leeway < 0 || c.Leeway > maxLeeway {
		add("leeway", "must be from 0 to %s, not %s", maxLeeway, c.Leeway)
	}
	if c.IdentityClaim == "" {
		add("identity_claim", "must name a claim, such as sub")
	}
	if c.Token == inUsername && c.UsernameClaim != "" {
		add("username_claim", "cannot be compared: the user name holds the token")
	}
	for i := range c.JWKS {
		c.JWKS[i].check(fmt.Sprintf("jwks[%d]", i), add)
	}
	return append(problems, topicrules.Check("rules", c.Rules, true)...)
}

func (j *jwksConfig) check(key string, add func(key, format string, args ...any)) {
	if (j.File == "") == (j.URL == "") {
		add(key, "needs a file or a url, and not both")
		return
	}
	if j.URL != "" {
		if err := webclient.CheckURL(j.URL, j.AllowPlainHTTP); err != nil {
			add(key+".url", "%v", err)
		}
	}
	switch {
	case j.Refresh == 0 && j.URL != "":
		j.Refresh = refreshURL
	case j.Refresh == 0:
		j.Refresh = refreshFile
	case j.Refresh < time.Second || j.Refresh > 24*time.Hour:
		add(key+".refresh", "must be from 1s to 24h, not %s", j.Refresh)
	}
	if j.MaxStale != 0 && j.MaxStale < j.Refresh {
		add(key+".max_stale", "must not be shorter than refresh (%s), or keys would be missing between two readings", j.Refresh)
	}
	if j.Timeout < 100*time.Millisecond || j.Timeout > time.Minute {
		add(key+".timeout", "must be from 100ms to 1m, not %s", j.Timeout)
	}
	if err := webclient.CheckHeaders(j.Headers); err != nil {
		add(key+".headers", "%v", err)
	}
	for i, alg := range j.Algorithms {
		if !known(alg) {
			add(fmt.Sprintf("%s.algorithms[%d]", key, i), "%s", unknownAlgorithm(alg))
		}
	}
}
