package pluginhost

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// Spec says which plugin is to run, and how. Host.Spec makes one from the host's options.
type Spec struct {
	// Name is the plugin's name in the configuration, and that of its executable in Dir.
	Name string
	Kind pluginv1.Kind
	// Config is the plugin's configuration block; nil is an empty one.
	Config map[string]any
	// Dir is the directory of the executable; empty: Options.Dir.
	Dir string
	// Checksum pins the executable as "sha256:HEX"; empty: not pinned.
	Checksum string
	// Path, for who develops a plugin, is the executable itself, wherever it is: neither its name nor its place, owner, mode or
	// checksum is looked at, and the plugin is what it says it is. Name is used until it has said so.
	Path string
	// Attach, likewise, is where a process listens that somebody else started, with a debugger for instance: "unix:/PATH",
	// "HOST:PORT" on loopback, or the handshake line that the process has printed. It is neither started nor ended, and waited for
	// when it hangs, because it may stand at a breakpoint.
	Attach string
	// StartTimeout is how long the process may take until it says where it listens; 0: DefaultStartTimeout.
	StartTimeout time.Duration
	// MemoryLimit, in bytes, is what the process may take before it is started again; 0: no limit. See Options.
	MemoryLimit uint64
}

// Spec is what Start makes of a name, a kind and a configuration block: the plugin of that name in Options.Dir, pinned where
// Options.Checksums pins it.
func (h *Host) Spec(name string, kind pluginv1.Kind, config map[string]any) Spec {
	return Spec{Name: name, Kind: kind, Config: config, Dir: h.opts.Dir, Checksum: h.opts.Checksums[name],
		StartTimeout: h.opts.StartTimeout, MemoryLimit: h.opts.MemoryLimit}
}

// Modes of a plugin that is not run as an operator's.
const (
	ModeDevelopment = "development"
	ModeAttached    = "attached"
)

// Mode is ModeDevelopment, ModeAttached or, as it should be, empty.
func (s Spec) Mode() string {
	switch {
	case s.Attach != "":
		return ModeAttached
	case s.Path != "":
		return ModeDevelopment
	}
	return ""
}

// spec is a Spec as it is used: with the block as it is sent, and the log of its plugin.
type spec struct {
	Spec
	block []byte // JSON
	log   *slog.Logger
}

func (h *Host) spec(s Spec) (spec, error) {
	if s.Dir == "" {
		s.Dir = h.opts.Dir
	}
	if s.Mode() != "" {
		s.Checksum = ""
	}
	config := s.Config
	if config == nil {
		config = map[string]any{}
	}
	block, err := json.Marshal(config)
	if err != nil {
		return spec{}, fmt.Errorf("plugin %q: its configuration cannot be written as JSON: %w", s.Name, err)
	}
	return spec{Spec: s, block: block, log: h.opts.Log.With("plugin", s.Name)}, nil
}

func kindOf(k pluginv1.Kind) string {
	switch k {
	case pluginv1.Kind_KIND_AUTH:
		return "auth"
	case pluginv1.Kind_KIND_META:
		return "meta"
	}
	return "unknown"
}
