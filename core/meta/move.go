package meta

import (
	"context"

	"github.com/lmqgate/lmqgate/core/meta/migration"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// move makes the target the backend of this node.
func (f *follower) move(ctx context.Context, p *migration.Plan) {
	m, g := f.m, f.m.backend.gate
	g.hold()
	if g.drain(ctx) != nil {
		return
	}
	select {
	case g.looking <- struct{}{}: // nobody reads a plan meanwhile
	case <-ctx.Done():
		return
	}
	source, target := f.board(), f.target
	f.mu.Lock()
	reload := !f.allowed
	f.mu.Unlock()
	m.replaceBackend(target, reload)
	f.mu.Lock()
	f.plan, f.held, f.problem, f.registered, f.looked = nil, "", nil, "", false
	f.mu.Unlock()
	f.target, f.staged, f.answered = nil, "", migration.Answer{}
	g.reopen()
	<-g.looking
	m.log.Info("metadata migrated: this node uses the new backend", "plugin", p.Plugin, "id", p.ID)

	told, cancel := context.WithTimeout(ctx, m.opts.CallTimeout)
	defer cancel()
	_, err := source.Client.Delete(told, &pluginv1.DeleteRequest{Namespace: NamespaceNodes, Key: m.opts.NodeID})
	if err == nil {
		err = source.SetAnswer(told, m.opts.NodeID, migration.Answer{ID: p.ID, State: migration.Away, Instance: m.instance})
	}
	if err != nil {
		m.log.Warn("metadata migration: the old backend could not be told that this node has moved", "error", err)
	}
	target.Adopt()
}

// Switched tells Meta that the client now reaches another backend with the same content, because the plugin behind it was replaced. Call it
// while no write is under way. It does not block.
func (m *Meta) Switched() {
	l := m.backend.link.Load()
	m.replaceBackend(&Target{Client: l.client, Traits: l.traits}, false)
	// It is not known yet whether the cluster has left that backend. Writes under way find out before they count.
	m.backend.gate.expire()
}

// replaceBackend switches to another backend with the same content. Writes must be held. With reload, nothing held in memory counts as
// current before it is read again.
func (m *Meta) replaceBackend(t *Target, reload bool) {
	generation := m.backend.generation() + 1
	m.backend.link.Store(&link{client: t.Client, traits: t.Traits, generation: generation})
	for _, r := range m.mirrors {
		r.rebase(generation)
		if reload {
			r.loaded.Store(false)
		}
		r.resync()
	}
	m.nodes.rebase()
	m.present.reset()
}
