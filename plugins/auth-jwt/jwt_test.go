package main

import (
	"log/slog"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/internal/testlog"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
	"github.com/lmqgate/lmqgate/plugins/sdk"
	"github.com/lmqgate/lmqgate/plugins/sdk/topicrules"
)

func TestClaimsDecideWhoMayConnect(t *testing.T) {
	p, _ := activate(t, "", secretOnly(block{
		"leeway": "30s", "issuers": []string{"https://issuer.example", "other"}, "audiences": []string{"mqtt", "devices"},
		"required_claims": block{"tenant": "acme", "realm.roles": "mqtt", "level": "3", "any": ""},
	}))
	right := jwt.MapClaims{"iss": "other", "aud": []string{"web", "mqtt"}, "tenant": "acme", "level": 3, "any": "x",
		"realm": map[string]any{"roles": []string{"web", "mqtt"}}}
	now := time.Now()
	with := func(more jwt.MapClaims) string { return signed(t, merge(right, more)) }
	resp := admit(t, p, with(nil))
	require.Equal(t, "dev1", resp.GetIdentity())
	admit(t, p, with(jwt.MapClaims{"nbf": now.Add(10 * time.Second).Unix(), "iat": now.Add(10 * time.Second).Unix()})) // the leeway
	admit(t, p, with(jwt.MapClaims{"exp": now.Add(-10 * time.Second).Unix()}))
	cases := []struct {
		more   jwt.MapClaims
		reason pluginv1.Reason
		says   string
	}{
		{jwt.MapClaims{"exp": now.Add(-time.Minute).Unix()}, bad, "expired"},
		{jwt.MapClaims{"exp": nil}, bad, "lacks a claim"},
		{jwt.MapClaims{"exp": 0}, bad, "expired"},
		{jwt.MapClaims{"exp": "tomorrow"}, bad, "type"},
		{jwt.MapClaims{"nbf": now.Add(time.Minute).Unix()}, bad, "not valid yet"},
		{jwt.MapClaims{"iat": now.Add(time.Minute).Unix()}, bad, "in the future"},
		{jwt.MapClaims{"iss": "https://evil.example"}, bad, "issuer"},
		{jwt.MapClaims{"iss": nil}, bad, "issuer"},
		{jwt.MapClaims{"iss": []string{"other"}}, bad, "issuer"},
		{jwt.MapClaims{"aud": "web"}, bad, "audience"},
		{jwt.MapClaims{"aud": nil}, bad, "lacks a claim"},
		{jwt.MapClaims{"sub": nil}, unauthorized, "sub"},
		{jwt.MapClaims{"sub": ""}, unauthorized, "sub"},
		{jwt.MapClaims{"sub": []string{"dev1"}}, unauthorized, "sub"},
		{jwt.MapClaims{"tenant": "other"}, unauthorized, "tenant"},
		{jwt.MapClaims{"tenant": nil}, unauthorized, "tenant"},
		{jwt.MapClaims{"level": 4}, unauthorized, "level"},
		{jwt.MapClaims{"any": nil}, unauthorized, "any"},
		{jwt.MapClaims{"realm": map[string]any{"roles": "web"}}, unauthorized, "realm.roles"},
		{jwt.MapClaims{"realm": "mqtt"}, unauthorized, "realm.roles"},
	}
	for _, c := range cases {
		refuse(t, p, with(c.more), c.reason, c.says)
	}
}

func merge(parts ...jwt.MapClaims) jwt.MapClaims {
	out := jwt.MapClaims{}
	for _, part := range parts {
		maps.Copy(out, part)
	}
	return out
}

