package pluginhost

import (
	"os"
	"path/filepath"
	"strings"
)

// The plugins' unix sockets are in a directory that only this user can enter. A gateway that is killed leaves it behind, so
// each directory holds a file that its owner keeps locked, and a starting gateway removes the directories whose lock is free.
const (
	socketPrefix = "lmqgate-plugins-"
	lockName     = "lock"
	// maxTempPath keeps a socket's path below the 104 to 108 bytes that systems allow.
	maxTempPath = 40
)

type socketDir struct {
	path string
	lock *os.File
}

func newSocketDir() (*socketDir, error) {
	temp := os.TempDir()
	if len(temp) > maxTempPath {
		temp = "/tmp"
	}
	removeAbandoned(temp)
	path, err := os.MkdirTemp(temp, socketPrefix)
	if err != nil {
		return nil, err
	}
	// The lock file gets its final name only once the lock is held.
	lock, err := os.Create(filepath.Join(path, lockName+".new"))
	if err == nil {
		if !tryLock(lock) {
			err = os.ErrPermission
		} else {
			err = os.Rename(lock.Name(), filepath.Join(path, lockName))
		}
	}
	if err != nil {
		_ = os.RemoveAll(path)
		return nil, err
	}
	return &socketDir{path: path, lock: lock}, nil
}

func (d *socketDir) close() error {
	err := os.RemoveAll(d.path)
	_ = d.lock.Close()
	return err
}

// openLock opens the lock file of a directory that a gateway of this user created. The temporary directory is world-writable, so openLock
// follows no link, does not block on a pipe, and ignores files of other users.
func openLock(path string) (*os.File, error) {
	f, err := openUnlinked(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && (!info.Mode().IsRegular() || !owned(info)) {
		err = os.ErrPermission
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// removeAbandoned removes the directories of gateways that are gone. Directories that cannot be removed belong to somebody else and stay.
func removeAbandoned(temp string) {
	entries, err := os.ReadDir(temp)
	if err != nil {
		return
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), socketPrefix) || !e.IsDir() {
			continue
		}
		path := filepath.Join(temp, e.Name())
		if info, err := e.Info(); err != nil || !owned(info) {
			continue
		}
		lock, err := openLock(filepath.Join(path, lockName))
		if err != nil {
			continue
		}
		if tryLock(lock) {
			_ = os.RemoveAll(path)
		}
		_ = lock.Close()
	}
}
