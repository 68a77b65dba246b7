package e2e

import (
	"crypto/tls"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// ask sends one request to the admin API, modified by change.
func (g *Gateway) ask(path string, change func(*http.Request)) (int, string) {
	g.t.Helper()
	request, err := http.NewRequest(http.MethodGet, "http://"+g.Admin+path, nil)
	require.NoError(g.t, err)
	change(request)
	resp, err := http.DefaultClient.Do(request)
	require.NoError(g.t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(g.t, err)
	return resp.StatusCode, string(body)
}

func TestAnAdminTokenIsMadeAtTheFirstStartAndNobodyIsAnAdministratorWithoutIt(t *testing.T) {
	g := start(t, localProfile)
	file := filepath.Join(g.dir, "data", "admin-token")
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	token := strings.TrimSpace(string(text))
	require.NotContains(t, g.Log(), token)

	bare := func(*http.Request) {}
	with := func(token string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
	}
	code, body := g.ask("/api/v1/topics", bare)
	require.Equal(t, http.StatusUnauthorized, code)
	require.Contains(t, body, "admin-token in node.data_dir")
	code, _ = g.ask("/api/v1/topics", with("wrong"))
	require.Equal(t, http.StatusUnauthorized, code)
	code, _ = g.ask("/api/v1/topics", with(token))
	require.Equal(t, http.StatusOK, code)

	// Commands of the same user find the token only through the configuration.
	g.CLI("topic", "create", "mine", "--config", g.config(), "--admin", "http://"+g.Admin).OK()
	r := g.CLI("topic", "list", "--admin", "http://"+g.Admin)
	require.Equal(t, 1, r.code)
	require.Contains(t, r.stderr, "refuses the token: give --token, or --config")
	require.JSONEq(t, `[{"name": "mine"}]`, onlyNames(g.CLI("topic", "list", "-o", "json", "--config", g.config(), "--admin", "http://"+g.Admin).OK()))

	// Probes and scrapers need no token, but a web page with a host name of its own gets nothing.
	foreign := func(r *http.Request) { r.Host = "attacker.example:8080" }
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		code, _ = g.ask(path, bare)
		require.Equal(t, http.StatusOK, code, path)
		code, _ = g.ask(path, func(r *http.Request) { r.Host = "localhost" })
		require.Equal(t, http.StatusOK, code, path)
		code, _ = g.ask(path, foreign)
		require.Equal(t, http.StatusForbidden, code, path)
		code, _ = g.ask(path, func(r *http.Request) { r.Header.Set("Origin", "http://attacker.example") })
		require.Equal(t, http.StatusForbidden, code, path)
		code, _ = g.ask(path, func(r *http.Request) { foreign(r); with(token)(r) })
		require.Equal(t, http.StatusOK, code, path)
	}

	g.Restart()
	again, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, text, again)
}

// onlyNames returns only the names of a JSON list of topics.
func onlyNames(text string) string {
	var out []string
	for line := range strings.Lines(text) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), `"name": `); ok {
			out = append(out, `{"name": `+strings.TrimSuffix(name, ",")+`}`)
		}
	}
	return "[" + strings.Join(out, ",") + "]"
}

func TestTheAdminSideSpeaksTLSAndMetricsCanWantTheToken(t *testing.T) {
	certFile, keyFile := certificate(t, t.TempDir(), "admin.example")
	g := start(t, localProfile, settings{"admin": settings{"address": "127.0.0.1:0", "cert_file": certFile, "key_file": keyFile, "metrics_token": true}})
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	get := func(path string) int {
		resp, err := client.Get("https://" + g.Admin + path)
		require.NoError(t, err)
		defer resp.Body.Close()
		return resp.StatusCode
	}
	require.Equal(t, http.StatusOK, get("/readyz"))
	require.Equal(t, http.StatusUnauthorized, get("/metrics"))
	g.CLI("topic", "create", "secure", "--config", g.config(), "--admin", "https://"+g.Admin).OK()
	r := g.CLI("topic", "list", "--config", g.config(), "--admin", "http://"+g.Admin)
	require.Equal(t, 1, r.code)
	require.Contains(t, r.stderr, "speaks TLS: give --admin https://"+g.Admin)
}