func TestTextsThatAreNoTokensAreRefused(t *testing.T) {
	p, _ := activate(t, "", secretOnly(nil))
	token := signed(t, nil)
	parts := strings.Split(token, ".")
	for _, text := range []string{
		"x", ".", "..", "a.b.c", parts[0] + "." + parts[1], parts[0] + "." + parts[1] + ".", token + ".", token + "x", token[:len(token)-2],
		"e30." + parts[1] + "." + parts[2], parts[0] + ".e30." + parts[2], parts[0] + ".bnVsbA." + parts[2],
		" " + token, token + "\n", strings.Repeat("a", maxTokenBytes) + token,
	} {
		resp := authenticate(t, p, text)
		require.Equal(t, bad, resp.GetReason(), "%q: %s", text, resp.GetDetail())
		require.NotEmpty(t, resp.GetDetail())
	}
	require.Equal(t, "no token in the password", authenticate(t, p, "").GetDetail())
}

func TestTheExpiryEndsTheAdmission(t *testing.T) {
	at := time.Now().Add(time.Hour).Truncate(time.Second)
	p, _ := activate(t, "", secretOnly(block{"leeway": "20s", "require_expiry": false}))
	require.Equal(t, at.Add(20*time.Second).UnixMilli(), admit(t, p, signed(t, jwt.MapClaims{"exp": at.Unix()})).GetExpiresAtMs())
	require.Zero(t, admit(t, p, signed(t, jwt.MapClaims{"exp": nil})).GetExpiresAtMs())
	far := admit(t, p, signed(t, jwt.MapClaims{"exp": 1e18})).GetExpiresAtMs()
	require.Equal(t, 9999, time.UnixMilli(far).Add(-time.Minute).UTC().Year())
}

func TestTheUserNameAndTheClientIdentifierMayBeBoundToClaims(t *testing.T) {
	p, _ := activate(
		t,
		"",
		secretOnly(block{"username_claim": "name", "client_id_claim": "devices", "identity_claim": "https://acme.example/id"}),
	)
	token := func(more jwt.MapClaims) string {
		return signed(
			t,
			merge(jwt.MapClaims{"sub": nil, "name": "ann", "devices": []string{"a", "b"}, "https://acme.example/id": 17}, more),
		)
	}
	conn := func(clientID, user string) *pluginv1.Connection {
		return &pluginv1.Connection{ClientId: clientID, HasUsername: user != "", Username: user}
	}
	for _, c := range []struct {
		clientID, user string
		more           jwt.MapClaims
		want           pluginv1.Reason
	}{
		{"a", "ann", nil, ok},
		{"b", "ann", nil, ok},
		{"c", "ann", nil, badID},
		{"", "ann", nil, badID},
		{"a", "bob", nil, bad},
		{"a", "", nil, bad},
		{"a", "ann", jwt.MapClaims{"name": nil}, bad},
		{"a", "ann", jwt.MapClaims{"devices": "a"}, ok},
		{"a", "ann", jwt.MapClaims{"devices": nil}, badID},
	} {
		resp := authenticateAs(t, p, conn(c.clientID, c.user), token(c.more))
		require.Equal(t, c.want, resp.GetReason(), "%+v: %s", c, resp.GetDetail())
		if c.want == ok {
			require.Equal(t, "17", resp.GetIdentity())
		}
	}
}

func TestTheTokenMayBeTheUserName(t *testing.T) {
	p, _ := activate(t, "", secretOnly(block{"token": "username"}))
	resp := authenticateAs(t, p, &pluginv1.Connection{ClientId: "c", HasUsername: true, Username: signed(t, nil)}, "")
	require.Equal(t, ok, resp.GetReason(), resp.GetDetail())
	require.Equal(t, "dev1", resp.GetIdentity())
	resp = authenticateAs(t, p, &pluginv1.Connection{ClientId: "c"}, signed(t, nil))
	require.Equal(t, bad, resp.GetReason())
	require.Equal(t, "no token in the username", resp.GetDetail())
}

