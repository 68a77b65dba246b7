package pluginhost

import (
	"context"
	"fmt"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// Checked is the result of Check.
type Checked struct {
	Name string
	Kind string // "auth" or "meta"
	Path string
	// Version is the version of the plugin's code; Contract is the version of plugins/proto that it speaks.
	Version  string
	Contract int
	Checksum string // "sha256:HEX" of the executable
	Pinned   bool
	Secure   bool // whether it speaks TLS
	Describe *pluginv1.DescribeResponse
}

// Check runs the start of a plugin up to Configure and then ends the process: it verifies the file, starts the process, and calls Describe
// and Configure. It does not activate the plugin, so the plugin opens nothing that another process holds, and a running gateway is not
// disturbed. An error is one line that names the plugin and the remedy; Start says how soon it is returned.
func (h *Host) Check(ctx context.Context, what Spec) (Checked, error) {
	s, err := h.spec(what)
	if err != nil {
		return Checked{}, err
	}
	if !h.enter() {
		return Checked{}, ErrClosed
	}
	defer h.starts.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(h.ctx, cancel)()
	inst, err := h.prepare(ctx, s)
	if err != nil {
		return Checked{}, fmt.Errorf("plugin %q: %w", s.Name, err)
	}
	inst.end(h.opts.timing.exit)
	return Checked{Name: s.Name, Kind: kindOf(s.Kind), Path: inst.file.path, Version: inst.describe.GetVersion(), Contract: inst.version,
		Checksum: inst.file.sum, Pinned: s.Checksum != "", Secure: inst.secure, Describe: inst.describe}, nil
}
