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

// writableByOthers are the permission bits that let somebody else than the owner change a file.
const writableByOthers fs.FileMode = 0o022

// verified is an executable that may be started.
type verified struct {
	path string // absolute, without symbolic links
	sum  string // "sha256:HEX"
}

// verify finds the executable of a plugin and checks that it is one that only its owner could have put there, and, where a
// checksum is pinned, that it is that one. It is called before every start, because the file may have changed.
func verify(dir, name, pinned string) (verified, error) {
	if name == "" || name != filepath.Base(name) || name == "." || name == ".." {
		return verified{}, fmt.Errorf("%q is not the name of a file in plugins.dir; write the bare name of the executable", name)
	}
	root, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return verified{}, fmt.Errorf("plugins.dir %s cannot be read: %w; build the plugins or correct plugins.dir", dir, cause(err))
	}
	link := filepath.Join(root, name)
	path, err := filepath.EvalSymlinks(link)
	if errors.Is(err, fs.ErrNotExist) {
		return verified{}, fmt.Errorf("there is no executable %s; %s", link, available(root))
	}
	if err != nil {
		return verified{}, fmt.Errorf("%s cannot be read: %w", link, cause(err))
	}
	if !strings.HasPrefix(path, root+string(filepath.Separator)) {
		return verified{}, fmt.Errorf("%s leads out of plugins.dir, to %s; put the file itself into the directory", link, path)
	}
	info, err := os.Stat(path)
	if err != nil {
		return verified{}, fmt.Errorf("%s cannot be read: %w", path, cause(err))
	}
	switch {
	case !info.Mode().IsRegular():
		return verified{}, fmt.Errorf("%s is not a regular file", path)
	case info.Mode().Perm()&0o111 == 0:
		return verified{}, fmt.Errorf("%s is not executable; run: chmod u+x %s", path, path)
	case info.Mode().Perm()&writableByOthers != 0:
		return verified{}, fmt.Errorf("%s may be changed by other users (mode %04o); run: chmod go-w %s", path, info.Mode().Perm(), path)
	}
	for at := filepath.Dir(path); ; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		if err != nil {
			return verified{}, fmt.Errorf("%s cannot be read: %w", at, cause(err))
		}
		if info.Mode().Perm()&writableByOthers != 0 {
			return verified{}, fmt.Errorf("the directory %s may be changed by other users (mode %04o); run: chmod go-w %s", at, info.Mode().Perm(), at)
		}
		if at == root {
			break
		}
	}
	sum, err := checksum(path)
	if err != nil {
		return verified{}, fmt.Errorf("%s cannot be read: %w", path, cause(err))
	}
	if pinned != "" {
		want, err := parseChecksum(pinned)
		if err != nil {
			return verified{}, fmt.Errorf("plugins.checksums.%s: %w", name, err)
		}
		if sum != want {
			return verified{}, fmt.Errorf("%s has the checksum %s, but plugins.checksums.%s pins %s; install that file or correct the checksum", path, sum, name, want)
		}
	}
	return verified{path: path, sum: sum}, nil
}

// parseChecksum checks a pinned checksum and answers it in lower case.
func parseChecksum(s string) (string, error) {
	digits, ok := strings.CutPrefix(strings.ToLower(s), "sha256:")
	raw, err := hex.DecodeString(digits)
	if !ok || err != nil || len(raw) != sha256.Size {
		return "", fmt.Errorf("%q is not a checksum; write sha256: and 64 hexadecimal digits, as `sha256sum FILE` prints them", s)
	}
	return "sha256:" + digits, nil
}

func checksum(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, f); err != nil {
		return "", err
	}
	return "sha256:" + hex.EncodeToString(hash.Sum(nil)), nil
}

// available says which plugins there are, for somebody who wrote a name wrong.
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

// cause strips the operation and the path from a file system error, which the message names already.
func cause(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	return err
}