// may asks whether a client may do something; "+" before a topic means publish, "?" subscribe.
func may(t *testing.T, p *plugin, client *pluginv1.Client, what string) bool {
	t.Helper()
	kind := pluginv1.ActionKind_ACTION_KIND_PUBLISH
	if what[0] == '?' {
		kind = pluginv1.ActionKind_ACTION_KIND_SUBSCRIBE
	}
	resp, err := p.Authorize(
		t.Context(),
		&pluginv1.AuthorizeRequest{Client: client, Actions: []*pluginv1.Action{{Kind: kind, Topic: what[1:]}}},
	)
	require.NoError(t, err)
	require.NotEmpty(t, resp.GetDecisions()[0].GetDetail())
	return resp.GetDecisions()[0].GetAllow()
}

// admitted is a client as the gateway passes it back to the plugin.
func admitted(resp *pluginv1.AuthenticateResponse, clientID string) *pluginv1.Client {
	return &pluginv1.Client{
		Connection: &pluginv1.Connection{ClientId: clientID, HasUsername: true, Username: "anybody"},
		Identity:   resp.GetIdentity(), Attributes: resp.GetAttributes(), AdmittedBy: name,
	}
}

func TestRulesOfTheConfigurationComeBeforeThoseOfTheToken(t *testing.T) {
	p, _ := activate(t, "", secretOnly(block{
		"rules_claim": "acl",
		"rules": []block{
			{"effect": "deny", "topic": "secret/#"},
			{"effect": "allow", "action": "publish", "topic": "state/%{tenant}/%u/%c"},
		},
	}))
	long := []map[string]any{
		{"effect": "allow", "action": "subscribe", "topic": "cmd/%c/#"},
		{"effect": "deny", "action": "publish", "topic": "state/#"},
		{"effect": "allow", "topic": "secret/x"},
		{"effect": "allow", "topic": "group/%{group}/#"},
	}
	short := map[string]any{"subscribe": []string{"cmd/%c/#"}, "publish": []string{}, "all": []string{"secret/x", "group/%{group}/#"}}
	for _, acl := range []any{long, short} {
		client := admitted(admit(t, p, signed(t, jwt.MapClaims{"acl": acl, "tenant": "acme", "group": 7})), "client1")
		for what, want := range map[string]bool{
			"+state/acme/dev1/client1":    true, // takes precedence over the token's deny
			"+state/acme/dev2/client1":    false,
			"+state/acme/anybody/client1": false, // the user name of CONNECT counts for nothing
			"+secret/x":                   false, // takes precedence over the token's allow
			"?cmd/client1/#":              true,
			"?cmd/#":                      false,
			"+cmd/client1/x":              false,
			"+group/7/x":                  true,
			"+group/8/x":                  false,
			"+other":                      false,
			"?t/p2p/client1":              true,
		} {
			require.Equal(t, want, may(t, p, client, what), "%v: %s", acl, what)
		}
	}
	bare := admitted(admit(t, p, signed(t, nil)), "client1")
	for what, want := range map[string]bool{"+state/acme/dev1/client1": false, "+other": false, "?t/p2p/client1": true} {
		require.Equal(t, want, may(t, p, bare, what), "a token without rules and tenant: %s", what)
	}
}

func TestNoClaimMakesATopicPointToPoint(t *testing.T) {
	p, _ := activate(t, "", secretOnly(block{
		"rules_claim": "acl",
		"rules":       []block{{"effect": "allow", "action": "publish", "topic": "state/%{tenant}/#"}},
	}))
	for _, acl := range []any{
		[]map[string]any{{"effect": "allow", "topic": "t/%{tenant}/#"}, {"effect": "allow", "topic": "/u/%u/#"}, {"effect": "allow", "topic": "a/#"}},
		map[string]any{"publish": []string{"t/%{tenant}/#", "/u/%u/#", "a/#"}},
	} {
		resp := admit(t, p, signed(t, jwt.MapClaims{"acl": acl, "tenant": "p2p", "sub": "p2p"}))
		for what, want := range map[string]bool{"state/p2p/victim": false, "t/p2p/victim": false, "/u/p2p/victim": false, "a/x": true} {
			require.Equal(t, want, may(t, p, admitted(resp, "client1"), "+"+what), "%v: %s", acl, what)
			require.Equal(t, want, topicrules.Allows(resp.GetRights(), topicrules.Publish, what), "rights by %v: %s", acl, what)
		}
	}
}

