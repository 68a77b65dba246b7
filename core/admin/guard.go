package admin

import (
	"crypto/subtle"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// guard lets requests with the token through, whatever address they are for. Nothing under /api/ is answered without it.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case !s.authorized(r):
			w.Header().Set("WWW-Authenticate", "Bearer")
			answer(w, http.StatusUnauthorized, map[string]string{"error": "the request needs the admin token, as Authorization: Bearer TOKEN; it is admin.token, or in the file admin-token in node.data_dir"})
		case foreignOrigin(r):
			answer(w, http.StatusForbidden, map[string]string{"error": "requests from other origins are refused"})
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// open lets requests without a token through as well. Where the address is on loopback, a request without the token must be for a
// name of loopback: else a page in a browser on this machine could read the answer, by a name of its own that it points here.
func (s *Server) open(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case s.loopback() && !local(r.Host) && !s.authorized(r):
			answer(w, http.StatusForbidden, map[string]string{"error": "without the admin token, only requests for a loopback host name are answered"})
		case foreignOrigin(r):
			answer(w, http.StatusForbidden, map[string]string{"error": "requests from other origins are refused"})
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// authorized says whether a request carries the token.
func (s *Server) authorized(r *http.Request) bool {
	given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return ok && s.o.Token != "" && subtle.ConstantTimeCompare([]byte(given), []byte(s.o.Token)) == 1
}

// loopback says whether only this machine can reach the server.
func (s *Server) loopback() bool {
	if s.ln == nil {
		return true
	}
	a, ok := s.ln.Addr().(*net.TCPAddr)
	return ok && a.IP.IsLoopback()
}

// foreignOrigin says whether a browser sends a request on behalf of another site's page.
func foreignOrigin(r *http.Request) bool {
	o := r.Header.Get("Origin")
	if o == "" {
		return false
	}
	u, err := url.Parse(o)
	return err != nil || u.Host != r.Host
}

// local reports whether a Host header names the loopback.
func local(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
