package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// Layout of the file: for each namespace a bucket "n"+namespace that maps "k"+key to revision, expiry and value; a bucket "expiry" with
// expiry, namespace and key of the entries that expire, in order; a bucket "file" with the format and the last revision.
var (
	bucketFile   = []byte("file")
	bucketExpiry = []byte("expiry")
	keyRevision  = []byte("revision")
	keyFormat    = []byte("format")
)

const (
	format       = 1
	maxKeyBytes  = 24 << 10 // bbolt allows 32 KiB, and the expiry bucket adds the namespace
	stampBytes   = 16       // revision and expiry in front of each value
	pageEntries  = 512
	pageBytes    = 1 << 20
	lockFileHint = "is another lmqgate running with it?"
)

// file is the open file. Reads may run concurrently with the only writer (committer).
type file struct {
	db      *bbolt.DB
	path    string
	changes *changes
}

// openDB opens or creates the file; it waits up to wait for another process to release it.
func openDB(path string, wait time.Duration) (*file, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, fmt.Errorf("metadata file %s: %w", path, err)
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: wait, FreelistType: bbolt.FreelistMapType})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("metadata file %s is held by another process; %s", path, lockFileHint)
	}
	if err != nil {
		return nil, fmt.Errorf("metadata file %s cannot be opened: %w; restore it from a backup or move it away", path, err)
	}
	f := &file{db: db, path: path}
	var revision int64
	err = db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(bucketFile)
		if err != nil {
			return err
		}
		if _, err := tx.CreateBucketIfNotExists(bucketExpiry); err != nil {
			return err
		}
		if v := b.Get(keyFormat); v != nil && !bytes.Equal(v, []byte{format}) {
			return fmt.Errorf("its format is %v, this plugin knows %d; run the version of lmqgate that made it", v, format)
		}
		if v := b.Get(keyRevision); len(v) == 8 {
			revision = int64(binary.BigEndian.Uint64(v))
		}
		return b.Put(keyFormat, []byte{format})
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("metadata file %s: %w", path, err), db.Close())
	}
	f.changes = newChanges(revision)
	return f, nil
}

func (f *file) close() error {
	if err := f.db.Close(); err != nil {
		return fmt.Errorf("close metadata file %s: %w", f.path, err)
	}
	return nil
}

// stored is an entry as the file holds it.
type stored struct {
	revision int64
	expires  int64 // milliseconds since the epoch, 0 for never
	value    []byte
}

func (s stored) bytes() []byte {
	b := make([]byte, stampBytes, stampBytes+len(s.value))
	binary.BigEndian.PutUint64(b, uint64(s.revision))
	binary.BigEndian.PutUint64(b[8:], uint64(s.expires))
	return append(b, s.value...)
}

// read decodes an entry. The value is valid only during the transaction.
func read(b []byte) (stored, bool) {
	if len(b) < stampBytes {
		return stored{}, false
	}
	return stored{int64(binary.BigEndian.Uint64(b)), int64(binary.BigEndian.Uint64(b[8:])), b[stampBytes:]}, true
}

func (s stored) expired(now time.Time) bool { return s.expires != 0 && s.expires <= now.UnixMilli() }

func (s stored) entry(ns, key string) *pluginv1.Entry {
	return &pluginv1.Entry{Namespace: ns, Key: key, Value: bytes.Clone(s.value), Revision: s.revision}
}

func bucketName(ns string) []byte { return append([]byte("n"), ns...) }
func itemKey(key string) []byte   { return append([]byte("k"), key...) }

// lookup finds a live entry; a nil bucket is an empty one.
func lookup(b *bbolt.Bucket, key string, now time.Time) (stored, bool) {
	if b == nil {
		return stored{}, false
	}
	s, ok := read(b.Get(itemKey(key)))
	return s, ok && !s.expired(now)
}

func (f *file) get(ns, key string) (e *pluginv1.Entry, err error) {
	err = f.db.View(func(tx *bbolt.Tx) error {
		if s, ok := lookup(tx.Bucket(bucketName(ns)), key, time.Now()); ok {
			e = s.entry(ns, key)
		}
		return nil
	})
	return e, err
}

// page reads entries of a namespace from cursor on ("" for the start). next is the cursor of the next page, "" if there is none.
func (f *file) page(ns, prefix, cursor string, max int) (entries []*pluginv1.Entry, next string, err error) {
	if max <= 0 || max > pageEntries {
		max = pageEntries
	}
	err = f.db.View(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketName(ns))
		if b == nil {
			return nil
		}
		from, want := itemKey(prefix), itemKey(prefix)
		if cursor != "" {
			from = []byte(cursor)
		}
		now, size := time.Now(), 0
		c := b.Cursor()
		for k, v := c.Seek(from); k != nil && bytes.HasPrefix(k, want); k, v = c.Next() {
			if len(entries) >= max || size >= pageBytes {
				next = string(k)
				return nil
			}
			s, ok := read(v)
			if !ok || s.expired(now) {
				continue
			}
			entries = append(entries, s.entry(ns, string(k[1:])))
			size += len(k) + len(v)
		}
		return nil
	})
	return entries, next, err
}

// expiryKey returns a key that orders entries by expiry time.
func expiryKey(expires int64, ns, key string) []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(expires))
	b = binary.BigEndian.AppendUint16(b, uint16(len(ns)))
	b = append(b, ns...)
	return append(b, key...)
}

func readExpiryKey(b []byte) (expires int64, ns, key string, ok bool) {
	if len(b) < 10 {
		return 0, "", "", false
	}
	n := int(binary.BigEndian.Uint16(b[8:]))
	if len(b) < 10+n {
		return 0, "", "", false
	}
	return int64(binary.BigEndian.Uint64(b)), string(b[10 : 10+n]), string(b[10+n:]), true
}

// due reports whether something has expired.
func (f *file) due(now time.Time) (due bool, err error) {
	err = f.db.View(func(tx *bbolt.Tx) error {
		k, _ := tx.Bucket(bucketExpiry).Cursor().First()
		expires, _, _, ok := readExpiryKey(k)
		due = ok && expires <= now.UnixMilli()
		return nil
	})
	return due, err
}
