package pluginhost

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// State is a state in the life of a plugin.
type State string

// The states.
const (
	StateStarting   State = "starting"
	StateRunning    State = "running"
	StateRestarting State = "restarting"
	// StateCrashLooping means that the plugin exited or failed to start several times in a row; restarts continue.
	StateCrashLooping State = "crash-looping"
	StateStopped      State = "stopped"
)

// Info describes a plugin to operators.
type Info struct {
	Name     string `json:"name"`
	Kind     string `json:"kind"` // "auth" or "meta"
	Path     string `json:"path"`
	Version  string `json:"version"`
	Checksum string `json:"checksum"` // "sha256:HEX" of the executable that runs
	Pinned   bool   `json:"pinned"`
	// Mode is ModeDevelopment, ModeAttached or empty; Warning explains it.
	Mode     string        `json:"mode,omitempty"`
	Warning  string        `json:"warning,omitempty"`
	PID      int           `json:"pid"` // 0 while there is no process
	State    State         `json:"state"`
	Uptime   time.Duration `json:"uptime"` // of the process
	Restarts int           `json:"restarts"`
	// Calls and Errors count the calls since the gateway started, and those that failed, whichever process answered.
	Calls  int64 `json:"calls"`
	Errors int64 `json:"errors"`
	// Suspended is true while the circuit breaker is open: the plugin hangs, and calls fail at once.
	Suspended bool `json:"suspended"`
	// Memory is the memory of the process in bytes, without file-backed pages; 0 if unknown. A MemoryLimit of 0 means no limit.
	Memory      uint64 `json:"memory_bytes"`
	MemoryLimit uint64 `json:"memory_limit_bytes"`
	// LastError is why the plugin last ended or was unhealthy; it stays after a recovery.
	LastError string `json:"last_error,omitempty"`
	// Contract is the negotiated version of plugins/proto; Secure is false if the plugin uses no TLS.
	Contract int  `json:"contract"`
	Secure   bool `json:"secure"`
}

// warnings explain the modes.
var warnings = map[string]string{
	ModeDevelopment: "development: an executable that nothing was checked of; never use it where clients are that matter",
	ModeAttached:    "attached: a process that the gateway did not start, without TLS; never use it where clients are that matter",
}

// Plugin is one supervised plugin: a slot in the gateway, filled by the process that serves it at the moment. A swap may put another plugin
// into the slot.
type Plugin struct {
	host  *Host
	kind  pluginv1.Kind
	route *route
	auth  pluginv1.AuthClient
	meta  pluginv1.MetaClient
	// supervised counts the goroutine of supervise; gone is closed when it ends.
	supervised sync.WaitGroup
	gone       chan struct{}
	// stop ends the supervisor, and with it the process.
	stop context.CancelFunc
	// takeovers carries swaps that want the process to the supervisor.
	takeovers chan *takeover
	calls     atomic.Int64
	errors    atomic.Int64
	// swapping is held by the swap in progress. It is locked before mu.
	swapping sync.Mutex

	// mu guards the fields below.
	mu sync.Mutex
	// spec describes what runs, or will be restarted.
	spec spec
	// live is the process that answers calls; nil while there is none.
	live *instance
	// last is the process that was live last, for Describe and Info.
	last      *instance
	state     State
	downSince time.Time
	restarts  int
	lastError error
	unwell    error
	breakers  breakers
	memory    uint64 // of the live process
	// changed is closed and replaced whenever live changes.
	changed   chan struct{}
	onRestart []func()
	// cancelLaunch cancels the restart in progress; nil if there is none.
	cancelLaunch context.CancelFunc
}

