package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// schema of the database: entries has the current state; changes has the history, in order, for watches; counter has the last revision, and
// the revision up to which changes were dropped. Keys are bytes, so their order is that of the contract.
const schema = `
CREATE TABLE IF NOT EXISTS entries (
	namespace TEXT NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL, revision INTEGER NOT NULL, expires INTEGER NOT NULL,
	PRIMARY KEY (namespace, key)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS expiring ON entries (expires) WHERE expires > 0;
CREATE TABLE IF NOT EXISTS changes (
	id INTEGER PRIMARY KEY AUTOINCREMENT, revision INTEGER NOT NULL, namespace TEXT NOT NULL, key BLOB NOT NULL, removed INTEGER NOT NULL,
	value BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS changes_by_revision ON changes (revision);
CREATE TABLE IF NOT EXISTS counter (one INTEGER PRIMARY KEY CHECK (one = 1), revision INTEGER NOT NULL, floor INTEGER NOT NULL);
INSERT OR IGNORE INTO counter VALUES (1, 0, 0);`

const (
	// maxChanges is how many changes a watch may lag behind before it gets "compacted".
	maxChanges = 20_000
	pageRows   = 512
	pageBytes  = 1 << 20
	sweepEvery = 250 * time.Millisecond
	// busyTimeout is how long a write waits for a write of another process; calls of the gateway have 10 s.
	busyTimeout = 5 * time.Second
)

// database is the open file. All state is in the file, so several processes of one machine can share it.
type database struct {
	read, write *sql.DB // write has one connection, so writes of this process queue up instead of finding the file busy
	log         *slog.Logger
	maxChanges  int64

	stop context.CancelFunc
	work sync.WaitGroup // follow and sweep

	mu     sync.Mutex // guards the fields below
	notify chan struct{}
	seen   int64 // the last revision that watches were notified of
	broken error // the error of the last read of follow
}

// querier is a pool or a transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func openDatabase(ctx context.Context, path string, poll time.Duration, log *slog.Logger) (*database, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, err
	}
	// Only the owner may read retained messages. SQLite's files beside it get the same mode.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	_ = f.Close()
	d := &database{log: log, maxChanges: maxChanges, notify: make(chan struct{})}
	// FULL: a commit is on disk. immediate: a writing transaction takes the write lock when it begins.
	if d.write, err = sql.Open("sqlite", source(path, "immediate", "journal_mode(WAL)", "synchronous(FULL)")); err != nil {
		return nil, err
	}
	d.write.SetMaxOpenConns(1)
	if d.read, err = sql.Open("sqlite", source(path, "deferred", "query_only(1)")); err != nil {
		return nil, errors.Join(err, d.write.Close())
	}
	d.read.SetMaxOpenConns(8)
	if _, err = d.write.ExecContext(ctx, schema); err == nil {
		d.seen, _, err = d.counter(ctx, d.write)
	}
	if err != nil {
		return nil, errors.Join(err, d.read.Close(), d.write.Close())
	}
	background, stop := context.WithCancel(context.Background())
	d.stop = stop
	d.work.Go(func() { every(background, poll, d.follow) })
	d.work.Go(func() { every(background, sweepEvery, d.sweep) })
	return d, nil
}

// source returns the driver's name of a database.
func source(path, lock string, pragmas ...string) string {
	busy := fmt.Sprintf("busy_timeout(%d)", busyTimeout.Milliseconds())
	options := url.Values{"_txlock": {lock}, "_pragma": append([]string{busy}, pragmas...)}
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + options.Encode()
}

func (d *database) close() error {
	d.stop()
	d.work.Wait()
	return errors.Join(d.read.Close(), d.write.Close())
}

// every calls fn periodically until ctx ends.
func every(ctx context.Context, pause time.Duration, fn func(context.Context)) {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			fn(ctx)
		}
	}
}

// follow checks for writes of other processes.
func (d *database) follow(ctx context.Context) {
	revision, _, err := d.counter(ctx, d.read)
	if ctx.Err() != nil {
		return
	}
	d.mu.Lock()
	d.broken = err
	d.mu.Unlock()
	if err == nil {
		d.tell(revision)
	}
}

