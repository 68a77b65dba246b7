package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Reloaded says what a reload of the plugins did.
type Reloaded struct {
	// Error is why not all of it was done; empty where it was.
	Error   string           `json:"error,omitempty"`
	Plugins []ReloadedPlugin `json:"plugins"`
	// NotApplied are the keys that have changed in the configuration and that need a restart of the gateway.
	NotApplied []string `json:"not_applied,omitempty"`
}

// Results of a reload for a plugin.
const (
	Swapped   = "swapped"
	Unchanged = "unchanged"
)

// ReloadedPlugin says what a reload did with one plugin.
type ReloadedPlugin struct {
	Kind string `json:"kind"` // "auth" or "meta"
	// From is the name of the plugin before, Name of the one that the configuration wants.
	From string `json:"from"`
	Name string `json:"name"`
	// Result is Swapped or Unchanged; with an Error, which says why, the plugin before serves on.
	Result string `json:"result"`
	Error  string `json:"error,omitempty"`
	// Of the plugin that was swapped in.
	Version  string `json:"version,omitempty"`
	Checksum string `json:"checksum,omitempty"`
	PID      int    `json:"pid,omitempty"`
}

// reloadWrite bounds a reload and its answer, which takes longer than others: plugins may take their plugins.start_timeout, which is
// ten minutes at most.
const reloadWrite = 25 * time.Minute

// reload serves POST /api/v1/plugins/reload. A reload that has begun goes on when the client has left.
func (s *Server) reload(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Name  string `json:"name"`
		Force bool   `json:"force"`
	}
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10))
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil && !errors.Is(err, io.EOF) {
		fail(w, fmt.Errorf("%w: the body must be JSON like {\"name\": \"auth-hmac\", \"force\": false}: %w", ErrInvalid, err))
		return
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(reloadWrite)) // else the usual one
	out, err := s.o.Backend.ReloadPlugins(context.WithoutCancel(r.Context()), in.Name, in.Force)
	if err != nil {
		out.Error = err.Error()
		answer(w, statusOf(err), out)
		return
	}
	answer(w, http.StatusOK, out)
}
