package main

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/xdg-go/scram"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
	"github.com/lmqgate/lmqgate/plugins/sdk"
)

// pencil is the stored key of the password "pencil" with the salt of RFC 7677's example, as PostgreSQL makes it.
const pencil = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="

const scramUsers = `
users:
  - username: user
    scram: "` + pencil + `"
    client_ids: [c, "more-*"]
    rules: [{effect: allow, action: publish, topic: "state/%u/#"}]
  - {username: both, scram: "` + pencil + `", password_hash: "` + aliceHash + `"}
  - {username: gone, disabled: true, scram: "` + pencil + `"}
  - {username: alice, password_hash: "` + aliceHash + `"}
`

// converse runs a whole SCRAM conversation, and returns the plugin's decision and the client's final check.
func converse(
	t *testing.T,
	f *fixture,
	conn *pluginv1.Connection,
	user, password, authzID string,
) (*pluginv1.ExchangeResponse, *scram.ClientConversation) {
	t.Helper()
	client, err := scram.SHA256.NewClient(user, password, authzID)
	require.NoError(t, err)
	step, err := f.Exchange(t.Context(), sdk.ExchangeStart{Method: methodSCRAM, Connection: conn})
	require.NoError(t, err)
	c := client.NewConversation()
	said, err := c.Step("")
	require.NoError(t, err)
	for range 3 {
		resp, err := step(t.Context(), []byte(said))
		require.NoError(t, err)
		if !resp.GetMore() {
			if len(resp.GetData()) > 0 {
				_, _ = c.Step(string(resp.GetData()))
			}
			return resp, c
		}
		said, err = c.Step(string(resp.GetData()))
		require.NoError(t, err)
	}
	t.Fatal("the conversation does not end")
	return nil, nil
}

func at(clientID string) *pluginv1.Connection {
	return &pluginv1.Connection{ClientId: clientID, MqttVersion: 5}
}

func TestAConversationOfSCRAMAdmitsWhoKnowsThePassword(t *testing.T) {
	f := activate(t, scramUsers)
	resp, client := converse(t, f, at("c"), "user", "pencil", "")
	require.Equal(t, ok, resp.GetResult().GetReason())
	require.Equal(t, "user", resp.GetResult().GetIdentity())
	require.True(t, client.Valid(), "the server has shown that it knows the key")
	named := at("c")
	named.HasUsername, named.Username = true, "user"
	resp, _ = converse(t, f, named, "user", "pencil", "user")
	require.Equal(t, ok, resp.GetResult().GetReason())

	other := at("c")
	other.HasUsername, other.Username = true, "alice"
	for _, c := range []struct {
		conn                    *pluginv1.Connection
		user, password, authzID string
		want                    pluginv1.Reason
		detail                  string
	}{
		{at("c"), "user", "pen", "", bad, "wrong password"},
		{at("c"), "nobody", "pencil", "", bad, "unknown user"},
		{at("c"), "alice", "alice-password", "", bad, "unknown user, or one without a stored key"},
		{at("c"), "gone", "pencil", "", banned, "disabled"},
		{at("c"), "gone", "pen", "", bad, "wrong password"},
		{at("d"), "user", "pencil", "", badID, "client identifier"},
		{at("more-1"), "user", "pencil", "", ok, ""},
		{at("c"), "user", "pencil", "alice", pluginv1.Reason_REASON_NOT_AUTHORIZED, "for another"},
		{other, "user", "pencil", "", bad, "another than"},
	} {
		resp, client := converse(t, f, c.conn, c.user, c.password, c.authzID)
		require.Equal(t, c.want, resp.GetResult().GetReason(), "%+v", c)
		require.Contains(t, resp.GetResult().GetDetail(), c.detail)
		require.Equal(t, c.want == ok, client.Valid(), "%+v", c)
	}
	require.Equal(t, bad, f.login("user", "c", "pencil"), "a password needs a hash")
	require.Equal(t, ok, f.login("both", "c", "alice-password"))
}

func TestWhatIsNoConversationOfSCRAMIsRefused(t *testing.T) {
	f := activate(t, scramUsers)
	for said, detail := range map[string]string{
		"garbage":                     "no message",
		"n,,n=user":                   "no message",
		"p=tls-unique,,n=user,r=abcd": "channel binding",
		"n,,n=us=er,r=abcd":           "no message",
	} {
		step, err := f.Exchange(t.Context(), sdk.ExchangeStart{Method: methodSCRAM, Connection: at("c")})
		require.NoError(t, err)
		resp, err := step(t.Context(), []byte(said))
		require.NoError(t, err)
		require.Equal(t, bad, resp.GetResult().GetReason(), said)
		require.Contains(t, resp.GetResult().GetDetail(), detail, said)
	}
	step, err := f.Exchange(t.Context(), sdk.ExchangeStart{Method: methodSCRAM, Connection: at("c")})
	require.NoError(t, err)
	resp, err := step(t.Context(), nil)
	require.NoError(t, err)
	require.True(t, resp.GetMore(), "a client that said nothing in CONNECT is asked to begin")
	resp, err = step(t.Context(), []byte("n,,n=user,r=abcd"))
	require.NoError(t, err)
	require.True(t, resp.GetMore())
	resp, err = step(t.Context(), nil)
	require.NoError(t, err)
	require.Equal(t, bad, resp.GetResult().GetReason())
	_, err = f.Exchange(t.Context(), sdk.ExchangeStart{Method: "SCRAM-SHA-1", Connection: at("c")})
	require.Error(t, err)
}

