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

// Options configure a Meta. Client, Traits and NodeID are required; durations left zero get the defaults named here.
type Options struct {
	// Client calls the meta plugin. It must stay usable across restarts and swaps of the plugin.
	Client pluginv1.MetaClient
	// Traits returns what the present plugin can do. It is asked again before each use, because a swap may change it.
	Traits func() *pluginv1.MetaTraits
	// NodeID is this node's id, unique in the cluster.
	NodeID string
	// NodeInfo is shown to the other nodes (version, addresses).
	NodeInfo map[string]string
	// MaxFilters bounds the filters with a queue of one first-level topic; 0 means 100,000.
	MaxFilters int

	Log        *slog.Logger
	Registerer prometheus.Registerer

	// CallTimeout bounds one call of the plugin (3 s), and WriteTimeout one write with its retries (5 s).
	CallTimeout, WriteTimeout time.Duration
	// PollInterval is how often a backend without Watch is asked what changed (1 s); UpstreamPollInterval how often its
	// namespace LMQ is read, which mqadmin changes without telling (5 s); ResyncInterval how often everything held in memory is
	// read again whether or not it is said to have changed (60 s).
	PollInterval, UpstreamPollInterval, ResyncInterval time.Duration
	// HeartbeatInterval is how often this node says that it is alive (5 s). A node that was not heard of for LostAfter (20 s)
	// is lost.
	HeartbeatInterval, LostAfter time.Duration
	// FilterGrace is how long a filter must have been unused before it is retired (1 h); at most every half of it the sweep runs.
	FilterGrace time.Duration
	// MaxRetainedBytes bounds what retained messages take of memory; 0 is no limit. See Meta.SetRetainedMemory.
	MaxRetainedBytes int64
	// Quotas bound what clients can make the metadata grow by. See Meta.SetQuotas.
	Quotas Quotas
	// TombstoneTTL is how long a removed retained message is remembered, so that an older value which arrives late does not
	// bring it back (10 min).
	TombstoneTTL time.Duration
	// MigrationLease is migration.Lease but in tests.
	MigrationLease time.Duration
	// Stage starts the plugin that a migration moves to, as this node's configuration has it, beside the one in use. It is called
	// again after a while where it fails, and once more where the node learns late of a migration that is over. Nil: this node
	// follows no migration, and refuses to write where one has moved the others.
	Stage func(ctx context.Context, plugin string) (*Target, error)

	// ListedFilters is how many filters of a first-level topic are also written to LMQ/{topic} (1,000).
	ListedFilters int
}

// check fills in defaults and says what is missing.
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
