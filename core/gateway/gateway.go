package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lmqgate/lmqgate/core/admin"
	"github.com/lmqgate/lmqgate/core/auth"
	"github.com/lmqgate/lmqgate/core/backlog"
	"github.com/lmqgate/lmqgate/core/catalog"
	"github.com/lmqgate/lmqgate/core/cluster"
	"github.com/lmqgate/lmqgate/core/config"
	"github.com/lmqgate/lmqgate/core/delivery"
	"github.com/lmqgate/lmqgate/core/doctor"
	"github.com/lmqgate/lmqgate/core/events"
	"github.com/lmqgate/lmqgate/core/limits"
	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/mqtt"
	"github.com/lmqgate/lmqgate/core/pluginhost"
	"github.com/lmqgate/lmqgate/core/publish"
	"github.com/lmqgate/lmqgate/core/session"
	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/trace"
	"github.com/lmqgate/lmqgate/core/tracing"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Options are settings that are not in the configuration file.
type Options struct {
	Log *slog.Logger
	// LogLevel is the level that Log follows, so that operators can change it; nil: Log follows none.
	LogLevel *slog.LevelVar
	Version  string
	// Develop selects plugins under development that replace the configured ones.
	Develop Develop
	// Reread reads the configuration again, for Reload; nil if there is nothing to read.
	Reread func() (*config.Config, error)
}

// Gateway is one node. Life cycle: New, Start, Close.
type Gateway struct {
	cfg      *config.Config
	log      *slog.Logger
	logLevel *slog.LevelVar
	reread   func() (*config.Config, error)
	develop  Develop
	version  string
	id       string
	token    string // of the admin API
	registry *prometheus.Registry
	started  time.Time

	host       *pluginhost.Host
	authPlugin *pluginhost.Plugin // nil for anonymous access
	auth       *auth.Auth         // nil for anonymous access
	authority  auth.Authority
	// metaMu guards metaPlugin, which a migration replaces.
	metaMu     sync.Mutex
	metaPlugin *pluginhost.Plugin
	reloads    reloads
	drains     drains
	rebalances rebalances
	meta       *meta.Meta
	store      store.Store
	catalog    *catalog.Catalog
	hub        *delivery.Hub
	publisher  *publish.Publisher
	cluster    *cluster.Cluster // nil if only this process uses the store
	sessions   *session.Manager
	backlog    *backlog.Counter
	events     *events.Log // nil: nobody wants them
	tracer     *trace.Tracer
	spans      *tracing.Tracer // nil: nothing is traced
	traces     traces
	mqtt       *mqtt.Server
	admin      *admin.Server
	checks     *doctor.Watch

	memory memory
	bans   *limits.Bans
	// recordedBans outlive this process. followed are those that this node follows, by kind and name.
	recordedBans recordedBans
	followMu     sync.Mutex
	followed     map[string]limits.Ban

	addrs []net.Addr
	stops []func(ctx context.Context) // in the order of the start
}

// Develop selects, by kind ("auth", "meta"), plugins that run under development rules.
type Develop struct {
	// Executables are paths of executables that run without any checks.
	Executables map[string]string
	// Attach are the addresses of processes that somebody else started. See pluginhost.Spec.
	Attach map[string]string
}

// apply applies the settings to a Spec.
func (d Develop) apply(kind string, s pluginhost.Spec) pluginhost.Spec {
	s.Path, s.Attach = d.Executables[kind], d.Attach[kind]
	return s
}

// New makes a node. It starts and opens nothing, except that it uses the data directory for the node's id and the admin token.
func New(cfg *config.Config, o Options) (*Gateway, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.LogLevel == nil {
		o.LogLevel = new(slog.LevelVar)
	}
	g := &Gateway{cfg: cfg, log: o.Log, logLevel: o.LogLevel, reread: o.Reread, develop: o.Develop, bans: limits.NewBans(),
		version: o.Version, id: cfg.Node.ID,
		registry: prometheus.NewRegistry(), drains: drains{asked: make(chan struct{})}}
	g.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	registerBuild(g.registry, o.Version, cfg)
	if g.id == "" {
		id, err := config.NodeID(cfg.Node.DataDir)
		if err != nil {
			return nil, err
		}
		g.id = id
	}
	token, made, err := cfg.MakeAdminToken()
	if err != nil {
		return nil, err
	}
	g.token = token
	if made != "" {
		g.log.Info("made a token for the admin API; commands of this user find it by themselves", "file", made)
	}
	return g, nil
}