func TestTheServersFirstMessageDoesNotTellWhichUsersThereAre(t *testing.T) {
	first := func(f *fixture, name string) (salt, iterations string) {
		step, err := f.Exchange(t.Context(), sdk.ExchangeStart{Method: methodSCRAM, Connection: at("c")})
		require.NoError(t, err)
		resp, err := step(t.Context(), []byte("n,,n="+name+",r=abcd"))
		require.NoError(t, err)
		require.True(t, resp.GetMore(), "%s: %s", name, resp.GetResult().GetDetail())
		parts := strings.Split(string(resp.GetData()), ",")
		require.Len(t, parts, 3)
		return parts[1], parts[2]
	}
	one, two := activate(t, scramUsers), activate(t, scramUsers)
	known, iterations := first(one, "user")
	for _, name := range []string{"nobody", "alice"} {
		salt, i := first(one, name)
		require.Equal(t, iterations, i)
		require.Len(t, salt, len(known))
		again, _ := first(two, name)
		require.Equal(t, salt, again, "after a restart and on another node, too")
	}
	a, _ := first(one, "nobody")
	b, _ := first(one, "somebody")
	require.NotEqual(t, a, b)
	none := activate(t, twoUsers)
	resp, _ := converse(t, none, at("c"), "alice", "alice-password", "")
	require.Equal(t, bad, resp.GetResult().GetReason())
}

func TestWhoWasAdmittedBySCRAMIsJudgedAndRevokedByItsIdentity(t *testing.T) {
	f := activate(t, scramUsers)
	ask := func(admittedBy, identity string) bool {
		resp, err := f.Authorize(t.Context(), &pluginv1.AuthorizeRequest{
			Client:  &pluginv1.Client{Connection: at("c"), AdmittedBy: admittedBy, Identity: identity},
			Actions: []*pluginv1.Action{{Kind: pluginv1.ActionKind_ACTION_KIND_PUBLISH, Topic: "state/user/x"}},
		})
		require.NoError(t, err)
		return resp.GetDecisions()[0].GetAllow()
	}
	require.True(t, ask("auth-file", "user"))
	require.False(t, ask("auth-file", "nobody"))
	require.False(t, ask("auth-jwt", "user"), "the identity is another plugin's word")

	got := make(chan *pluginv1.Revocation, 10)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = f.Revocations(ctx, func(r *pluginv1.Revocation) error { got <- r; return nil })
	}()
	f.write(t, strings.Replace(scramUsers, "4096:W22ZaJ0SNY7soEsUEjb6gQ==", "5000:W22ZaJ0SNY7soEsUEjb6gQ==", 1))
	first, second := <-got, <-got
	require.Equal(
		t,
		[2]string{"user", "user"},
		[2]string{first.GetUsername() + first.GetIdentity(), second.GetUsername() + second.GetIdentity()},
	)
	require.NotEqual(t, first.GetIdentity(), second.GetIdentity(), "once by user name, once by identity")
	require.True(t, first.GetDisconnect() && second.GetDisconnect())
	stop()
	<-done
}

func TestStoredKeysThatCannotBeUsedAreRefusedWithTheReason(t *testing.T) {
	_, err := parseSCRAM(pencil)
	require.NoError(t, err)
	for text, says := range map[string]string{
		"pencil":                               "of the form",
		aliceHash:                              "of the form",
		pencil + "=":                           "of the form",
		strings.Replace(pencil, "256", "1", 1): "of the form",
		strings.Replace(pencil, "WG5d", "", 1): "of the form",
		strings.Replace(pencil, "$4096", "$100", 1):                                        "needs 4096 to 1000000",
		strings.Replace(pencil, "$4096", "$99999999", 1):                                   "needs 4096 to 1000000",
		strings.Replace(pencil, "W22ZaJ0SNY7soEsUEjb6gQ==", "c2Fs", 1):                     "salt of 8",
		strings.Replace(pencil, "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=", "c2Fs", 1): "of the form",
	} {
		_, err := parseSCRAM(text)
		require.ErrorContains(t, err, says, text)
	}
}

func TestTheHashCommandMakesStoredKeys(t *testing.T) {
	code, out, errs := run("pencil\n", "hash", "--scram", "--iterations", "5000")
	require.Zero(t, code, errs)
	f := activate(t, "users: [{username: made, scram: \""+strings.TrimSuffix(out, "\n")+"\"}]")
	resp, _ := converse(t, f, at("c"), "made", "pencil", "")
	require.Equal(t, ok, resp.GetResult().GetReason())
	for _, args := range [][]string{{"hash", "--scram", "--iterations", "10"}, {"hash", "--scram", "--bcrypt"}} {
		code, out, errs := run("pencil", args...)
		require.Equal(t, 1, code)
		require.Empty(t, out)
		require.Equal(t, 1, strings.Count(errs, "\n"))
	}
}
