package local

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
)

// SyncMode says when a record counts as stored.
type SyncMode int

const (
	// SyncAlways acknowledges a record after fsync.
	SyncAlways SyncMode = iota
	// SyncInterval acknowledges a record once it is in the write-ahead log, which is synced every Options.SyncInterval. The first record of
	// a queue, and one in some thousands, is acknowledged after fsync as well; see gaps.go.
	SyncInterval
)

// Defaults for fields of Options that are zero.
const (
	DefaultSyncInterval = time.Second
	DefaultMaxRecord    = 4 << 20
	DefaultMinFree      = 64 << 20
)

// Options configures a store.
type Options struct {
	// Path is the directory of the store. It is created if it is missing.
	Path string
	// Sync says when a record counts as stored. SyncInterval is the interval of the SyncInterval mode; 0: DefaultSyncInterval.
	Sync         SyncMode
	SyncInterval time.Duration
	// Retention is the age at which records are removed; 0 keeps them for ever.
	Retention time.Duration
	// MaxBytes bounds the size of the records on disk (compressed, without the newest few MiB), in bytes. Beyond it the oldest records are
	// removed. 0: no bound.
	MaxBytes int64
	// MaxRecord is the size of the largest record (payload, properties and queue names together), in bytes; 0: DefaultMaxRecord.
	MaxRecord int
	// MinFree is the free disk space below which appends are refused with store.ErrUnavailable, in bytes; 0: DefaultMinFree; negative: no
	// check.
	MinFree int64
	// Log receives what an operator should know; nil discards it.
	Log *slog.Logger
	// Registerer receives the metrics; nil leaves them unregistered.
	Registerer prometheus.Registerer

	fs  vfs.FS           // tests: a file system that fails or crashes
	now func() time.Time // tests: the clock
}

func (o *Options) complete() error {
	switch {
	case o.Path == "":
		return errors.New("local store: path is empty; name a directory")
	case o.Sync != SyncAlways && o.Sync != SyncInterval:
		return fmt.Errorf("local store: unknown sync mode %d", o.Sync)
	case o.SyncInterval < 0 || o.Retention < 0 || o.MaxBytes < 0 || o.MaxRecord < 0:
		return errors.New("local store: sync interval, retention, max bytes and max record must not be negative")
	}
	if o.SyncInterval == 0 {
		o.SyncInterval = DefaultSyncInterval
	}
	if o.MaxRecord == 0 {
		o.MaxRecord = DefaultMaxRecord
	}
	if o.MinFree == 0 {
		o.MinFree = DefaultMinFree
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.fs == nil {
		o.fs = vfs.Default
	}
	if o.now == nil {
		o.now = time.Now
	}
	return nil
}
