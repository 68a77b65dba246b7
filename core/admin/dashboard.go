package admin

import (
	"embed"
	"io/fs"
	"net/http"
)

//go:embed dashboard
var dashboardFiles embed.FS

// dashboardPolicy is the Content-Security-Policy of the dashboard: it may load its parts from its own address, connect to that address and
// to WebSocket listeners, and nothing else. No script or style is inline.
const dashboardPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self' ws: wss:; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// dashboard serves the dashboard at / and its files below /dashboard/. The files contain no data of the node. The page asks for the token,
// keeps it for one tab, and sends it in a header, so that no other page can make a browser send it (CSRF).
func (s *Server) dashboard(mux *http.ServeMux) {
	files := http.FileServerFS(dashboardFiles)
	index, _ := fs.ReadFile(dashboardFiles, "dashboard/index.html") // embedded, so it always exists
	headers := func(w http.ResponseWriter) {
		h := w.Header()
		h.Set("Content-Security-Policy", dashboardPolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-cache")
	}
	mux.Handle("GET /{$}", s.open(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		headers(w)
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(index)
	})))
	mux.Handle("GET /dashboard/", s.open(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		headers(w)
		files.ServeHTTP(w, r)
	})))
}
