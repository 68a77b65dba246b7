package main

import (
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/plugins/auth-hmac/credential"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
	"github.com/lmqgate/lmqgate/plugins/sdk"
)

func configured(t *testing.T, block string) *plugin {
	t.Helper()
	p := &plugin{}
	require.Empty(t, p.Configure(t.Context(), sdk.Setup{Config: []byte(block), Log: slog.New(slog.DiscardHandler)}))
	require.NoError(t, p.Activate(t.Context()))
	return p
}

const twoUsers = `{"users": [
	{"username": "demo", "secret_key": "demo-secret"},
	{"username": "ops", "secret_key": "ops-secret", "rules": [{"effect": "allow", "action": "subscribe", "topic": "#"}]}]}`

func TestAuthenticateSaysWhatWasWrongAndNeverTheSecret(t *testing.T) {
	p := configured(t, twoUsers)
	cases := []struct {
		name               string
		user, password     string
		noUser, noPassword bool
		want               pluginv1.Reason
		detail             string
	}{
		{name: "right", user: "demo", password: credential.Password("demo-secret", "dev1"), want: pluginv1.Reason_REASON_OK},
		{name: "second user", user: "ops", password: credential.Password("ops-secret", "dev1"), want: pluginv1.Reason_REASON_OK},
		{name: "unknown user", user: "eve", password: "x", want: pluginv1.Reason_REASON_BAD_CREDENTIALS, detail: "unknown user"},
		{name: "another user's key", user: "demo", password: credential.Password("ops-secret", "dev1"),
			want: pluginv1.Reason_REASON_BAD_CREDENTIALS, detail: "wrong signature"},
		{name: "another client's signature", user: "demo", password: credential.Password("demo-secret", "dev2"),
			want: pluginv1.Reason_REASON_BAD_CREDENTIALS, detail: "wrong signature"},
		{
			name:     "the secret itself",
			user:     "demo",
			password: "demo-secret",
			want:     pluginv1.Reason_REASON_BAD_CREDENTIALS,
			detail:   "wrong signature",
		},
		{name: "no password", user: "demo", noPassword: true, want: pluginv1.Reason_REASON_BAD_CREDENTIALS, detail: "no password"},
		{name: "empty password", user: "demo", want: pluginv1.Reason_REASON_BAD_CREDENTIALS, detail: "wrong signature"},
		{name: "no user name", noUser: true, want: pluginv1.Reason_REASON_BAD_CREDENTIALS, detail: "no user name"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			resp, err := p.Authenticate(t.Context(), &pluginv1.AuthenticateRequest{
				Connection:  &pluginv1.Connection{ClientId: "dev1", HasUsername: !c.noUser, Username: c.user, MqttVersion: 4},
				HasPassword: !c.noPassword, Password: []byte(c.password),
			})
			require.NoError(t, err)
			require.Equal(t, c.want, resp.GetReason())
			require.Contains(t, resp.GetDetail(), c.detail)
			require.NotContains(t, resp.GetDetail(), "secret-")
			require.NotContains(t, resp.GetDetail(), "-secret")
			if c.want == pluginv1.Reason_REASON_OK {
				require.Equal(t, c.user, resp.GetIdentity())
			}
		})
	}
}

func TestAuthorizeJudgesByTheUserNameWhoeverAdmittedTheClient(t *testing.T) {
	p := configured(t, twoUsers)
	ask := func(user string) []*pluginv1.Decision {
		resp, err := p.Authorize(t.Context(), &pluginv1.AuthorizeRequest{
			Client: &pluginv1.Client{
				Connection: &pluginv1.Connection{ClientId: "dev1", HasUsername: true, Username: user}, AdmittedBy: "another",
			},
			Actions: []*pluginv1.Action{
				{Kind: pluginv1.ActionKind_ACTION_KIND_PUBLISH, Topic: "a/b"},
				{Kind: pluginv1.ActionKind_ACTION_KIND_SUBSCRIBE, Topic: "a/#"},
				{Topic: "a"},
			},
		})
		require.NoError(t, err)
		require.Len(t, resp.GetDecisions(), 3)
		for _, d := range resp.GetDecisions() {
			require.Positive(t, d.GetCacheMs())
			require.NotEmpty(t, d.GetDetail())
		}
		return resp.GetDecisions()
	}
	got := ask("demo")
	require.True(t, got[0].GetAllow())
	require.True(t, got[1].GetAllow())
	require.False(t, got[2].GetAllow(), "an unknown kind of action")
	got = ask("ops")
	require.False(t, got[0].GetAllow())
	require.Equal(t, "no rule allows it", got[0].GetDetail())
	require.True(t, got[1].GetAllow())
	require.Equal(t, "rule 1 (allow subscribe #)", got[1].GetDetail())
	got = ask("eve")
	require.False(t, got[0].GetAllow())
	require.False(t, got[1].GetAllow())
}

func TestConfigureNamesEachProblemWithItsKey(t *testing.T) {
	cases := []struct{ block, key, message string }{
		{`{}`, "users", "is required"},
		{`{"users": []}`, "users", "names nobody"},
		{`{"users": [{"username": "a"}]}`, "users[0].secret_key", "is required"},
		{`{"users": [{"secret_key": "s"}]}`, "users[0].username", "is required"},
		{`{"users": [{"username": "a", "secret_key": 5.5, "secretkey": "s"}]}`, "users[0].secretkey", "did you mean secret_key?"},
		{
			`{"users": [{"username": "a", "secret_key": "s"}, {"username": "a", "secret_key": "t"}]}`,
			"users[1].username",
			"same as users[0].username",
		},
		{
			`{"users": [{"username": "a", "secret_key": "s", "rules": [{"effect": "permit", "topic": "a"}]}]}`,
			"users[0].rules[0].effect",
			"allow or deny",
		},
		{
			`{"users": [{"username": "a", "secret_key": "s", "rules": [{"effect": "allow", "action": "read", "topic": "a"}]}]}`,
			"users[0].rules[0].action",
			"publish, subscribe or all",
		},
		{`{"users": [{"username": "a", "secret_key": "s", "rules": [{"effect": "allow"}]}]}`, "users[0].rules[0].topic", "is required"},
		{
			`{"users": [{"username": "a", "secret_key": "s", "rules": [{"effect": "allow", "topic": "a/#/%c"}]}]}`,
			"users[0].rules[0].topic",
			"# must be the last level",
		},
		{`{"user": {}}`, "user", "did you mean users?"},
		{`{"users": {"demo": "x"}}`, "users", "must be a list"},
	}
	for _, c := range cases {
		p := &plugin{}
		problems := p.Configure(t.Context(), sdk.Setup{Config: []byte(c.block)})
		found := false
		for _, problem := range problems {
			if problem.Key == c.key {
				require.Contains(t, problem.Message, c.message)
				found = true
			}
		}
		require.True(t, found, "%s: %v has nothing about %s", c.block, problems, c.key)
	}
}

func TestTheSecretIsDeclaredSecret(t *testing.T) {
	for _, k := range sdk.ConfigKeys((&plugin{}).Info().Config) {
		require.Equal(t, k.GetPath() == "users[].secret_key", k.GetSecret(), k.GetPath())
	}
}
