package meta

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"sync"
	"time"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// The namespaces. NamespaceUpstream belongs to Apache RocketMQ MQTT. The others are ours and hold one item per key.
const (
	NamespaceUpstream = "LMQ"
	NamespaceTopics   = "lmqgate.topics"
	NamespaceFilters  = "lmqgate.filters"
	NamespaceSessions = "lmqgate.sessions"
	// NamespaceSubscriptions holds, in pages, the subscriptions of sessions that have many.
	NamespaceSubscriptions = "lmqgate.subscriptions"
	NamespaceRetained      = "lmqgate.retained"
	NamespaceWills         = "lmqgate.wills"
	NamespaceNodes         = "lmqgate.nodes"
	NamespaceBans          = "lmqgate.bans"
	// NamespaceChanges holds, for each node, a change counter per namespace; on backends without Watch only.
	NamespaceChanges = "lmqgate.changes"
)

// Moved returns the namespaces that a migration, an export and an import include. The others concern running nodes: NamespaceNodes,
// NamespaceChanges and migration.Namespace.
func Moved() []string {
	return []string{NamespaceUpstream, NamespaceTopics, NamespaceFilters, NamespaceSessions, NamespaceSubscriptions, NamespaceRetained,
		NamespaceWills, NamespaceBans}
}

// Meta is the gateway's metadata.
//
// Life cycle: New -> Start (loads in the background, retrying for ever if necessary) -> use -> Close. Until the first snapshot is loaded,
// Ready says why not, reads find nothing, and writes that depend on the snapshot fail with ErrUnavailable. All methods are safe for
// concurrent use.
type Meta struct {
	opts    Options
	log     *slog.Logger
	metrics *metrics
	backend *backend
	present *presence
	writer  *writer
	// instance identifies this process of the node among earlier ones.
	instance string

	mirrors  map[string]*mirror
	topics   *topics
	filters  *filters
	lists    *lists
	retired  *sweep
	retained *retained
	ledger   *ledger
	nodes    *nodes
	bans     *bans
	changes  *changes
	follower *follower
	complain *complaints
	calls    *callbacks

	startOnce, closeOnce sync.Once
	cancel               context.CancelFunc
	stop                 chan struct{} // closed when Close begins
	done                 chan struct{} // closed when all goroutines have ended
	wg                   sync.WaitGroup
	writing              sync.WaitGroup
}

// New makes a Meta. It does not call the plugin and does not block.
func New(o Options) (*Meta, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	mt, err := newMetrics(o.Registerer)
	if err != nil {
		return nil, fmt.Errorf("meta: register metrics: %w", err)
	}
	m := &Meta{opts: o, log: o.Log, metrics: mt, instance: rand.Text(), stop: make(chan struct{}), done: make(chan struct{})}
	m.follower = newFollower(m)
	m.backend = &backend{gate: newWriteGate(o.MigrationLease, m.follower.look), callTimeout: o.CallTimeout, writeTimeout: o.WriteTimeout,
		metrics: mt, cas: make(chan struct{}, 256)}
	m.backend.joint.b = m.backend
	m.backend.link.Store(&link{client: o.Client, traits: o.Traits, generation: 1})
	m.present = newPresence(m)
	m.backend.present = m.present
	m.writer = newWriter(m)
	m.complain = &complaints{said: map[string]string{}}
	m.calls = newCallbacks(m)
	m.topics = newTopics(m)
	m.filters = newFilters(m)
	m.lists = newLists(m)
	m.retired = newSweep(m)
	m.retained = newRetained(m)
	m.ledger = newLedger(m)
	m.SetRetainedMemory(o.MaxRetainedBytes)
	if err := m.registerRetained(o.Registerer); err != nil {
		return nil, err
	}
	m.nodes = newNodes(m)
	m.bans = newBans(m)
	m.changes = newChanges(m)
	m.mirrors = map[string]*mirror{}
	for _, r := range []*mirror{
		newMirror(m, NamespaceUpstream, o.UpstreamPollInterval, m.applyUpstream, m.calls.wakeUp),
		newMirror(m, NamespaceTopics, o.ResyncInterval, m.topics.applyKey, m.calls.wakeUp),
		newMirror(m, NamespaceFilters, o.ResyncInterval, m.filters.applyKey, m.calls.wakeUp),
		newMirror(m, NamespaceRetained, o.ResyncInterval, m.retained.applyKey, nil),
		newMirror(m, NamespaceNodes, o.HeartbeatInterval, m.nodes.applyKey, nil),
		newMirror(m, NamespaceBans, o.ResyncInterval, m.bans.applyKey, m.calls.wakeUp),
	} {
		m.mirrors[r.namespace] = r
	}
	return m, nil
}

