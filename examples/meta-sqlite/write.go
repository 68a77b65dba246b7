package main

import (
	"context"
	"database/sql"
	"time"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// result is the outcome of a write. failed is the index of the operation whose expectation did not hold, and current is the current entry.
type result struct {
	done     bool
	revision int64
	failed   int
	current  *pluginv1.Entry
}

// change is the effect of an operation on an entry.
type change struct {
	ns, key string
	value   []byte
	remove  bool
	expires int64 // milliseconds since the epoch, 0 for never
	expect  *pluginv1.Expect
}

func target(op *pluginv1.Operation) change {
	if d := op.GetDelete(); d != nil {
		return change{ns: d.GetNamespace(), key: d.GetKey(), remove: true, expect: d.GetExpect()}
	}
	p := op.GetPut()
	c := change{ns: p.GetNamespace(), key: p.GetKey(), value: p.GetValue(), expect: p.GetExpect()}
	if p.GetTtlMs() > 0 {
		c.expires = time.Now().UnixMilli() + 1 + p.GetTtlMs() // the millisecond that has begun does not count
	}
	return c
}

// apply executes all operations, in order, or none. All changes of one call share a revision.
func (d *database) apply(ctx context.Context, ops []*pluginv1.Operation) (res result, err error) {
	err = d.transact(ctx, func(w *writing) (bool, error) {
		for i, op := range ops {
			c := target(op)
			there, err := d.get(ctx, w.tx, c.ns, c.key)
			if err != nil {
				return false, err
			}
			if c.expect != nil && c.expect.GetRevision() != there.GetRevision() {
				res = result{failed: i, current: there}
				return false, nil
			}
			if c.remove && there == nil {
				continue // removing what is absent changes nothing
			}
			if err := w.change(ctx, c); err != nil {
				return false, err
			}
		}
		res = result{done: true, revision: w.revision}
		return true, nil
	})
	return res, err
}

// sweep removes expired entries, which watches see as removals. If nothing has expired, it takes no write lock.
func (d *database) sweep(ctx context.Context) {
	due, err := d.expired(ctx, d.read)
	if err == nil && len(due) > 0 {
		err = d.transact(ctx, func(w *writing) (bool, error) {
			due, err := d.expired(ctx, w.tx) // again: another process may have removed them
			for _, c := range due {
				if err == nil {
					err = w.change(ctx, c)
				}
			}
			return true, err
		})
	}
	if err != nil && ctx.Err() == nil {
		d.log.Warn("what has expired cannot be removed", "error", err)
	}
}

func (d *database) expired(ctx context.Context, q querier) ([]change, error) {
	rows, err := q.QueryContext(
		ctx,
		"SELECT namespace, key FROM entries WHERE expires > 0 AND expires <= ? LIMIT 1000",
		time.Now().UnixMilli(),
	)
	if err != nil {
		return nil, err
	}
	defer rows.Close() //nolint:errcheck // Err returns it
	var due []change
	for rows.Next() {
		var ns string
		var key []byte
		if err := rows.Scan(&ns, &key); err != nil {
			return nil, err
		}
		due = append(due, change{ns: ns, key: string(key), remove: true})
	}
	return due, rows.Err()
}

// writing is a transaction in progress.
type writing struct {
	tx       *sql.Tx
	revision int64 // the last revision; from the first change on, the transaction's own
	changed  bool
}

// transact runs fn in a writing transaction, and commits it if fn says so.
func (d *database) transact(ctx context.Context, fn func(*writing) (commit bool, err error)) error {
	tx, err := d.write.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after a commit it does nothing
	w := &writing{tx: tx}
	if w.revision, _, err = d.counter(ctx, tx); err != nil {
		return err
	}
	commit, err := fn(w)
	if err != nil || !commit || !w.changed {
		return err
	}
	if err := w.finish(ctx, d.maxChanges); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	d.tell(w.revision)
	return nil
}

// change applies one change and records it for watches.
func (w *writing) change(ctx context.Context, c change) error {
	if !w.changed {
		w.changed = true
		w.revision++
	}
	if c.value == nil {
		c.value = []byte{} // nil would be NULL
	}
	var err error
	if c.remove {
		_, err = w.tx.ExecContext(ctx, "DELETE FROM entries WHERE namespace = ? AND key = ?", c.ns, []byte(c.key))
	} else {
		_, err = w.tx.ExecContext(ctx, "INSERT OR REPLACE INTO entries (namespace, key, value, revision, expires) VALUES (?, ?, ?, ?, ?)",
			c.ns, []byte(c.key), c.value, w.revision, c.expires)
	}
	if err != nil {
		return err
	}
	_, err = w.tx.ExecContext(ctx, "INSERT INTO changes (revision, namespace, key, removed, value) VALUES (?, ?, ?, ?, ?)",
		w.revision, c.ns, []byte(c.key), c.remove, c.value)
	return err
}

// finish stores the new revision, and drops the changes of the oldest revisions, each as a whole.
func (w *writing) finish(ctx context.Context, keep int64) error {
	if _, err := w.tx.ExecContext(ctx, "UPDATE counter SET revision = ?", w.revision); err != nil {
		return err
	}
	var old sql.NullInt64
	err := w.tx.QueryRowContext(ctx, "SELECT max(revision) FROM changes WHERE id <= (SELECT max(id) FROM changes) - ?", keep).Scan(&old)
	if err != nil || !old.Valid {
		return err
	}
	if _, err := w.tx.ExecContext(ctx, "DELETE FROM changes WHERE revision <= ?", old.Int64); err != nil {
		return err
	}
	_, err = w.tx.ExecContext(ctx, "UPDATE counter SET floor = ?", old.Int64)
	return err
}
