package main

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSessionsEndCallsTheAdminAPI(t *testing.T) {
	s := newAdminServer(t, http.StatusNoContent, "")
	r := runCommand(t, "", "sessions", "end", "a b/c", "--admin", s.URL, "--token", "tok")
	require.Equal(t, result{}, r)
	require.Equal(t, "DELETE /api/v1/sessions/a%20b%2Fc Bearer tok", s.method+" "+s.path+" "+s.authorization)

	s.status, s.reply = http.StatusNotFound, `{"error":"not found: client \"c\" has no session"}`
	r = runCommand(t, "", "sessions", "end", "c", "--admin", s.URL)
	requireOneErrorLine(t, r)
	require.Contains(t, r.err, `client "c" has no session`)
}
