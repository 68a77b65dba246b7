package pluginhost

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
	"github.com/lmqgate/lmqgate/plugins/sdk/handshake"
)

// StartupTimeout bounds the start of a plugin after its handshake, so that the error of a plugin that does not answer is returned within
// ten seconds. DefaultStartTimeout bounds the time until the handshake.
const (
	StartupTimeout      = 9 * time.Second
	DefaultStartTimeout = time.Minute
)

// Options configure New.
type Options struct {
	// Dir is the directory of the executables; their names are the plugins' names.
	Dir string
	// Checksums pins executables: plugin name to "sha256:HEX". Plugins without an entry are not pinned.
	Checksums map[string]string
	// NodeID, DataDir and ConfigDir are passed to each plugin's Configure. The paths are made absolute.
	NodeID, DataDir, ConfigDir string
	// MemoryLimit is the default of Spec.MemoryLimit, in bytes; 0: no limit. It is checked every second, on Linux. File-backed pages and
	// child processes of the plugin do not count. Plugins in Go are told to stay below it (GOMEMLIMIT).
	MemoryLimit uint64
	// StartTimeout is the default of Spec.StartTimeout; 0: DefaultStartTimeout.
	StartTimeout time.Duration
	// Log receives the log lines of the host and the plugins; nil discards them.
	Log *slog.Logger
	// Registerer registers the metrics; nil leaves them unregistered.
	Registerer prometheus.Registerer

	// timing and versions are changed only by tests of this package.
	timing timing
	// versions are the contract versions that are offered to plugins, newest first; nil for handshake.Versions().
	versions []int
}

// Host owns the plugins of one gateway.
type Host struct {
	opts    Options
	metrics *metrics
	sockets *socketDir
	spawner *spawner
	// ctx is cancelled by Close; each Plugin's supervisor ends with it.
	ctx    context.Context
	cancel context.CancelFunc

	// mu guards the fields below.
	mu     sync.Mutex
	closed bool
	// starts counts the starts and swaps in progress; it grows only while closed is false.
	starts  sync.WaitGroup
	plugins []*Plugin
	// candidates holds prepared processes that have not taken over yet.
	candidates map[*Candidate]struct{}
}

// ErrClosed is the error of a Host that was closed.
var ErrClosed = errors.New("the plugin host is closed")

// New makes a Host. It checks the options and starts no plugin.
func New(opts Options) (*Host, error) {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	opts.timing = opts.timing.orDefaults()
	if opts.versions == nil {
		opts.versions = handshake.Versions()
	}
	for _, p := range []*string{&opts.Dir, &opts.DataDir, &opts.ConfigDir} {
		abs, err := filepath.Abs(*p)
		if err != nil {
			return nil, fmt.Errorf("plugin host: %w", err)
		}
		*p = abs
	}
	for name, sum := range opts.Checksums {
		if _, err := parseChecksum(sum); err != nil {
			return nil, fmt.Errorf("plugins.checksums.%s: %w", name, err)
		}
	}
	sockets, err := newSocketDir()
	if err != nil {
		return nil, fmt.Errorf("plugin host: private directory for plugin sockets: %w; set TMPDIR to a directory that the gateway may write in (at most %d bytes long, else /tmp is used)", err, maxTempPath)
	}
	h := &Host{opts: opts, metrics: newMetrics(opts.Registerer), sockets: sockets, spawner: newSpawner(),
		candidates: make(map[*Candidate]struct{})}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	return h, nil
}

// Start starts a plugin and returns when it is ready for calls; from then on it is supervised until Close. config is the plugin's
// configuration block. An error is one line that names the plugin and the remedy. It is returned at once if the plugin exits or answers
// something wrong; StartupTimeout bounds the other cases.
func (h *Host) Start(ctx context.Context, name string, kind pluginv1.Kind, config map[string]any) (*Plugin, error) {
	return h.Run(ctx, h.Spec(name, kind, config))
}

// Run is Start for a plugin that a Spec describes.
func (h *Host) Run(ctx context.Context, what Spec) (*Plugin, error) {
	plugins, err := h.RunAll(ctx, what)
	if err != nil {
		return nil, err
	}
	return plugins[0], nil
}