func newPlugin(h *Host, s spec) *Plugin {
	p := &Plugin{
		host: h, kind: s.Kind, spec: s, state: StateStarting, changed: make(chan struct{}), downSince: time.Now(),
		gone: make(chan struct{}), takeovers: make(chan *takeover),
	}
	p.breakers = p.newBreakers()
	deadline := h.opts.timing.callMeta
	if s.Kind == pluginv1.Kind_KIND_AUTH {
		deadline = h.opts.timing.callAuth
	}
	p.route = newRoute(p, deadline)
	p.auth, p.meta = pluginv1.NewAuthClient(p.route), pluginv1.NewMetaClient(p.route)
	return p
}

// Name returns the plugin's name in the configuration. A swap changes it together with Describe.
func (p *Plugin) Name() string { return p.present().Name }

// Spec returns what runs, or will be restarted. Its Config must not be modified.
func (p *Plugin) Spec() Spec { return p.present().Spec }

func (p *Plugin) present() spec {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.spec
}

// Auth returns a client of the plugin as an auth plugin. It stays valid forever, whichever process serves the plugin. Calls fail with
// UNAVAILABLE if the plugin is down, and with DEADLINE_EXCEEDED if it does not answer in time.
func (p *Plugin) Auth() pluginv1.AuthClient { return p.auth }

// Meta returns a client of the plugin as a meta plugin; see Auth. Streams end with the process that serves them.
func (p *Plugin) Meta() pluginv1.MetaClient { return p.meta }

// Describe returns the plugin's answer to Describe at its last start. It must not be modified.
func (p *Plugin) Describe() *pluginv1.DescribeResponse {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last == nil {
		return &pluginv1.DescribeResponse{Name: p.spec.Name, Kind: p.kind}
	}
	return p.last.describe
}

// Info returns the current state of the plugin.
func (p *Plugin) Info() Info {
	p.mu.Lock()
	defer p.mu.Unlock()
	info := Info{
		Name: p.spec.Name, Kind: kindOf(p.kind),
		Pinned: p.spec.Checksum != "", State: p.state, Restarts: p.restarts,
	}
	info.Mode = p.spec.Mode()
	info.Warning = warnings[info.Mode]
	if p.last != nil {
		info.Path, info.Checksum = p.last.file.path, p.last.file.sum
		info.Version, info.Contract, info.Secure = p.last.describe.GetVersion(), p.last.version, p.last.secure
	}
	info.Calls, info.Errors, info.MemoryLimit = p.calls.Load(), p.errors.Load(), p.spec.MemoryLimit
	if p.live != nil {
		info.Memory, info.Suspended = p.memory, p.breakers.open()
		info.PID, info.Uptime = p.live.pid(), time.Since(p.live.started)
	}
	if p.lastError != nil {
		info.LastError = p.lastError.Error()
	}
	return info
}

// Healthy returns nil while the plugin runs and reports that it is healthy.
func (p *Plugin) Healthy() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.live == nil {
		return errors.Join(errors.New("plugin "+p.spec.Name+" is "+string(p.state)), p.lastError)
	}
	return p.unwell
}

// OnRestart registers a function that is called each time after a new process has taken over. It must not block.
func (p *Plugin) OnRestart(fn func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.onRestart = append(p.onRestart, fn)
}

// adopt makes inst the live process, and its spec the plugin's spec.
func (p *Plugin) adopt(inst *instance) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if inst.spec.Name != p.spec.Name {
		p.host.metrics.forget(p.spec.Name)
	}
	p.live, p.last, p.state, p.unwell, p.spec = inst, inst, StateRunning, inst.unwell, inst.spec
	p.memory = 0
	p.breakers = p.newBreakers()
	p.announce()
	p.host.metrics.up.WithLabelValues(p.spec.Name).Set(1)
	p.host.metrics.begin(p.spec.Name)
}

// lose takes the live process out of service.
func (p *Plugin) lose(state State, why error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.live != nil {
		p.downSince = time.Now()
	}
	p.live, p.state = nil, state
	if why != nil {
		p.lastError = why
	}
	p.announce()
	p.host.metrics.up.WithLabelValues(p.spec.Name).Set(0)
}

func (p *Plugin) announce() {
	close(p.changed)
	p.changed = make(chan struct{})
}
