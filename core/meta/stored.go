package meta

import (
	"context"
	"crypto/sha256"
	"errors"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// stored identifies the version of a value that was seen, so that a later write can be conditional on it. The zero value stands for an
// absent key, on any backend.
type stored struct {
	revision int64
	// generation is the generation of the backend that the revision comes from; 0 if there is no value.
	generation int64
	// sum recognises the value where revisions do not help: after a migration.
	sum [sha256.Size]byte
}

// seen returns the version of an entry that was read in a generation; nil is an absent key.
func seen(e *pluginv1.Entry, generation int64) stored {
	if e == nil {
		return stored{}
	}
	return stored{e.GetRevision(), generation, sha256.Sum256(e.GetValue())}
}

// find reads an entry and returns it with its version.
func (m *Meta) find(ctx context.Context, ns, key string) (*pluginv1.Entry, stored, error) {
	if m.present.absent(ns, key) {
		return nil, stored{}, nil
	}
	generation := m.backend.generation() // read first: a generation that is too old is noticed later, a too new one would not be
	e, err := m.backend.get(ctx, ns, key)
	if err != nil {
		return nil, stored{}, err
	}
	return e, seen(e, generation), nil
}

// rebase translates a version seen in an earlier backend to the present one: the same value is the same version. Errors: ErrConflict.
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

// rebased reports whether a condition failed because its revision came from an earlier backend.
func rebased(err error) bool { return errors.Is(err, errRebased) }

// overwrite writes a value unconditionally.
func (m *Meta) overwrite(ctx context.Context, ns, key string, value []byte) (stored, error) {
	now := stored{sum: sha256.Sum256(value)}
	var err error
	now.revision, now.generation, err = m.writer.writeAt(ctx, put(ns, key, value, 0))
	return now, err
}
