package local

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/lmqgate/lmqgate/core/store"
)

const (
	// stallRetry is the pause between attempts to write to a full disk. stallPatience is how long appends wait for the disk before they
	// fail.
	stallRetry    = 200 * time.Millisecond
	stallPatience = 3 * time.Second
)

// walFS hides errors of the write-ahead log from pebble, which exits the process on some of them.
//
// If the disk is full, the write is retried until it succeeds. Meanwhile appends are refused, and those in flight fail after stallPatience.
// Any other error, and every failed sync, is final, because after a failed sync nobody knows what is on the disk. The store fails, and the
// goroutine that met the error is parked for ever: it could return nothing to pebble that would keep the process alive.
type walFS struct {
	vfs.FS
	s *Store
}

var _ vfs.FS = (*walFS)(nil)

// Unwrap implements vfs.FS.
func (f *walFS) Unwrap() vfs.FS { return f.FS }

func isWAL(name string) bool { return strings.HasSuffix(name, ".log") }

// Create creates a file.
func (f *walFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if !isWAL(name) {
		return f.FS.Create(name, category)
	}
	return f.open(name, func() (vfs.File, error) { return f.FS.Create(name, category) })
}

// ReuseForWrite creates a file from an old one.
func (f *walFS) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if !isWAL(newname) {
		return f.FS.ReuseForWrite(oldname, newname, category)
	}
	return f.open(newname, func() (vfs.File, error) {
		if file, err := f.FS.ReuseForWrite(oldname, newname, category); err == nil {
			return file, nil
		}
		return f.FS.Create(newname, category) // reuse is only an optimization
	})
}

func (f *walFS) open(name string, open func() (vfs.File, error)) (vfs.File, error) {
	var file vfs.File
	err := f.s.insist("create", name, func() (err error) {
		file, err = open()
		return err
	})
	if err != nil {
		return nil, err
	}
	return &walFile{File: file, s: f.s, name: name}, nil
}

// OpenDir opens a directory, which pebble syncs after creating a log file.
func (f *walFS) OpenDir(name string) (vfs.File, error) {
	dir, err := f.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &walFile{File: dir, s: f.s, name: name}, nil
}

// walFile is a file of the write-ahead log, or a directory.
type walFile struct {
	vfs.File
	s    *Store
	name string
}

// Write writes all of p.
func (f *walFile) Write(p []byte) (int, error) {
	rest := p
	err := f.s.insist("write", f.name, func() error {
		n, err := f.File.Write(rest)
		rest = rest[n:]
		return err
	})
	return len(p) - len(rest), err
}

// Preallocate is only an optimization, so its errors do not matter.
func (f *walFile) Preallocate(offset, length int64) error {
	_ = f.File.Preallocate(offset, length)
	return nil
}

// Sync syncs the file.
func (f *walFile) Sync() error { return f.must("sync", f.File.Sync()) }

// SyncData syncs the file's data.
func (f *walFile) SyncData() error { return f.must("sync", f.File.SyncData()) }

// SyncTo syncs the beginning of the file.
func (f *walFile) SyncTo(length int64) (bool, error) {
	full, err := f.File.SyncTo(length)
	return full, f.must("sync", err)
}

// Close closes the file.
func (f *walFile) Close() error { return f.must("close", f.File.Close()) }

func (f *walFile) must(what string, err error) error {
	if err != nil {
		if !f.s.opened.Load() {
			return err
		}
		f.s.park(fmt.Errorf("%s %q: %w", what, f.name, err))
	}
	return nil
}

// insist retries as long as the disk is full. While the store is being opened it tries once and returns the error.
func (s *Store) insist(what, name string, try func() error) error {
	var since time.Time
	for {
		err := try()
		if err == nil {
			break
		}
		if !s.opened.Load() {
			return err
		}
		err = fmt.Errorf("%s %q: %w", what, name, err)
		if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
			s.park(err)
		}
		if since.IsZero() {
			since = time.Now()
			s.opts.Log.Error("local store: the disk is full, appends are refused; free some space", "path", s.opts.Path, "error", err)
		}
		refusal := fmt.Errorf("local store: the disk of %q is full, free some space: %w (%w)", s.opts.Path, store.ErrUnavailable, err)
		s.stalled.Store(&refusal)
		if time.Since(since) >= stallPatience {
			s.failInFlight(refusal)
		}
		select {
		case <-s.stop: // nobody will wait for the space any more
			s.park(err)
		case <-time.After(stallRetry):
		}
	}
	if !since.IsZero() {
		s.stalled.Store(nil)
		s.opts.Log.Info("local store: the disk has space again, appends are accepted", "path", s.opts.Path)
	}
	return nil
}

// park fails the store and never returns.
func (s *Store) park(cause error) {
	s.fail(cause)
	s.parking.Do(func() { close(s.parked) })
	select {}
}
