package pluginhost

import (
	"context"
	"fmt"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// Checked is what Check found out about a plugin.
type Checked struct {
	Name string
	Kind string // "auth" or "meta"
	Path string
	// Version is that of the plugin's code, Contract that of plugins/proto that it speaks.
	Version  string
	Contract int
	Checksum string // "sha256:HEX" of the executable
	Pinned   bool
	Secure   bool // whether it speaks TLS
	Describe *pluginv1.DescribeResponse
}

// Check goes the way of a start up to Configure and ends the process again: its file is verified, it is started, describes
// itself and takes its configuration. It is not activated, so it opens nothing that another process holds, and a gateway that runs
// is not disturbed. An error is one line that names the plugin and what to do; see Start for when it comes.
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