// RunAll is Run for several plugins, which start at the same time. They are returned in the order of their Specs. If one fails, none runs,
// and the error is that of the first failure.
func (h *Host) RunAll(ctx context.Context, what ...Spec) ([]*Plugin, error) {
	specs := make([]spec, len(what))
	for i := range what {
		var err error
		if specs[i], err = h.spec(what[i]); err != nil {
			return nil, err
		}
	}
	if !h.enter() {
		return nil, ErrClosed
	}
	defer h.starts.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(h.ctx, cancel)()
	started := make([]*instance, len(specs))
	g, gctx := errgroup.WithContext(ctx)
	for i, s := range specs {
		g.Go(func() (err error) {
			if started[i], err = h.launch(gctx, s); err != nil {
				return fmt.Errorf("plugin %q: %w", s.Name, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		for _, inst := range started {
			if inst != nil {
				inst.stop()
			}
		}
		return nil, err
	}
	plugins := make([]*Plugin, len(specs))
	for i, s := range specs {
		plugins[i] = newPlugin(h, s)
		plugins[i].adopt(started[i])
	}

	h.mu.Lock()
	defer h.mu.Unlock()
	// If Close has begun, the supervisors stop the plugins at once.
	h.plugins = append(h.plugins, plugins...)
	for i, p := range plugins {
		p.supervised.Add(1)
		ctx, p.stop = context.WithCancel(h.ctx)
		go p.supervise(ctx, started[i])
	}
	return plugins, nil
}

// enter counts a start or a swap, for which Close waits; it returns false if the host is closed.
func (h *Host) enter() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.closed {
		h.starts.Add(1)
	}
	return !h.closed
}

// Plugins lists the started plugins in the order of their start.
func (h *Host) Plugins() []*Plugin {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]*Plugin(nil), h.plugins...)
}

// Stop stops one plugin for good and forgets it. It returns when the process has ended, within about ten seconds.
func (h *Host) Stop(p *Plugin) error {
	h.mu.Lock()
	i := slices.Index(h.plugins, p)
	if h.closed || i < 0 {
		h.mu.Unlock()
		return fmt.Errorf("plugin %q is stopped already", p.Name())
	}
	h.plugins = slices.Delete(h.plugins, i, i+1)
	h.starts.Add(1) // Close waits for this too
	h.mu.Unlock()
	defer h.starts.Done()
	p.stop()
	p.supervised.Wait()
	h.metrics.forget(p.Name())
	return nil
}

// Close stops every plugin, in reverse order of start, and waits for their processes to end. A plugin that does not exit by itself takes a
// few seconds at most.
func (h *Host) Close() error {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return nil
	}
	h.closed = true
	h.mu.Unlock()

	h.cancel()
	h.starts.Wait()
	h.mu.Lock()
	left := slices.Collect(maps.Keys(h.candidates))
	h.mu.Unlock()
	for _, c := range left {
		c.Close()
	}
	plugins := h.Plugins()
	for _, p := range slices.Backward(plugins) {
		p.supervised.Wait()
	}
	h.spawner.close()
	return h.sockets.close()
}

// timing holds durations that tests shorten.
type timing struct {
	// handshake bounds the time until the handshake if the Spec does not; startup bounds the rest of the start.
	startup, handshake         time.Duration
	healthEvery, healthTimeout time.Duration
	memoryEvery                time.Duration
	// firstPause and lastPause bound the back-off before a restart; an uptime of stableAfter resets it.
	firstPause, lastPause, stableAfter time.Duration
	// waitLive is how long after a plugin went down calls still wait for it.
	waitLive time.Duration
	// callAuth and callMeta are the deadlines of calls.
	callAuth, callMeta time.Duration
	// heal is how long a candidate may take to become healthy; ping bounds its trial calls.
	heal, ping time.Duration
	// deactivate and exit bound the steps of a stop.
	deactivate, exit time.Duration
	// breakerOpen is how long the breaker stays open at first.
	breakerOpen time.Duration
}

func (t timing) orDefaults() timing {
	or := func(d *time.Duration, def time.Duration) {
		if *d == 0 {
			*d = def
		}
	}
	or(&t.startup, StartupTimeout)
	or(&t.handshake, DefaultStartTimeout)
	or(&t.healthEvery, 3*time.Second)
	or(&t.healthTimeout, 2*time.Second)
	or(&t.memoryEvery, time.Second)
	or(&t.firstPause, 100*time.Millisecond)
	or(&t.lastPause, 15*time.Second)
	or(&t.stableAfter, time.Minute)
	or(&t.waitLive, 3*time.Second)
	or(&t.callAuth, 3*time.Second)
	or(&t.callMeta, 10*time.Second)
	or(&t.heal, 5*time.Second)
	or(&t.ping, 5*time.Second)
	or(&t.deactivate, 5*time.Second)
	or(&t.exit, 3*time.Second)
	or(&t.breakerOpen, time.Second)
	return t
}