// topicsTimeout bounds the work after first-level topics or filters appear or vanish.
const topicsTimeout = 10 * time.Second

// Start starts the node and returns once it accepts clients. It waits, until ctx ends, for services that do not answer. Faults in the
// configuration or of a plugin are errors at once. After an error, Close releases what was started.
func (g *Gateway) Start(ctx context.Context) error {
	g.started = time.Now()
	g.limitMemory()
	g.tracer = trace.New(g.id)
	g.push(func(context.Context) { g.traces.stop() })
	if err := g.startSpans(); err != nil {
		return err
	}
	if err := g.startPlugins(ctx); err != nil {
		return err
	}
	if err := g.build(); err != nil {
		return err
	}
	if err := g.startChecks(); err != nil {
		return err
	}
	if err := g.listen(); err != nil {
		return err
	}
	if err := g.await(ctx); err != nil {
		return err
	}
	if g.cluster != nil {
		if err := g.cluster.Start(ctx); err != nil {
			return err
		}
		g.push(func(context.Context) { g.cluster.Close() })
	}
	g.followBans()
	g.meta.OnBansChanged(g.followBans)
	g.sessions.Start()
	g.push(func(ctx context.Context) { g.sessions.Close(ctx) })
	g.push(func(context.Context) { g.rebalances.stop() })
	g.backlog.Start()
	g.push(func(context.Context) { g.backlog.Close() })
	g.mqtt.Serve()
	g.push(func(context.Context) { g.mqtt.StopAccepting() })
	g.admin.SetReady(g.healthy)
	return nil
}

// push records how to undo a step of the start.
func (g *Gateway) push(stop func(ctx context.Context)) { g.stops = append(g.stops, stop) }

// Close stops the node and returns when everything has stopped. ctx bounds detaching the sessions.
func (g *Gateway) Close(ctx context.Context) error {
	if g.admin != nil {
		g.admin.SetReady(func() error { return errors.New("shutting down") })
	}
	for _, v := range slices.Backward(g.stops) {
		v(ctx)
	}
	g.stops = nil
	return nil
}

// ReadyLine returns the line that `lmqgate serve` prints once the node accepts clients.
func (g *Gateway) ReadyLine() string {
	var b strings.Builder
	fmt.Fprintf(&b, "lmqgate ready node=%s", g.id)
	for i, l := range g.cfg.Listeners {
		fmt.Fprintf(&b, " %s=%s", l.Type, g.addrs[i])
	}
	fmt.Fprintf(&b, " admin=%s", g.admin.Addr())
	return b.String()
}

// Addrs returns the addresses of the listeners, in the order of the configuration.
func (g *Gateway) Addrs() []net.Addr { return g.addrs }

// AdminAddr returns the address of the admin HTTP server.
func (g *Gateway) AdminAddr() net.Addr { return g.admin.Addr() }

// Respond returns once the parts that every client needs have responded. If one of them hangs, Respond hangs.
func (g *Gateway) Respond() {
	_ = g.mqtt.Connections()
	_ = g.sessions.Connected()
	_ = g.reloads.present()
}

// ID returns the node's id.
func (g *Gateway) ID() string { return g.id }

