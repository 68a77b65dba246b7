package config

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
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
	info, err := os.Stat(c.adminTokenPath())
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
			require.NoError(t, os.WriteFile(c.adminTokenPath(), []byte(tc.text), 0o600))
			require.NoError(t, os.Chmod(c.adminTokenPath(), tc.mode))
			_, err := c.FindAdminToken()
			require.ErrorContains(t, err, c.adminTokenPath())
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
