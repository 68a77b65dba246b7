package meta

import (
	"context"
	"crypto/sha256"
	"errors"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// stored says which version of a value somebody has seen, so that a later write can be made on condition that it is still there.
// The zero value is that of a key which is not there, whatever the backend.
type stored struct {
	revision int64
	// generation is of the backend that the revision is from; 0 where there is no value.
	generation int64
	// sum recognises the value where revisions do not help: after a migration.
	sum [sha256.Size]byte
}

// seen describes an entry that was read from a generation; nil is a key that is not there.
func seen(e *pluginv1.Entry, generation int64) stored {
	if e == nil {
		return stored{}
	}
	return stored{e.GetRevision(), generation, sha256.Sum256(e.GetValue())}
}

// find reads an entry and says what was seen.
func (m *Meta) find(ctx context.Context, ns, key string) (*pluginv1.Entry, stored, error) {
	if m.present.absent(ns, key) {
		return nil, stored{}, nil
	}
	generation := m.backend.generation() // before: an older one is noticed, a newer one would not be
	e, err := m.backend.get(ctx, ns, key)
	if err != nil {
		return nil, stored{}, err
	}
	return e, seen(e, generation), nil
}

// rebase finds what was seen in an earlier backend in the present one: the same value is the same version. ErrConflict.
func (m *Meta) rebase(ctx context.Context, ns, key string, at stored) (stored, error) {
	if at.generation == 0 || at.generation == m.backend.generation() {
		return at, nil
	}
	_, now, err := m.find(ctx, ns, key)
	if err != nil {
		return stored{}, err
	}
	if now.sum != at.sum {
		return stored{}, errRebased
	}
	return now, nil
}

// rebased reports whether a condition failed because its revision was of an earlier backend.
func rebased(err error) bool { return errors.Is(err, errRebased) }

// overwrite writes a value whatever is there.
func (m *Meta) overwrite(ctx context.Context, ns, key string, value []byte) (stored, error) {
	now := stored{sum: sha256.Sum256(value)}
	var err error
	now.revision, now.generation, err = m.writer.writeAt(ctx, put(ns, key, value, 0))
	return now, err
}