// build builds and starts everything between the plugins and the listeners.
func (g *Gateway) build() error {
	st, err := g.openStore()
	if err != nil {
		return err
	}
	g.store = st
	g.push(func(context.Context) { g.logged("closing the store", st.Close()) })
	g.catalog = catalog.New(catalog.Options{Store: st, Meta: g.meta, Dispatch: g.dispatch(), AutoCreate: g.cfg.Topics.AutoCreate,
		Queues: g.cfg.Topics.Queues, Fallback: g.cfg.Topics.Fallback, Events: g.shownEvents(), Log: g.log})
	g.publisher = publish.New(publish.Options{Store: st, Catalog: g.catalog, Meta: g.meta, Retainer: retainer{g.meta},
		Events: g.cfg.Events.Topic, EventQueues: g.cfg.Topics.Queues, EventsShown: g.cfg.Events.MQTT,
		Held: func() bool { return g.cluster.Fenced() }, Spans: g.spans, Log: g.log, Registerer: g.registry})
	g.makeEvents()
	g.hub = delivery.New(delivery.Options{Store: st, Catalog: g.catalog, Retained: g.meta.SeenRetained,
		MaxBuffered: g.memory.windows, Events: g.events, Log: g.log, Registerer: g.registry})
	g.catalog.Watch(g.hub)
	if !st.Limits().Exclusive {
		g.cluster = cluster.New(cluster.Options{NodeID: g.id, Store: st, Ensure: g.catalog.EnsureOwn, Nodes: g.nodes,
			Listed:   func() time.Duration { return g.meta.NodesAge() },
			Yield:    func(ctx context.Context, cl *cluster.Claim, ends bool) { g.sessions.Yield(ctx, cl, ends) },
			Answer:   g.answer,
			CatchUp:  func(ctx context.Context) error { return g.meta.CatchUp(ctx) },
			Unfenced: func() { g.sessions.Resume() }, Lease: g.cfg.Node.Lease, Log: g.log, Registerer: g.registry})
	}
	g.sessions = session.NewManager(session.Options{NodeID: g.id, Store: st, Hub: g.hub, Catalog: g.catalog, Publisher: g.publisher,
		Meta: g.meta, Cluster: g.cluster, Alive: g.alive, Kept: g.memory.kept, MaxKept: int64(g.cfg.Limits.Client.OutboundMemory),
		Judge: g.authority, Banned: g.leavesNoWill,
		MaxSubscriptions: g.cfg.Limits.Client.Subscriptions, SubscriptionMemory: g.memory.subscriptions,
		IdentityShare: g.cfg.Limits.Identity.Share, Short: g.memory.watermark.High,
		ExpiryMax: g.cfg.MQTT.SessionExpiryMax, AnyOwner: g.cfg.MQTT.SessionOwner == config.OwnerClientID, Events: g.events, Spans: g.spans,
		Log: g.log, Registerer: g.registry})
	g.backlog = backlog.New(backlog.Options{Source: waiting{g}, Log: g.log, Registerer: g.registry})
	g.meta.OnTopicsChanged(func() {
		ctx, cancel := context.WithTimeout(context.Background(), topicsTimeout)
		defer cancel()
		g.logged("tailing new first-level topics", g.catalog.Changed(ctx))
		g.sessions.TopicsChanged()
	})
	g.meta.ReadBy(g.hub)
	g.meta.OnNodeLost(g.sessions.NodeLost)
	g.meta.OnNodeLeft(g.sessions.NodeLeft)
	g.meta.OnFilterLost(func(filter string) {
		ctx, cancel := context.WithTimeout(context.Background(), topicsTimeout)
		defer cancel()
		if !g.sessions.InUse(filter) {
			g.logged("removing a shared group that nobody uses", g.sessions.EndGroup(ctx, filter))
			return
		}
		g.log.Warn("a filter that a session reads lost its queue's registration; registering it again", "filter", filter)
		g.logged("registering a filter again", g.meta.RegisterFilters(ctx, filter))
	})
	if err := g.meta.Start(context.Background()); err != nil {
		return err
	}
	if err := st.Start(context.Background()); err != nil {
		return err
	}
	g.push(func(context.Context) { g.logged("closing metadata", g.meta.Close()) })
	g.push(func(context.Context) { g.publisher.Close() })
	g.push(func(context.Context) { g.hub.Close() })
	g.startEvents()
	return nil
}

// nodes returns the nodes that are known to be alive.
func (g *Gateway) nodes() []string {
	live := g.meta.Nodes()
	ids := make([]string, len(live))
	for i := range live {
		ids[i] = live[i].ID
	}
	return ids
}

// alive reports whether a node is known to be alive.
func (g *Gateway) alive(node string) bool {
	return slices.ContainsFunc(g.meta.Nodes(), func(n meta.Node) bool { return n.ID == node })
}

