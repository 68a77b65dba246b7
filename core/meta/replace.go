package meta

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// replace writes a value if the key still holds what was seen as at. It returns the new version, or ErrConflict. Without compare-and-set it
// checks the revision before the write.
func (m *Meta) replace(ctx context.Context, ns, key string, value []byte, at stored) (stored, error) {
	begin := time.Now()
	conflict := fmt.Errorf("write %s %q: %w", ns, key, ErrConflict)
	now := stored{sum: sha256.Sum256(value)}
	for {
		moved, err := m.rebase(ctx, ns, key, at)
		if rebased(err) {
			// An earlier attempt may have been applied before the migration.
			if _, there, err := m.find(ctx, ns, key); err == nil && there.sum == now.sum && there.revision != 0 {
				return there, nil
			}
			return stored{}, conflict
		}
		if err != nil {
			return stored{}, err
		}
		at = moved
		if !m.traits().GetCompareAndSet() {
			e, have, err := m.find(ctx, ns, key)
			switch {
			case err != nil:
				return stored{}, err
			case have.generation != at.generation && e != nil && at.generation != 0:
				continue // migrated since
			case have.revision != at.revision:
				return stored{}, conflict
			}
			now.revision, now.generation, err = m.writer.writeAt(ctx, put(ns, key, value, 0))
			return now, err
		}
		out, err := m.backend.putIf(ctx, ns, key, value, at, 0)
		if rebased(err) {
			continue
		}
		if err != nil {
			return stored{}, err
		}
		if !out.done {
			return stored{}, conflict
		}
		m.metrics.writes.Observe(time.Since(begin).Seconds())
		op := put(ns, key, value, 0)
		m.applied(op, out.revision, out.generation)
		now.revision, now.generation = out.revision, out.generation
		return now, m.announce(ctx, op)
	}
}

// removeIf removes a key if it still holds what was seen as at, and reports whether it did. Without compare-and-set it has the same
// weakness as replace.
func (m *Meta) removeIf(ctx context.Context, ns, key string, at stored) (bool, error) {
	at, err := m.rebase(ctx, ns, key, at)
	if rebased(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if m.traits().GetCompareAndSet() {
		out, err := m.backend.deleteIf(ctx, ns, key, at)
		if rebased(err) {
			return false, nil
		}
		if err != nil || !out.done {
			return false, err
		}
		op := remove(ns, key)
		m.applied(op, out.revision, out.generation)
		return true, m.announce(ctx, op)
	}
	e, err := m.backend.get(ctx, ns, key)
	if err != nil || e == nil || e.GetRevision() != at.revision {
		return false, err
	}
	_, err = m.writer.write(ctx, remove(ns, key))
	return err == nil, err
}

// announce tells polling nodes about a conditional write. Batches carry their announcement with them.
func (m *Meta) announce(ctx context.Context, op *pluginv1.Operation) error {
	if bump := m.bump([]*pluginv1.Operation{op}); bump != nil {
		_, err := m.writer.write(ctx, bump)
		return err
	}
	return nil
}

// replaceWith is replace with further operations that are performed only if the condition holds. If they do not fit one batch, the value is
// written with each batch, so that nobody else can write in between.
func (m *Meta) replaceWith(ctx context.Context, ns, key string, value []byte, at stored, with []*pluginv1.Operation) (stored, error) {
	conflict := fmt.Errorf("write %s %q: %w", ns, key, ErrConflict)
	at, err := m.rebase(ctx, ns, key, at)
	if rebased(err) {
		return stored{}, conflict
	}
	if err != nil {
		return stored{}, err
	}
	now := stored{sum: sha256.Sum256(value)}
	if t := m.traits(); !t.GetCompareAndSet() || !t.GetAtomicBatch() {
		_, have, err := m.find(ctx, ns, key)
		if err != nil {
			return stored{}, err
		}
		if have.revision != at.revision || have.generation != at.generation {
			return stored{}, conflict
		}
		// The value comes last: what it refers to then exists already.
		now.revision, now.generation, err = m.writer.writeAt(ctx, append(with, put(ns, key, value, 0))...)
		return now, err
	}
	begin := time.Now()
	for len(with) > 0 {
		n := min(m.writer.fit(with), maxBatchOperations-1)
		out, err := m.backend.batchIf(ctx, ns, key, value, at, with[:n])
		if rebased(err) || err == nil && !out.done {
			return stored{}, conflict
		}
		if err != nil {
			return stored{}, err
		}
		at = stored{out.revision, out.generation, now.sum}
		with = with[n:]
	}
	m.metrics.writes.Observe(time.Since(begin).Seconds())
	return at, nil
}

// removeOver removes keys of a namespace that is in memory, as long as they are over. It stops at the first key that cannot be removed.
func (m *Meta) removeOver(ctx context.Context, ns string, keys []string, over func(key string) bool) error {
	for _, key := range keys {
		// Read the revision first, then look again: a new value may have replaced the record meanwhile.
		revision := m.mirrors[ns].revision(key)
		if revision.revision == 0 || !over(key) {
			continue
		}
		if _, err := m.removeIf(ctx, ns, key, revision); err != nil {
			return err
		}
	}
	return nil
}
