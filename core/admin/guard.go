package admin

import (
	"context"
	"crypto/subtle"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// Role says what a token permits.
type Role uint8

// The roles. A viewer may read; an administrator may do everything.
const (
	nobody Role = iota
	Viewer
	Administrator
)

// String returns the name of the role in the configuration; empty for none.
func (r Role) String() string {
	switch r {
	case Viewer:
		return "viewer"
	case Administrator:
		return "admin"
	}
	return ""
}

// roleKey is the key of a request's role in its context.
type roleKey struct{}

// roleOf returns the role of the token of a request that guard has admitted.
func roleOf(ctx context.Context) Role {
	role, _ := ctx.Value(roleKey{}).(Role)
	return role
}

// Token is an additional token besides Options.Token.
type Token struct {
	// Name says whose token it is, for the log.
	Name  string
	Role  Role
	Value string
}

// guard admits only requests with a token that permits them, on every address. Reading is for every role; everything else is for
// administrators.
func (s *Server) guard(next http.Handler) http.Handler { return s.guardFor(Viewer, next) }

// guardFor is guard with reader as the lowest role that may read.
func (s *Server) guardFor(reader Role, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		role, name := s.role(r)
		reads := r.Method == http.MethodGet || r.Method == http.MethodHead
		switch {
		case role == nobody:
			w.Header().Set("WWW-Authenticate", "Bearer")
			answer(w, http.StatusUnauthorized, map[string]string{"error": "the request needs the admin token, as Authorization: Bearer TOKEN; it is admin.token, or in the file admin-token in node.data_dir"})
		case foreignOrigin(r):
			answer(w, http.StatusForbidden, map[string]string{"error": "requests from other origins are refused"})
		case role < reader || !reads && role < Administrator:
			s.log().Warn("admin request refused: its token is a viewer's", "token", name, "remote", r.RemoteAddr,
				"method", r.Method, "path", r.URL.Path)
			answer(w, http.StatusForbidden, map[string]string{"error": "the token is one of a viewer, who may only read; use one with the role admin"})
		default:
			if !reads {
				// "from" instead of "remote": every change is logged, however many there are.
				s.log().Info("admin request", "token", name, "from", r.RemoteAddr, "method", r.Method, "path", r.URL.RequestURI())
			}
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), roleKey{}, role)))
		}
	})
}

// open also admits requests without a token. On a loopback address such a request must have a host name of loopback: otherwise a page in a
// browser on this machine could read the answer through a name of its own that it points here.
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

// authorized reports whether a request carries a valid token.
func (s *Server) authorized(r *http.Request) bool {
	role, _ := s.role(r)
	return role != nobody
}

// role returns the role of a request's token, and the name of the token. It always compares every token, so that the time reveals nothing.
func (s *Server) role(r *http.Request) (role Role, name string) {
	given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return nobody, ""
	}
	same := func(token string) bool {
		return token != "" && subtle.ConstantTimeCompare([]byte(given), []byte(token)) == 1
	}
	if same(s.o.Token) {
		role, name = Administrator, "admin.token"
	}
	for _, t := range s.o.Tokens {
		if same(t.Value) {
			role, name = t.Role, t.Name
		}
	}
	return role, name
}

// log returns the logger for requests.
func (s *Server) log() *slog.Logger {
	if s.o.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return s.o.Log
}

// loopback reports whether only this machine can reach the server.
func (s *Server) loopback() bool {
	if s.ln == nil {
		return true
	}
	a, ok := s.ln.Addr().(*net.TCPAddr)
	return ok && a.IP.IsLoopback()
}

// foreignOrigin reports whether a browser sends a request on behalf of another site's page.
func foreignOrigin(r *http.Request) bool {
	o := r.Header.Get("Origin")
	if o == "" {
		return false
	}
	u, err := url.Parse(o)
	return err != nil || u.Host != r.Host
}

// local reports whether a Host header names loopback.
func local(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
