package admin

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestProfilesAreServedOnlyWhereTheyAreAskedForAndOnlyWithTheToken(t *testing.T) {
	token := map[string]string{"Authorization": "Bearer secret"}
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap?debug=1", "/debug/pprof/profile?seconds=1", "/debug/pprof/cmdline"} {
		status, _ := do(t, Options{Token: "secret"}, "GET", path, "", "", token)
		require.Equal(t, http.StatusNotFound, status, path)
		status, body := do(t, Options{Token: "secret", Pprof: true}, "GET", path, "", "", nil)
		require.Equal(t, http.StatusUnauthorized, status, path)
		require.Contains(t, body, "admin token")
	}
	status, body := do(t, Options{Token: "secret", Pprof: true}, "GET", "/debug/pprof/heap?debug=1", "", "", token)
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, body, "heap profile")
	status, _ = do(t, Options{Token: "secret", Pprof: true}, "GET", "/debug/pprof/cmdline", "", "", token)
	require.Equal(t, http.StatusNotFound, status, "arguments may hold secrets")
}
