package config

import (
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/internal/regular"
)

func TestAnAdminTokenIsMadeOnceAndIsForItsOwner(t *testing.T) {
	c := Default()
	c.Node.DataDir = filepath.Join(t.TempDir(), "new", "data")
	token, err := c.FindAdminToken()
	require.NoError(t, err)
	require.Empty(t, token, "who only asks makes none")

	tokens := make([]string, 8)
	var all sync.WaitGroup
	for i := range tokens {
		all.Go(func() { tokens[i], _, _ = c.MakeAdminToken() })
	}
	all.Wait()
	for _, other := range tokens {
		require.Equal(t, tokens[0], other)
	}
	require.GreaterOrEqual(t, len(tokens[0]), 20)
	info, err := os.Stat(c.AdminTokenPath())
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	entries, err := os.ReadDir(c.Node.DataDir)
	require.NoError(t, err)
	require.Len(t, entries, 1)

	again, made, err := c.MakeAdminToken()
	require.NoError(t, err)
	require.Empty(t, made)
	require.Equal(t, tokens[0], again)

	c.Admin.Token = "chosen-by-the-operator"
	token, _, err = c.MakeAdminToken()
	require.NoError(t, err)
	require.Equal(t, "chosen-by-the-operator", token)
}

func TestAnAdminTokenThatIsNoSecretIsRefused(t *testing.T) {
	cases := []struct {
		name, text string
		mode       os.FileMode
		want       string
	}{
		{"others read it", "0123456789abcdef\n", 0o640, "others than its owner may read or change it; delete it"},
		{"short", "sesame\n", 0o600, "holds no admin token of at least 16 bytes; delete it"},
		{"empty", "", 0o600, "holds no admin token"},
		{"two lines", "0123456789abcdef\n0123456789abcdef\n", 0o600, "holds no admin token"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			c := Default()
			c.Node.DataDir = t.TempDir()
			require.NoError(t, os.WriteFile(c.AdminTokenPath(), []byte(tc.text), 0o600))
			require.NoError(t, os.Chmod(c.AdminTokenPath(), tc.mode))
			_, err := c.FindAdminToken()
			require.ErrorContains(t, err, c.AdminTokenPath())
			require.ErrorContains(t, err, tc.want)
			_, _, err = c.MakeAdminToken()
			require.ErrorContains(t, err, tc.want)
		})
	}
}

func TestATokenThatCannotBeKeptIsToldWithTheRemedy(t *testing.T) {
	c := Default()
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	c.Node.DataDir = filepath.Join(file, "data")
	_, _, err := c.MakeAdminToken()
	require.ErrorContains(t, err, "set admin.token")
}

// Opening a named pipe would wait for ever.
func TestAnAdminTokenInANamedPipeIsRefused(t *testing.T) {
	c := Default()
	c.Node.DataDir = t.TempDir()
	require.NoError(t, syscall.Mkfifo(c.AdminTokenPath(), 0o600))
	for _, take := range []func() (string, error){c.FindAdminToken, func() (string, error) { token, _, err := c.MakeAdminToken(); return token, err }} {
		_, err := take()
		require.ErrorContains(t, err, c.AdminTokenPath()+" is a named pipe, not a regular file")
		require.ErrorContains(t, err, "or delete it, and the gateway makes one")
	}
}

// The gateway's user could lead commands of root to a file of root, and they would send it to the admin port.
func TestALinkInPlaceOfTheAdminTokenIsNotFollowed(t *testing.T) {
	c := Default()
	dir := t.TempDir()
	c.Node.DataDir = filepath.Join(dir, "data")
	require.NoError(t, os.Mkdir(filepath.Join(dir, "real"), 0o700))
	require.NoError(t, os.Symlink("real", c.Node.DataDir)) // the operator's choice
	token, _, err := c.MakeAdminToken()
	require.NoError(t, err)
	found, err := c.FindAdminToken()
	require.NoError(t, err)
	require.Equal(t, token, found)

	other := filepath.Join(dir, "other")
	require.NoError(t, os.Rename(c.AdminTokenPath(), other))
	require.NoError(t, os.Symlink(other, c.AdminTokenPath()))
	for _, take := range []func() (string, error){c.FindAdminToken, func() (string, error) { token, _, err := c.MakeAdminToken(); return token, err }} {
		token, err := take()
		require.Empty(t, token)
		require.ErrorIs(t, err, regular.ErrNot)
		require.ErrorContains(t, err, c.AdminTokenPath()+" is a symbolic link")
		require.ErrorContains(t, err, "or delete it, and the gateway makes one")
	}
}

