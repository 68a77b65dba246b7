package auth

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

func TestAClientIsJudgedByItsRecordAsItWouldBeItself(t *testing.T) {
	const token = "eyJhbGciOiJIUzI1NiJ9.e30.c2ln"
	req := Request{ClientID: "c", Username: token, HasUsername: true, Password: []byte("secret"), HasPassword: true, Version: 5, Listener: "tls"}
	resp := &pluginv1.AuthenticateResponse{Identity: "ops", Attributes: map[string]string{"rules": "[]"}, ExpiresAtMs: 1}
	p := newPrincipal(req, resp, "auth-jwt")
	b := p.Record()
	require.NotContains(t, string(b), token)
	require.NotContains(t, string(b), "secret")
	again, err := Recorded(b)
	require.NoError(t, err)
	require.Equal(t, "c ops auth-jwt", again.ClientID()+" "+again.Identity()+" "+again.AdmittedBy())
	require.Equal(t, p.Attributes(), again.Attributes())
	require.True(t, again.Matches(Revocation{ClientID: "c", Identity: "ops"}))
	require.Equal(t, p.buckets[byIdentity], again.buckets[byIdentity], "a revocation drops what is decided about it")
	require.Equal(t, token, p.Username(), "the client itself is as before")
	require.True(t, p.expired())
	require.False(t, p.Lasting().expired())
	require.False(t, again.expired())
	require.True(t, time.UnixMilli(1).Equal(p.ExpiresAt()))
}

func TestAnonymousClientsHaveNoRecordAndNoName(t *testing.T) {
	p := newPrincipal(Request{ClientID: "c", Username: "u"}, nil, "")
	require.Empty(t, p.Record())
	require.Empty(t, p.Name())
	require.Empty(t, (*Principal)(nil).Record())
	none, err := Recorded(nil)
	require.NoError(t, err)
	require.Nil(t, none)
	require.Nil(t, none.Lasting())
	_, err = Recorded([]byte{0xFF})
	require.ErrorContains(t, err, "cannot be read")
}

func TestAnIdentitysNameIsShortAlwaysTheSameAndNoSecret(t *testing.T) {
	name := func(identity string) string {
		return newPrincipal(Request{ClientID: "c"}, &pluginv1.AuthenticateResponse{Identity: identity}, "p").Name()
	}
	require.Equal(t, "ops", name("ops"))
	long := strings.Repeat("x", 300)
	require.Equal(t, name(long), name(long))
	require.NotEqual(t, name(long), name(long+"y"))
	for _, id := range []string{long, "eyJhbGciOiJIUzI1NiJ9.e30.c2ln"} {
		require.Len(t, name(id), len("sha256:")+64)
		require.NotEqual(t, name(id), name(name(id)), "nobody has the name of another by choosing it as identity")
	}
}
