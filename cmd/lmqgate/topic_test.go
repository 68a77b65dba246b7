package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

// adminServer answers like the admin API and remembers the last request.
type adminServer struct {
	*httptest.Server
	method, path, body, authorization string
	status                            int
	reply                             string
}

func newAdminServer(t *testing.T, status int, reply string) *adminServer {
	t.Helper()
	s := &adminServer{status: status, reply: reply}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.method, s.path, s.body, s.authorization = r.Method, r.URL.EscapedPath(), string(body), r.Header.Get("Authorization")
		w.WriteHeader(s.status)
		_, _ = io.WriteString(w, s.reply)
	}))
	t.Cleanup(s.Close)
	return s
}

func TestTopicCommandsCallTheAdminAPI(t *testing.T) {
	s := newAdminServer(t, http.StatusOK, `{"topics":[{"name":"T1","queues":4},{"name":"T2"}]}`)
	r := runCommand(t, "", "topic", "list", "--admin", s.URL+"/", "--token", "tok")
	require.Equal(t, result{0, "T1\nT2\n", ""}, r)
	require.Equal(t, "GET /api/v1/topics Bearer tok", s.method+" "+s.path+" "+s.authorization)
	require.Equal(t, r, runCommand(t, "", "topic", "--admin", s.URL), "a command lists by default")

	r = runCommand(t, "", "topic", "create", "T3", "--queues", "8", "--admin", s.URL)
	require.Equal(t, result{}, r)
	require.Equal(t, http.MethodPost, s.method)
	require.JSONEq(t, `{"name":"T3","queues":8}`, s.body)
	require.Empty(t, s.authorization)

	r = runCommand(t, "", "topic", "delete", "a b/c", "--admin", s.URL)
	require.Equal(t, result{}, r)
	require.Equal(t, "DELETE /api/v1/topics/a%20b%2Fc", s.method+" "+s.path)
}

func TestTheAddressAndTokenComeFromTheConfiguration(t *testing.T) {
	s := newAdminServer(t, http.StatusOK, `{"topics":[]}`)
	conf := writeFile(t, "c.yaml", "admin: {address: \""+s.Listener.Addr().String()+"\", token: a-secret-of-16-letters}\n")
	r := runCommand(t, "", "topic", "list", "--config", conf)
	require.Equal(t, result{}, r)
	require.Equal(t, "Bearer a-secret-of-16-letters", s.authorization)
}

func TestWhatTheGatewayRefusesIsOneLine(t *testing.T) {
	s := newAdminServer(t, http.StatusConflict, `{"error":"topic \"T\" exists\nalready"}`)
	r := runCommand(t, "", "topic", "create", "T", "--admin", s.URL)
	requireOneErrorLine(t, r)
	require.Equal(t, "lmqgate: create topic \"T\": topic \"T\" exists already\n", r.err)

	s.status, s.reply = http.StatusUnauthorized, ""
	r = runCommand(t, "", "topic", "list", "--admin", s.URL)
	requireOneErrorLine(t, r)
	require.Contains(t, r.err, "refuses the token")

	s.status, s.reply = http.StatusOK, "<html>"
	r = runCommand(t, "", "topic", "list", "--admin", s.URL)
	requireOneErrorLine(t, r)
	require.Contains(t, r.err, "is it an lmqgate admin address?")

	s.Close()
	r = runCommand(t, "", "topic", "list", "--admin", s.URL)
	requireOneErrorLine(t, r)
	require.Contains(t, r.err, "no gateway answers at "+s.URL)

	conf := writeFile(t, "c.yaml", "admin: {address: \"127.0.0.1:0\"}\n")
	r = runCommand(t, "", "topic", "list", "--config", conf)
	requireOneErrorLine(t, r)
	require.Contains(t, r.err, "port 0")
}

func TestPluginListAndInfoShowWhatRuns(t *testing.T) {
	s := newAdminServer(t, http.StatusOK, `{"plugins":[{"name":"auth-hmac","kind":"auth","version":"0.1.0","contract":1,"secure":true,"path":"/p/auth-hmac",
		"checksum":"sha256:ab","pid":17,"state":"running","uptime_seconds":61.5,"restarts":2,"calls":42,"errors":3,"last_error":""}]}`)
	r := runCommand(t, "", "plugin", "list", "--admin", s.URL)
	require.Zero(t, r.status, r.err)
	require.Regexp(t, `(?m)^auth-hmac +auth +0\.1\.0 +running +17 +1m1s +2 +42 +3$`, r.out)

	r = runCommand(t, "", "plugin", "info", "auth-hmac", "--admin", s.URL)
	require.Zero(t, r.status, r.err)
	require.Regexp(t, `(?m)^checksum: +sha256:ab$`, r.out)

	r = runCommand(t, "", "plugin", "info", "nope", "--admin", s.URL)
	requireOneErrorLine(t, r)
	require.Contains(t, r.err, `the gateway runs no plugin "nope"`)
}
