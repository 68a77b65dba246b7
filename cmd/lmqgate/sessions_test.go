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

func TestListsSayWhichNodesDidNotAnswer(t *testing.T) {
	s := newAdminServer(t, http.StatusOK, `{"clients":[{"client_id":"c","connected":true,"node":"n"}],"unanswered":[{"node":"other","error":"it is away"}]}`)
	r := runCommand(t, "", "clients", "list", "--admin", s.URL)
	require.Zero(t, r.status)
	require.Contains(t, r.out, "connected")
	require.Equal(t, "lmqgate: node other did not answer, so what it knows is missing: it is away\n", r.err)
	s.reply = `{"sessions":[{"client_id":"c","expiry_seconds":-1}]}`
	r = runCommand(t, "", "sessions", "list", "--admin", s.URL)
	require.Contains(t, r.out, "sleeping")
	require.Contains(t, r.out, "never")
	require.Empty(t, r.err)
}

func TestRebalanceSaysWhatEachNodeDoes(t *testing.T) {
	s := newAdminServer(t, http.StatusAccepted, `{"moves":[{"node":"n","connections":90,"keep":45,"moves":45}],"unanswered":[{"node":"other","error":"it is away"}]}`)
	r := runCommand(t, "", "rebalance", "--admin", s.URL, "--node", "n", "--keep", "45", "--rate", "9")
	require.JSONEq(t, `{"node":"n","keep":45,"rate":9}`, s.body)
	require.Contains(t, r.out, "SENDS OFF")
	require.Contains(t, r.err, "node other is left as it is")
	require.Equal(t, 2, runCommand(t, "", "rebalance", "--admin", s.URL, "--rate", "0").status)
	require.Equal(t, 2, runCommand(t, "", "rebalance", "--admin", s.URL, "--keep", "-2").status)
	s.status, s.reply = http.StatusConflict, `{"error":"there is no other node that is ready to take clients"}`
	requireOneErrorLine(t, runCommand(t, "", "rebalance", "--admin", s.URL))
}
