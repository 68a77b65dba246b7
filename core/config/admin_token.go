package config

import (
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
	if token, err = c.adminToken(os.Geteuid()); token != "" || err != nil {
		return token, "", err
	}
	path := c.AdminTokenPath()
	if err := keepOnce(path, rand.Text()); err != nil {
		return "", "", fmt.Errorf("keep a token for the admin API: %w; make node.data_dir one that the gateway may write in, or set admin.token", err)
	}
	token, err = c.adminToken(os.Geteuid())
	return token, path, err
}

// FindAdminToken is MakeAdminToken for callers of the admin API: it never creates a token, and returns "" if there is none.
func (c *Config) FindAdminToken() (string, error) { return c.adminToken(anybody) }

// anybody accepts a token file of any owner: a caller of the API reveals no secret by reading it.
const anybody = -1

func (c *Config) adminToken(owner int) (string, error) {
	if c.Admin.Token != "" {
		return c.Admin.Token.Reveal(), nil
	}
	path := c.AdminTokenPath()
	f, err := regular.Open(path)
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
	token := strings.TrimSpace(string(text[:n]))
	switch {
	case statErr != nil:
		return "", fmt.Errorf("read the admin token: %w", statErr)
	case info.Mode().Perm()&0o077 != 0 || owner != anybody && !ownedBy(info, owner):
		return "", fmt.Errorf("%s holds the admin token, and others than its owner may read or change it; delete it, and the gateway makes another at its next start", path)
	case err != nil && n == 0 || len(token) < minToken || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "", fmt.Errorf("%s holds no admin token of at least %d bytes; delete it, and the gateway makes another at its next start", path, minToken)
	}
	return token, nil
}

// AdminTokenPath is the file with the generated admin token, which there is only if admin.token is empty.
func (c *Config) AdminTokenPath() string { return filepath.Join(c.Node.DataDir, adminTokenFile) }
