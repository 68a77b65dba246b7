package pluginhost

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// Spec says which plugin to run, and how. Host.Spec makes one from the host's options.
type Spec struct {
	// Name is the plugin's name in the configuration, and the name of its executable in Dir.
	Name string
	Kind pluginv1.Kind
	// Config is the plugin's configuration block; nil is an empty one.
	Config map[string]any
	// Dir is the directory of the executable; empty: Options.Dir.
	Dir string
	// Checksum pins the executable as "sha256:HEX"; empty: not pinned.
	Checksum string
	// Path is for plugin developers: the executable, at any place. Its name, place, owner, mode and checksum are not checked, and the
	// plugin may describe itself under any name. Until it has, Name is used.
	Path string
	// Attach is also for developers: the address of a process that somebody else started, for instance under a debugger: "unix:/PATH",
	// "HOST:PORT" on loopback, or the handshake line that the process printed. The host neither starts nor ends the process, and waits if
	// it hangs, because it may be stopped at a breakpoint.
	Attach string
	// StartTimeout bounds the time until the handshake; 0: DefaultStartTimeout.
	StartTimeout time.Duration
	// MemoryLimit is the memory, in bytes, above which the process is restarted; 0: no limit. See Options.
	MemoryLimit uint64
}

// Spec returns the Spec that Start uses for a name, a kind and a configuration block: the plugin of that name in Options.Dir, pinned if
// Options.Checksums has it.
func (h *Host) Spec(name string, kind pluginv1.Kind, config map[string]any) Spec {
	return Spec{Name: name, Kind: kind, Config: config, Dir: h.opts.Dir, Checksum: h.opts.Checksums[name],
		StartTimeout: h.opts.StartTimeout, MemoryLimit: h.opts.MemoryLimit}
}

// Modes of a plugin under development.
const (
	ModeDevelopment = "development"
	ModeAttached    = "attached"
)

// Mode returns ModeDevelopment, ModeAttached or, in production, "".
func (s Spec) Mode() string {
	switch {
	case s.Attach != "":
		return ModeAttached
	case s.Path != "":
		return ModeDevelopment
	}
	return ""
}

// spec is a Spec with the encoded configuration block and the logger of its plugin.
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
