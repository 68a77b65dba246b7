package meta

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lmqgate/lmqgate/core/meta/migration"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// Options configures a Meta. Client, Traits and NodeID are required; zero durations get the defaults named here.
type Options struct {
	// Client calls the meta plugin. It must stay usable across restarts and swaps of the plugin.
	Client pluginv1.MetaClient
	// Traits returns what the plugin supports now. It is called before each use, because a swap of the plugin may change the traits.
	Traits func() *pluginv1.MetaTraits
	// NodeID is this node's id, unique in the cluster.
	NodeID string
	// NodeInfo is shown to the other nodes (version, addresses).
	NodeInfo map[string]string
	// MaxFilters bounds the filters with a queue of one first-level topic; 0: 100,000.
	MaxFilters int

	Log        *slog.Logger
	Registerer prometheus.Registerer

	// CallTimeout bounds one call of the plugin (3 s). WriteTimeout bounds one write including its retries (5 s).
	CallTimeout, WriteTimeout time.Duration
	// PollInterval is how often a backend without Watch is asked for changes (1 s). UpstreamPollInterval is how often its namespace LMQ is
	// read, which mqadmin changes without an announcement (5 s). ResyncInterval is how often everything held in memory is read again, even
	// without announced changes (60 s).
	PollInterval, UpstreamPollInterval, ResyncInterval time.Duration
	// HeartbeatInterval is how often this node writes a sign of life (5 s). A node that was not heard from for LostAfter (20 s) is lost.
	HeartbeatInterval, LostAfter time.Duration
	// FilterGrace is how long a filter must be unused before it is retired (1 h). The sweep runs every half of it.
	FilterGrace time.Duration
	// MaxRetainedBytes bounds the memory of retained messages, in bytes; 0: no limit. See Meta.SetRetainedMemory.
	MaxRetainedBytes int64
	// Quotas bound the growth of the metadata caused by clients. See Meta.SetQuotas.
	Quotas Quotas
	// TombstoneTTL is how long a removed retained message is remembered, so that an older value that arrives late does not bring it back
	// (10 min).
	TombstoneTTL time.Duration
	// MigrationLease is migration.Lease, except in tests.
	MigrationLease time.Duration
	// Stage starts the plugin that a migration moves to, with this node's configuration, next to the one in use. If it fails, it is called
	// again after a while. It is called once more if the node learns late of a migration that is over. Nil: this node follows no migration,
	// and refuses to write once a migration has moved the others.
	Stage func(ctx context.Context, plugin string) (*Target, error)

	// ListedFilters is how many filters of a first-level topic are also written to LMQ/{topic} (1,000).
	ListedFilters int
}

// check sets defaults and returns an error if something is missing.
func (o *Options) check() error {
	switch {
	case o.Client == nil:
		return errors.New("meta: Options.Client is missing")
	case o.Traits == nil:
		return errors.New("meta: Options.Traits is missing")
	case o.NodeID == "" || !utf8.ValidString(o.NodeID):
		return fmt.Errorf("meta: node id %q: it must be UTF-8 text and not empty", o.NodeID)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.MaxFilters = cmp.Or(o.MaxFilters, 100_000)
	o.CallTimeout = cmp.Or(o.CallTimeout, 3*time.Second)
	o.WriteTimeout = cmp.Or(o.WriteTimeout, 5*time.Second)
	o.PollInterval = cmp.Or(o.PollInterval, time.Second)
	o.UpstreamPollInterval = cmp.Or(o.UpstreamPollInterval, 5*time.Second)
	o.ResyncInterval = cmp.Or(o.ResyncInterval, time.Minute)
	o.HeartbeatInterval = cmp.Or(o.HeartbeatInterval, 5*time.Second)
	o.LostAfter = cmp.Or(o.LostAfter, 4*o.HeartbeatInterval)
	o.FilterGrace = cmp.Or(o.FilterGrace, time.Hour)
	o.TombstoneTTL = cmp.Or(o.TombstoneTTL, tombstoneTTL)
	o.ListedFilters = cmp.Or(o.ListedFilters, 1000)
	o.MigrationLease = cmp.Or(o.MigrationLease, migration.Lease)
	return nil
}

// tombstoneTTL is the default of Options.TombstoneTTL.
const tombstoneTTL = 10 * time.Minute
