package config

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/lmqgate/lmqgate/internal/regular"
)

// adminTokenFile keeps a generated admin token, in node.data_dir.
const adminTokenFile = "admin-token"

// maxToken bounds the file of a token, in bytes.
const maxToken = 4096

// MakeAdminToken returns the token of this node's admin API: admin.token or, if that is empty, the token stored in node.data_dir. If
// neither exists, it creates one; made is then the path of the new file, which only its owner can read.
func (c *Config) MakeAdminToken() (token, made string, err error) {
	if token, err = c.adminToken(true); token != "" || err != nil {
		return token, "", err
	}
	path := c.AdminTokenPath()
	if err := keepOnce(path, rand.Text()); err != nil {
		return "", "", fmt.Errorf("keep a token for the admin API: %w; make node.data_dir one that the gateway may write in, or set admin.token", err)
	}
	token, err = c.adminToken(true)
	return token, path, err
}

// FindAdminToken is MakeAdminToken for callers of the admin API: it never creates a token, and returns "" if there is none. The caller may
// be root, and sends what it returns to the gateway. So the file must be that of the gateway's user, who owns node.data_dir, or the
// caller's.
func (c *Config) FindAdminToken() (string, error) { return c.adminToken(false) }

// adminToken returns the token. serves says that the caller is the gateway: then the file must be the caller's or root's.
func (c *Config) adminToken(serves bool) (string, error) {
	if c.Admin.Token != "" {
		return c.Admin.Token.Reveal(), nil
	}
	path := c.AdminTokenPath()
	f, err := regular.OpenUnlinked(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if errors.Is(err, regular.ErrNot) {
		return "", fmt.Errorf("read the admin token: %w, or delete it, and the gateway makes one at its next start", err)
	}
	if err != nil {
		return "", fmt.Errorf("read the admin token: %w; be the user that the gateway runs as, or set admin.token", err)
	}
	defer f.Close()
	text := make([]byte, maxToken)
	n, err := f.Read(text)
	info, statErr := f.Stat()
	dir, dirErr := os.Stat(filepath.Dir(path))
	token := strings.TrimSpace(string(text[:n]))
	switch {
	case statErr != nil || dirErr != nil:
		return "", fmt.Errorf("read the admin token: %w", cmp.Or(statErr, dirErr))
	case !serves && foreign(info, dir, os.Geteuid()):
		return "", fmt.Errorf("%s belongs neither to the owner of its directory nor to you, or has another name too, so it may be no admin token; run the command as the user that the gateway runs as, or set admin.token", path)
	case info.Mode().Perm()&0o077 != 0 || serves && !ownedBy(info, os.Geteuid()):
		return "", fmt.Errorf("%s holds the admin token, and others than its owner may read or change it; delete it, and the gateway makes another at its next start", path)
	case err != nil && n == 0 || len(token) < minToken || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "", fmt.Errorf("%s holds no admin token of at least %d bytes; delete it, and the gateway makes another at its next start", path, minToken)
	}
	return token, nil
}

// AdminTokenPath is the file with the generated admin token, which there is only if admin.token is empty.
func (c *Config) AdminTokenPath() string { return filepath.Join(c.Node.DataDir, adminTokenFile) }