// tell wakes the watches if there is something new.
func (d *database) tell(revision int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if revision > d.seen {
		d.seen = revision
		close(d.notify)
		d.notify = make(chan struct{})
	}
}

// changed returns a channel that is closed when there is something new.
func (d *database) changed() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.notify
}

func (d *database) health() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.broken
}

func (d *database) counter(ctx context.Context, q querier) (revision, floor int64, err error) {
	err = q.QueryRowContext(ctx, "SELECT revision, floor FROM counter").Scan(&revision, &floor)
	return revision, floor, err
}

// get returns an entry, or nil if there is none.
func (d *database) get(ctx context.Context, q querier, ns, key string) (*pluginv1.Entry, error) {
	e := &pluginv1.Entry{Namespace: ns, Key: key}
	err := q.QueryRowContext(ctx,
		"SELECT value, revision FROM entries WHERE namespace = ? AND key = ? AND (expires = 0 OR expires > ?)",
		ns, []byte(key), time.Now().UnixMilli()).Scan(&e.Value, &e.Revision)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil //nolint:nilnil // absent is no error
	}
	return e, err
}

// page returns the entries with a prefix from the key start on, at most rows (0: a default) and about pageBytes.
func (d *database) page(ctx context.Context, ns, prefix, start string, rows int) ([]*pluginv1.Entry, error) {
	if rows <= 0 || rows > pageRows {
		rows = pageRows
	}
	found, err := d.read.QueryContext(ctx,
		"SELECT key, value, revision FROM entries WHERE namespace = ? AND key >= ? AND (expires = 0 OR expires > ?) ORDER BY key LIMIT ?",
		ns, []byte(start), time.Now().UnixMilli(), rows)
	if err != nil {
		return nil, err
	}
	defer found.Close() //nolint:errcheck // Err returns the error
	var out []*pluginv1.Entry
	for size := 0; found.Next() && size < pageBytes; {
		var key []byte
		e := &pluginv1.Entry{Namespace: ns}
		if err := found.Scan(&key, &e.Value, &e.Revision); err != nil {
			return nil, err
		}
		if e.Key = string(key); !strings.HasPrefix(e.Key, prefix) {
			break
		}
		out = append(out, e)
		size += len(key) + len(e.Value)
	}
	return out, found.Err()
}

// since returns the changes of a namespace after a revision, and the last revision that they cover. For a revision below the floor, or
// above the last one (the database was restored from a backup), it reports compaction.
func (d *database) since(ctx context.Context, ns, prefix string, after int64) (*pluginv1.WatchResponse, error) {
	tx, err := d.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true}) // one snapshot for counter and changes
	if err != nil {
		return nil, err
	}
	defer tx.Rollback() //nolint:errcheck // it only read
	revision, floor, err := d.counter(ctx, tx)
	if err != nil {
		return nil, err
	}
	if after < floor || after > revision {
		return &pluginv1.WatchResponse{Compacted: true}, nil
	}
	resp := &pluginv1.WatchResponse{Revision: revision}
	if after == revision {
		return resp, nil
	}
	rows, err := tx.QueryContext(
		ctx,
		"SELECT revision, key, removed, value FROM changes WHERE revision > ? AND namespace = ? ORDER BY id",
		after,
		ns,
	)
	if err != nil {
		return nil, err
	}
	defer rows.Close() //nolint:errcheck // Err returns the error
	last := int64(0)
	for size := 0; rows.Next(); {
		var key []byte
		var removed bool
		ev := &pluginv1.Event{Type: pluginv1.Event_TYPE_PUT, Entry: &pluginv1.Entry{Namespace: ns}}
		if err := rows.Scan(&ev.Entry.Revision, &key, &removed, &ev.Entry.Value); err != nil {
			return nil, err
		}
		if size > pageBytes && ev.GetEntry().GetRevision() > last {
			resp.Revision = last // the rest follows with the next call; a revision is never split
			break
		}
		last = ev.GetEntry().GetRevision()
		if ev.Entry.Key = string(key); !strings.HasPrefix(ev.Entry.Key, prefix) {
			continue
		}
		if removed {
			ev.Type = pluginv1.Event_TYPE_DELETE
		}
		resp.Events = append(resp.Events, ev)
		size += len(key) + len(ev.Entry.Value)
	}
	return resp, rows.Err()
}
