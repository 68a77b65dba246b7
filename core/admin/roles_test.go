package admin

import (
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/internal/testlog"
)

func TestAViewersTokenReadsAndChangesNothing(t *testing.T) {
	tokens := []Token{{"grafana", Viewer, "a-viewers-token"}, {"ann", Administrator, "anns-token"}}
	cases := []struct {
		token, call string
		status      int
		asked       string
	}{
		{"a-viewers-token", "GET /api/v1/topics", 200, ""},
		{"a-viewers-token", "GET /metrics", 200, ""},
		{"a-viewers-token", "HEAD /api/v1/topics", 200, ""},
		{"a-viewers-token", "DELETE /api/v1/topics/T", 403, ""},
		{"a-viewers-token", "POST /api/v1/clients/c/kick", 403, ""},
		{"a-viewers-token", "DELETE /api/v1/sessions/c", 403, ""},
		{"a-viewers-token", "POST /api/v1/plugins/reload", 403, ""},
		{"a-viewers-token", "PUT /api/v1/topics", 403, ""},
		{"a-viewers-token", "GET /debug/pprof/", 403, ""},
		{"anns-token", "DELETE /api/v1/topics/T", 204, `delete "T"`},
		{"anns-token", "GET /debug/pprof/", 200, ""},
		{"secret", "DELETE /api/v1/topics/T", 204, `delete "T"`},
		{"a-viewers-token2", "GET /api/v1/topics", 401, ""},
		{"grafana", "GET /api/v1/topics", 401, ""},
		{"", "GET /api/v1/topics", 401, ""},
	}
	for _, tc := range cases {
		t.Run(tc.token+" "+tc.call, func(t *testing.T) {
			b, log := &backend{}, &testlog.Buffer{}
			o := Options{Token: "secret", Tokens: tokens, MetricsToken: true, Pprof: true, Backend: b, Log: slog.New(slog.NewTextHandler(log, nil))}
			method, path, _ := strings.Cut(tc.call, " ")
			status, body := do(t, o, method, path, "", "", map[string]string{"Authorization": "Bearer " + tc.token})
			require.Equal(t, tc.status, status, body)
			require.Equal(t, tc.asked, strings.Join(b.asked, ";"))
			switch status {
			case http.StatusForbidden:
				require.Contains(t, body, "role admin")
				require.Contains(t, log.String(), "token=grafana")
			case http.StatusNoContent:
				require.Regexp(t, `admin request" token=(ann|admin\.token) .*method=DELETE path=/api/v1/topics/T`, log.String())
			}
			require.NotContains(t, log.String(), "-token ", "no token is in the log")
		})
	}
}

func TestTheRoleOfATokenCountsForItsTraces(t *testing.T) {
	for token, viewer := range map[string]bool{"a-viewers-token": true, "secret": false} {
		b := &backend{}
		o := Options{Token: "secret", Tokens: []Token{{"grafana", Viewer, "a-viewers-token"}}, Backend: b}
		status, body := do(t, o, "GET", "/api/v1/trace?client_id=c", "", "", map[string]string{"Authorization": "Bearer " + token})
		require.Equal(t, http.StatusOK, status, body)
		require.Len(t, b.asked, 1)
		require.Contains(t, b.asked[0], fmt.Sprintf("viewer %t", viewer))
	}
}

func TestWhoAsksIsToldWhatTheTokenPermits(t *testing.T) {
	for token, role := range map[string]string{"a-viewers-token": "viewer", "anns-token": "admin", "secret": "admin"} {
		o := Options{Token: "secret", Tokens: []Token{{"grafana", Viewer, "a-viewers-token"}, {"ann", Administrator, "anns-token"}}, Backend: &backend{}}
		status, body := do(t, o, "GET", "/api/v1/info", "", "", map[string]string{"Authorization": "Bearer " + token})
		require.Equal(t, http.StatusOK, status)
		require.Contains(t, body, `"role":"`+role+`"`)
	}
}

func TestATokenOfNobodyOpensNothing(t *testing.T) {
	status, _ := do(t, Options{Tokens: []Token{{"empty", Administrator, ""}, {"odd", nobody, "t"}}}, "GET", "/api/v1/topics", "", "", map[string]string{"Authorization": "Bearer "})
	require.Equal(t, http.StatusUnauthorized, status)
	status, _ = do(t, Options{Tokens: []Token{{"odd", nobody, "t"}}}, "GET", "/api/v1/topics", "", "", map[string]string{"Authorization": "Bearer t"})
	require.Equal(t, http.StatusUnauthorized, status)
}