// owned is a file or directory of a user, with a number of names.
type owned struct {
	fs.FileInfo
	stat syscall.Stat_t
}

func (o *owned) Sys() any { return &o.stat }

func TestAnAdminTokenOfAStrangerIsRefused(t *testing.T) {
	const root, service, me, stranger = 0, 995, 1000, 1001
	of := func(uid uint32, names int) fs.FileInfo {
		o := &owned{}
		o.stat.Uid = uid
		for range names {
			o.stat.Nlink++
		}
		return o
	}
	for name, tc := range map[string]struct {
		file, dir uint32
		names     int
		uid       int
		refused   bool
	}{
		"root reads the gateway's":                  {service, service, 1, root, false},
		"the gateway's, while it is made":           {service, service, 2, root, false},
		"a file of root in the gateway's":           {root, service, 1, root, false}, // a gateway that root has started
		"another name of a file of root":            {root, service, 2, root, true},
		"mine":                                      {me, me, 1, me, false},
		"mine in a directory of root":               {me, root, 1, me, false},
		"a stranger's":                              {stranger, service, 1, root, true},
		"a stranger's, and I am not the gateway":    {stranger, service, 1, me, true},
		"the gateway's in a directory of root":      {service, root, 1, root, true},
		"a stranger's in a directory of my own":     {stranger, me, 1, me, true},
		"the gateway's, and its user runs commands": {service, service, 1, service, false},
	} {
		require.Equal(t, tc.refused, foreign(of(tc.file, tc.names), of(tc.dir, 1), tc.uid), name)
	}

	if os.Geteuid() != root {
		t.Skip("only root can give a file to somebody else")
	}
	c := Default()
	c.Node.DataDir = t.TempDir()
	token, _, err := c.MakeAdminToken()
	require.NoError(t, err)
	require.NoError(t, os.Chown(c.AdminTokenPath(), stranger, -1))
	_, err = c.FindAdminToken()
	require.ErrorContains(t, err, c.AdminTokenPath()+" belongs neither to the owner of its directory nor to you")
	require.ErrorContains(t, err, "run the command as the user that the gateway runs as, or set admin.token")
	require.NoError(t, os.Chown(c.Node.DataDir, stranger, -1))
	found, err := c.FindAdminToken()
	require.NoError(t, err)
	require.Equal(t, token, found)
}

func TestKeysCertificatesAndTheNodesIDInNamedPipesAreRefused(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	for _, text := range []string{
		"auth: {plugin: none}\nlisteners: [{type: tls, address: \":0\", cert_file: " + pipe + ", key_file: lmqgate.yaml}]",
		"auth: {plugin: none}\nlisteners: [{type: tls, address: \":0\", cert_file: lmqgate.yaml, key_file: " + pipe + "}]",
		"admin: {cert_file: lmqgate.yaml, key_file: " + pipe + "}",
		"store:\n  rocketmq: {tls: {enabled: true, ca_file: " + pipe + "}}",
	} {
		_, err := loadText(t, text, nil, nil)
		require.ErrorContains(t, err, pipe+" is a named pipe, not a regular file", text)
	}
	_, err := TLS{Enabled: true, CAFile: pipe}.Client()
	require.ErrorIs(t, err, regular.ErrNot)
	_, err = readNodeID(pipe)
	require.ErrorIs(t, err, regular.ErrNot)
}

func TestAConfigurationFileMayBeANamedPipe(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "lmqgate.yaml")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	written := make(chan error)
	go func() { written <- os.WriteFile(pipe, []byte("node: {id: by-pipe}"), 0o600) }()
	c, err := Load(pipe, nil, nil)
	require.NoError(t, err)
	require.NoError(t, <-written)
	require.Equal(t, "by-pipe", c.Node.ID)
}
