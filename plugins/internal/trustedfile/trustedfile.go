// Package trustedfile reads the files that say whom a plugin trusts: users, keys, secrets.
package trustedfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/lmqgate/lmqgate/internal/exposed"
	"github.com/lmqgate/lmqgate/internal/regular"
)

// othersMayWrite is the mode bit of world-writable files: everybody could grant themselves every right in such a file.
const othersMayWrite = 0o002

// ReadSecret is Read for a file with secrets: it also refuses one that every user of the machine may read.
func ReadSecret(path string, max int64) ([]byte, error) {
	if err := CheckSecret(path); err != nil {
		return nil, err
	}
	return Read(path, max)
}

// CheckSecret refuses a file with secrets that every user of the machine may read. The error does not name the path.
func CheckSecret(path string) error {
	if exposed.ToOthers(path) {
		return errors.New("may be read by every user of this machine, and holds secrets; run `chmod o-rwx` on it")
	}
	return nil
}

// Read reads a regular file of at most max bytes that is not world-writable. The error does not name the path.
func Read(path string, max int64) ([]byte, error) {
	f, err := regular.Open(path)
	if errors.Is(err, regular.ErrNot) {
		return nil, fmt.Errorf("is %w", regular.ErrNot)
	}
	if err != nil {
		return nil, pathless(err)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, pathless(err)
	case info.Mode().Perm()&othersMayWrite != 0:
		return nil, errors.New("may be written by everybody; run `chmod o-w` on it")
	}
	text, err := io.ReadAll(io.LimitReader(f, max+1))
	if err == nil && int64(len(text)) > max {
		err = fmt.Errorf("is larger than %d bytes", max)
	}
	return text, pathless(err)
}

// pathless drops the path from an error, for messages that name it already.
func pathless(err error) error {
	if p := new(fs.PathError); errors.As(err, &p) {
		return fmt.Errorf("cannot be read: %w", p.Err)
	}
	return err
}
