package pluginhost

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// writableByOthers are the permission bits that let users other than the owner change a file.
const writableByOthers fs.FileMode = 0o022

// ErrMissing is wrapped by the error of a plugin that is not installed: the file or plugins.dir does not exist.
var ErrMissing = errors.New("the plugin is not installed")

// missing is an error that matches ErrMissing without adding its text.
type missing struct{ error }

func (missing) Is(target error) bool { return target == ErrMissing }

// verified is an executable that may be started. It holds the verified file open, so that exactly that file is started, and not one that
// has taken its name since. It must be closed.
type verified struct {
	path string // absolute, without symbolic links
	sum  string // "sha256:HEX"
	file *os.File
	info fs.FileInfo
	// image is true if the system runs the file directly; otherwise it is a script, which its interpreter opens by path.
	image bool
}

func (v verified) close() {
	if v.file != nil {
		_ = v.file.Close()
	}
}

// verify finds the executable of a plugin and checks that only its owner could have put it there and, if a checksum is pinned, that the
// checksum matches. It is called before every start, because the file may have changed. Unless it returns an error, the caller must close
// the result.
func verify(dir, name, pinned string) (verified, error) {
	if name == "" || name != filepath.Base(name) || name == "." || name == ".." {
		return verified{}, fmt.Errorf("%q is not the name of a file in plugins.dir; write the bare name of the executable", name)
	}
	root, err := filepath.EvalSymlinks(dir)
	if err != nil {
		unreadable := fmt.Errorf("plugins.dir %s cannot be read: %w; build the plugins or correct plugins.dir", dir, cause(err))
		if errors.Is(err, fs.ErrNotExist) {
			return verified{}, missing{unreadable}
		}
		return verified{}, unreadable
	}
	link := filepath.Join(root, name)
	path, err := filepath.EvalSymlinks(link)
	if errors.Is(err, fs.ErrNotExist) {
		return verified{}, missing{fmt.Errorf("there is no executable %s; %s", link, available(root))}
	}
	if err != nil {
		return verified{}, fmt.Errorf("%s cannot be read: %w", link, cause(err))
	}
	if !strings.HasPrefix(path, root+string(filepath.Separator)) {
		return verified{}, fmt.Errorf("%s leads out of plugins.dir, to %s; put the file itself into the directory", link, path)
	}
	v, err := examine(path)
	if err != nil {
		return verified{}, err
	}
	err = trusted(v, root)
	if err == nil && pinned != "" {
		err = v.is(name, pinned)
	}
	if err != nil {
		v.close()
		return verified{}, err
	}
	return v, nil
}

// examine opens an executable and reads it once. All later checks apply to this open file.
func examine(path string) (verified, error) {
	unreadable := func(err error) (verified, error) {
		return verified{}, fmt.Errorf("%s cannot be read: %w", path, cause(err))
	}
	info, err := os.Stat(path)
	if err != nil {
		return unreadable(err)
	}
	if !info.Mode().IsRegular() { // opening a pipe would block
		return verified{}, fmt.Errorf("%s is not a regular file", path)
	}
	if info.Mode().Perm()&0o111 == 0 {
		return verified{}, fmt.Errorf("%s is not executable; run: chmod u+x %s", path, path)
	}
	f, err := os.Open(path)
	if err != nil {
		return unreadable(err)
	}
	v := verified{path: path, file: f}
	if v.info, err = f.Stat(); err == nil {
		v.sum, v.image, err = digest(f)
	}
	if err != nil {
		_ = f.Close()
		return unreadable(err)
	}
	return v, nil
}

// trusted returns an error if others could have put the file there, or could change it. It checks mode and owner of the file and of the
// directories up to root.
func trusted(v verified, root string) error {
	if mode := v.info.Mode(); mode.Perm()&writableByOthers != 0 {
		return fmt.Errorf("%s may be changed by other users (mode %04o); run: chmod go-w %s", v.path, mode.Perm(), v.path)
	}
	if uid, stranger := ownedByStranger(v.info); stranger {
		return fmt.Errorf("%s belongs to user %d, who may change it; run: chown %d %s", v.path, uid, os.Geteuid(), v.path)
	}
	for at := filepath.Dir(v.path); ; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		if err != nil {
			return fmt.Errorf("%s cannot be read: %w", at, cause(err))
		}
		if info.Mode().Perm()&writableByOthers != 0 {
			return fmt.Errorf("the directory %s may be changed by other users (mode %04o); run: chmod go-w %s", at, info.Mode().Perm(), at)
		}
		if uid, stranger := ownedByStranger(info); stranger {
			return fmt.Errorf("the directory %s belongs to user %d, who may change it; run: chown %d %s", at, uid, os.Geteuid(), at)
		}
		if at == root {
			return nil
		}
	}
}

// is returns an error if the file does not have the pinned checksum.
func (v verified) is(name, pinned string) error {
	want, err := parseChecksum(pinned)
	if err != nil {
		return fmt.Errorf("plugins.checksums.%s: %w", name, err)
	}
	if v.sum != want {
		return fmt.Errorf("%s has the checksum %s, but plugins.checksums.%s pins %s; install that file, or pin the new one with lmqgate plugin check --pin", v.path, v.sum, name, want)
	}
	return nil
}

// unchanged returns an error if the path no longer leads to the examined file. It is called after a start by path.
func (v verified) unchanged() error {
	now, err := os.Stat(v.path)
	if err != nil || !os.SameFile(now, v.info) || now.Size() != v.info.Size() || !now.ModTime().Equal(v.info.ModTime()) {
		return fmt.Errorf("%s was changed while it was being started", v.path)
	}
	return nil
}

// parseChecksum checks a pinned checksum and returns it in lower case.
func parseChecksum(s string) (string, error) {
	digits, ok := strings.CutPrefix(strings.ToLower(s), "sha256:")
	raw, err := hex.DecodeString(digits)
	if !ok || err != nil || len(raw) != sha256.Size {
		return "", fmt.Errorf("%q is not a checksum; write sha256: and 64 hexadecimal digits, as `sha256sum FILE` prints them", s)
	}
	return "sha256:" + digits, nil
}

// digest reads a file to its end.
func digest(f io.Reader) (sum string, image bool, err error) {
	var start [2]byte
	n, err := io.ReadFull(f, start[:])
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return "", false, err
	}
	hash := sha256.New()
	hash.Write(start[:n])
	if _, err := io.Copy(hash, f); err != nil {
		return "", false, err
	}
	return "sha256:" + hex.EncodeToString(hash.Sum(nil)), string(start[:n]) != "#!", nil
}

// available lists the installed plugins, for the error about a misspelt name.
func available(root string) string {
	entries, _ := os.ReadDir(root)
	var names []string
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0 {
			names = append(names, e.Name())
		}
	}
	if len(names) == 0 {
		return "there are no plugins in this directory; build the plugins or correct plugins.dir"
	}
	return "the plugins in this directory are: " + strings.Join(names, ", ")
}

// cause strips operation and path from a file system error, because the message names them already.
func cause(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	return err
}
