package socket

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"
	"syscall"
	"time"
)

// socketFile is a listener on a socket file. Closing it removes the file.
type socketFile struct {
	*net.UnixListener
	path string
}

// ListenUnix listens on a socket file with the given permissions. It replaces a file that an earlier process left behind, but no socket on
// which somebody listens and no file of another kind.
func ListenUnix(path string, permissions fs.FileMode) (net.Listener, error) {
	if err := freeSocket(path); err != nil {
		return nil, err
	}
	// Bind under a temporary name, so that nobody can connect before the permissions are set.
	temporary := path + "." + strconv.Itoa(os.Getpid())
	if err := os.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: temporary, Net: "unix"})
	if err != nil {
		return nil, err
	}
	ln.SetUnlinkOnClose(false)
	err = os.Chmod(temporary, permissions)
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err != nil {
		_ = ln.Close()
		_ = os.Remove(temporary)
		return nil, err
	}
	return &socketFile{UnixListener: ln, path: path}, nil
}

// freeSocket returns nil if a path can be listened on: there is no file, or a socket on which nobody listens.
func freeSocket(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s is there and is no socket", path)
	}
	nc, err := net.DialTimeout("unix", path, time.Second)
	switch {
	case err == nil:
		_ = nc.Close()
		return fmt.Errorf("%s is in use by another process", path)
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
		return nil // left behind by an earlier process
	default:
		return err
	}
}

// Addr implements net.Listener.
func (s *socketFile) Addr() net.Addr { return &net.UnixAddr{Name: s.path, Net: "unix"} }

// Close implements net.Listener.
func (s *socketFile) Close() error {
	err := s.UnixListener.Close()
	if err == nil {
		err = os.Remove(s.path)
	}
	return err
}

var _ net.Listener = (*socketFile)(nil)