func TestWithoutAnyRulesATokenAllowsEverythingUnlessAClaimIsToSay(t *testing.T) {
	open, _ := activate(t, "", secretOnly(nil))
	require.True(t, may(t, open, admitted(admit(t, open, signed(t, nil)), "c"), "+any"))
	strict, _ := activate(t, "", secretOnly(block{"rules_claim": "acl"}))
	for _, acl := range []any{nil, []any{}, map[string]any{}} {
		require.False(t, may(t, strict, admitted(admit(t, strict, signed(t, jwt.MapClaims{"acl": acl})), "c"), "+any"))
	}
}

func TestATokenWithRulesThatCannotBeReadIsRefused(t *testing.T) {
	p, _ := activate(t, "", secretOnly(block{"rules_claim": "acl"}))
	for says, acl := range map[string]any{
		"must be a list of rules": "publish",
		"effect: is required":     []any{map[string]any{"topic": "a"}},
		"allow or deny":           []any{map[string]any{"effect": "maybe", "topic": "a"}},
		"must be a block":         []any{"a"},
		"# must be the last":      []any{map[string]any{"effect": "allow", "topic": "#/a"}},
		"unknown key":             map[string]any{"pub": []string{"a"}},
		"must not be empty":       map[string]any{"publish": []string{""}},
	} {
		refuse(t, p, signed(t, jwt.MapClaims{"acl": acl}), unauthorized, says)
	}
}

func TestClientsOfAnotherPluginAreJudgedByTheRulesOfTheConfigurationOrDenied(t *testing.T) {
	rules := []block{{"effect": "allow", "topic": "own/%u/%c"}, {"effect": "allow", "topic": "claim/%{tenant}"}}
	stranger := &pluginv1.Client{
		Connection: &pluginv1.Connection{ClientId: "c", HasUsername: true, Username: "ann"}, Identity: "ann", AdmittedBy: "auth-hmac",
		Attributes: map[string]string{rulesAttribute: encodeRules(nil), claimAttribute + "tenant": "acme"}, // not written by this plugin
	}
	judge, _ := activate(t, "", secretOnly(block{"rules": rules}))
	require.True(t, may(t, judge, stranger, "+own/ann/c"))
	require.False(t, may(t, judge, stranger, "+claim/acme"))
	require.False(t, may(t, judge, stranger, "+other"))
	deny, _ := activate(t, "", secretOnly(block{"rules": rules, "foreign_clients": "deny"}))
	require.False(t, may(t, deny, stranger, "+own/ann/c"))
	strict, _ := activate(t, "", secretOnly(block{"rules_claim": "acl"}))
	require.False(t, may(t, strict, stranger, "+other"))
	forged := admitted(&pluginv1.AuthenticateResponse{Attributes: map[string]string{rulesAttribute: "{"}}, "c")
	require.False(t, may(t, judge, forged, "+own/ann/c"))
}

func TestRulesThatGoByAClientIdentifierOfTheClientsChoiceAreWarnedOf(t *testing.T) {
	for block, warned := range map[string]bool{
		`"rules": [{"effect": "allow", "topic": "cmd/%c/#"}]`:                           true,
		`"rules": [{"effect": "allow", "topic": "cmd/%c/#"}], "client_id_claim": "sub"`: false,
		`"rules": [{"effect": "allow", "topic": "cmd/%u/#"}]`:                           false,
	} {
		log := &testlog.Buffer{}
		setup := sdk.Setup{Config: []byte(`{"keys": [{"secret": "` + secret + `"}], ` + block + `}`), Log: slog.New(slog.NewTextHandler(log, nil))}
		require.Empty(t, (&plugin{}).Configure(t.Context(), setup))
		require.Equal(t, warned, strings.Contains(log.String(), "rules with %c"), "%s: %s", block, log)
	}
}