// Start starts loading and updating, and returns at once. ctx does not bound that work: Close ends it.
func (m *Meta) Start(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.startOnce.Do(func() {
		run, cancel := context.WithCancel(context.WithoutCancel(ctx))
		m.cancel = cancel
		m.writing.Go(func() { m.writer.run(run) })
		for _, r := range m.mirrors {
			m.wg.Go(func() { r.run(run) })
		}
		for _, f := range []func(context.Context){m.changes.run, m.nodes.run, m.lists.run, m.retired.run, m.retained.run,
			m.retained.tells, m.bans.run, m.ledger.run, m.present.run, m.calls.run, m.follower.run} {
			m.wg.Go(func() { f(run) })
		}
	})
	return nil
}

// Ready returns nil once everything held in memory is loaded; otherwise an error that says why not and wraps ErrUnavailable. It stays nil
// during an outage, because the last snapshot serves. See Healthy.
func (m *Meta) Ready() error {
	if err := m.follower.ready(); err != nil {
		return err
	}
	for _, ns := range []string{NamespaceUpstream, NamespaceTopics, NamespaceFilters, NamespaceRetained, NamespaceNodes, NamespaceBans} {
		if err := m.loaded(ns); err != nil {
			return err
		}
	}
	return nil
}

// Healthy returns nil while the backend answers; otherwise the last error.
func (m *Meta) Healthy() error {
	if err := m.Ready(); err != nil {
		return err
	}
	for _, r := range m.mirrors {
		if err := r.lastError(); err != nil {
			return err
		}
	}
	return m.nodes.lastError()
}

// traits returns what the backend supports now.
func (m *Meta) traits() *pluginv1.MetaTraits { return m.backend.link.Load().traits() }

// Resync schedules a new read of everything held in memory. It is for callers that have swapped the plugin.
func (m *Meta) Resync() {
	for _, r := range m.mirrors {
		r.resync()
	}
}

func (m *Meta) loaded(ns string) error {
	r := m.mirrors[ns]
	if r.loaded.Load() {
		return nil
	}
	if err := r.lastError(); err != nil {
		return fmt.Errorf("%w: namespace %s is not loaded yet: %w", ErrUnavailable, ns, err)
	}
	return fmt.Errorf("%w: namespace %s is not loaded yet", ErrUnavailable, ns)
}

// Close tells the other nodes that this one is leaving, finishes queued writes, and stops everything. Later calls fail.
func (m *Meta) Close() error {
	m.closeOnce.Do(func() {
		m.startOnce.Do(func() {}) // prevents a later Start
		if m.cancel == nil {
			close(m.stop)
			close(m.done)
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), m.opts.CallTimeout)
		m.nodes.leave(ctx)
		cancel()
		close(m.stop)
		finished := make(chan struct{})
		go func() { m.writing.Wait(); close(finished) }()
		select {
		case <-finished:
		case <-time.After(m.opts.WriteTimeout):
		}
		m.cancel()
		m.writing.Wait()
		m.wg.Wait()
		close(m.done)
	})
	<-m.done
	return nil
}

// applied applies one of this node's writes to the mirror of its namespace, if there is one.
func (m *Meta) applied(op *pluginv1.Operation, revision, generation int64) {
	id := target(op)
	r := m.mirrors[id.ns]
	if r == nil {
		return
	}
	if p := op.GetPut(); p != nil {
		r.wrote(id.key, &pluginv1.Entry{Namespace: id.ns, Key: id.key, Value: p.GetValue(), Revision: revision}, revision, generation)
		return
	}
	r.wrote(id.key, nil, revision, generation)
}

// invalid reports, once per problem, that a value cannot be used.
func (m *Meta) invalid(ns, key string, err error) {
	first, last := m.complain.first(ns+"\x00"+key, err.Error())
	if !first {
		return
	}
	m.metrics.invalid.WithLabelValues(ns).Inc()
	m.log.Warn("metadata value passed over", "namespace", ns, "key", fmt.Sprintf("%q", key), "error", err)
	if last {
		m.log.Warn("further metadata values that are passed over are not named until this node is started again", "named", maxComplaints)
	}
}

// maxComplaints bounds the values named in the log.
const maxComplaints = 1000

// complaints remembers what was logged, so that a listing every few seconds does not log it again.
type complaints struct {
	mu   sync.Mutex
	said map[string]string
}

// first reports whether this problem has to be logged: it is new, and the bound is not reached. last says that it is the last new value
// that is logged.
func (c *complaints) first(about, what string) (first, last bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before, known := c.said[about]
	if known && before == what || !known && len(c.said) >= maxComplaints {
		return false, false
	}
	c.said[about] = what
	return true, !known && len(c.said) == maxComplaints
}
