// Package regular reads files that must be regular files, such as secrets, keys and certificates. Opening a named pipe in place of one
// would wait for a writer, and hold up the start of the gateway without a word.
package regular

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// ErrNot says that a path leads to something else than a regular file.
var ErrNot = errors.New("not a regular file; put a file with the content in its place")

// Open opens a regular file for reading; links are followed. It does not wait, whatever the path leads to. An error for another kind of
// file wraps ErrNot.
func Open(path string) (*os.File, error) { return open(path, 0) }

// OpenUnlinked is Open for a file in a directory that another user may write in: a symbolic link, which could lead to any file that the
// caller may read, is refused with an error that wraps ErrNot. Links in the path to the directory are followed.
func OpenUnlinked(path string) (*os.File, error) {
	if info, err := os.Lstat(path); err == nil && info.Mode()&fs.ModeSymlink != 0 {
		return nil, fmt.Errorf("%s is a symbolic link, %w", path, ErrNot)
	}
	return open(path, noFollow) // a link that is put there meanwhile is not followed
}

func open(path string, flags int) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|flags, 0)
	if err != nil {
		if errors.Is(err, syscall.ENXIO) { // a socket file
			err = fmt.Errorf("%s is a socket, %w", path, ErrNot)
		}
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is a %s, %w", path, kind(info.Mode()), ErrNot)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

func kind(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "directory"
	case m&fs.ModeNamedPipe != 0:
		return "named pipe"
	}
	return "device"
}

// Read reads a regular file.
func Read(path string) ([]byte, error) {
	f, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

// KeyPair reads a certificate and its private key, as tls.LoadX509KeyPair does.
func KeyPair(certFile, keyFile string) (tls.Certificate, error) {
	cert, err := Read(certFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	key, err := Read(keyFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(cert, key)
}