// dispatch returns the dispatch mode. The embedded store has no other gateways to be compatible with.
func (g *Gateway) dispatch() catalog.DispatchMode {
	if g.cfg.Store.Type == config.StoreLocal {
		return catalog.Lean
	}
	return catalog.DispatchMode(g.cfg.Store.RocketMQ.Dispatch)
}

// listen binds every address. It serves the admin HTTP side at once, so that probes can see a waiting node.
func (g *Gateway) listen() error {
	listeners, err := g.listeners()
	if err != nil {
		return err
	}
	g.mqtt = mqtt.New(mqtt.Options{Listeners: listeners, Sessions: g.sessions, Publisher: g.publisher, Authority: g.authority,
		MaxPacketSize: uint32(g.cfg.MQTT.MaxPacketSize), ReceiveMaximum: g.cfg.MQTT.ReceiveMaximum,
		MaxKeepAlive: g.cfg.MQTT.MaxKeepAlive, SessionExpiryMax: g.cfg.MQTT.SessionExpiryMax,
		ResponseInformation: g.cfg.MQTT.ResponseInformation, MaxTopicLevels: g.cfg.MQTT.MaxTopicLevels, Bounds: bounds(g.cfg),
		Inbound: g.memory.inbound, Outbound: g.memory.outbound, Watermark: g.memory.watermark, Bans: g.bans,
		PageOrigins: g.dashboardOrigins, Tracer: g.tracer, Spans: g.spans,
		Events: g.events, EventsHidden: g.events.On() && !g.cfg.Events.MQTT,
		SysInterval: g.cfg.MQTT.SysInterval, Sys: g.sysTopics(),
		ServerReference: g.cfg.MQTT.ServerReference, Log: g.log, Registerer: g.registry})
	// Revocations may arrive at once: the plugin sends them from its start on.
	g.authority.OnRevoke(func(r auth.Revocation) {
		if r.Disconnect {
			g.mqtt.Revoke(r)
		}
	})
	g.authority.OnDoubt(g.mqtt.Review)
	addrs, err := g.mqtt.Listen()
	if err != nil {
		return err
	}
	g.addrs = addrs
	g.push(func(context.Context) { g.mqtt.Close() })
	adminTLS, err := g.adminTLS()
	if err != nil {
		return err
	}
	g.admin = admin.New(admin.Options{Address: g.cfg.Admin.Address, Token: g.token, Tokens: g.adminTokens(),
		MetricsToken: g.cfg.Admin.MetricsToken,
		Pprof:        g.cfg.Admin.Pprof, TLS: adminTLS, Gatherer: g.registry, Backend: &backend{g}, Version: g.version, Log: g.log})
	g.admin.SetReady(func() error { return errors.New("starting: " + g.waitingFor()) })
	g.admin.SetNotice(g.notice)
	if err := g.admin.Start(); err != nil {
		return err
	}
	// Stopped last except for the plugins, so that probes can see the stop.
	g.stops = append([]func(context.Context){func(context.Context) { g.admin.Close() }}, g.stops...)
	return nil
}

// healthy returns nil while the node can serve.
func (g *Gateway) healthy() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	errs := []error{g.meta.Healthy(), g.store.Ready(ctx)}
	for _, p := range g.notStaged() {
		errs = append(errs, p.Healthy())
	}
	if g.cluster.Fenced() {
		errs = append(errs, errors.New("this node cannot read its inbox in the store, so its sessions are held"))
	}
	return errors.Join(errs...)
}

// logged logs the error of a step that cannot be undone.
func (g *Gateway) logged(what string, err error) {
	if err != nil {
		g.log.Warn(what+" failed", "error", err)
	}
}

// retainer stores retained messages in the metadata.
type retainer struct{ m *meta.Meta }

// Room implements publish.Retainer.
func (r retainer) Room(m *store.Message) error { return r.m.RoomForRetained(m) }

// Retain implements publish.Retainer.
func (r retainer) Retain(ctx context.Context, m *store.Message, at store.Position) error {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		err := r.m.SetRetained(ctx, &meta.Retained{Message: m, Position: at})
		if !errors.Is(err, meta.ErrUnavailable) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(wait):
		}
	}
}
