package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/config"
)

// small is an image of files that are no binaries.
func small(t *testing.T) Image {
	t.Helper()
	tree := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(tree, "plugins"), 0o755))
	for _, name := range []string{"lmqgate", "plugins/auth-hmac", "plugins/meta-local"} {
		require.NoError(t, os.WriteFile(filepath.Join(tree, name), []byte(name), 0o755))
	}
	return Image{Version: "1.2.3", Revision: "abc", Trees: map[string]string{"arm64": tree, "amd64": tree}, Config: []byte("node: {}\n"),
		Licence: []byte("licence"), Time: time.Unix(1_700_000_000, 0)}
}

// all reads the files of a directory.
func all(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		out[filepath.ToSlash(rel)] = string(b)
		return err
	}))
	return out
}

func TestTheSameInputMakesTheSameImage(t *testing.T) {
	im := small(t)
	one, two := t.TempDir(), t.TempDir()
	require.NoError(t, im.Write(one))
	require.NoError(t, im.Write(two))
	require.Equal(t, all(t, one), all(t, two))
}

func TestEveryBlobIsWhatItsDescriptorSays(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, small(t).Write(dir))
	files := all(t, dir)
	require.JSONEq(t, `{"imageLayoutVersion":"1.0.0"}`, files["oci-layout"])
	seen := 2 // oci-layout and index.json
	var follow func(content string) []descriptor
	read := func(d descriptor) string {
		content, ok := files["blobs/sha256/"+strings.TrimPrefix(d.Digest, "sha256:")]
		require.True(t, ok, d.Digest)
		require.Equal(t, d.Digest, digest([]byte(content)))
		require.Len(t, content, int(d.Size))
		return content
	}
	follow = func(content string) (leaves []descriptor) {
		var m manifest
		require.NoError(t, json.Unmarshal([]byte(content), &m))
		require.Equal(t, 2, m.SchemaVersion)
		for _, d := range m.Manifests {
			leaves = append(leaves, d)
			leaves = append(leaves, follow(read(d))...)
		}
		if m.Config != nil {
			var c imageConfig
			require.NoError(t, json.Unmarshal([]byte(read(*m.Config)), &c))
			require.Equal(t, "65532:65532", c.Config.User)
			require.Len(t, c.RootFS.DiffIDs, len(m.Layers))
			for i, l := range m.Layers {
				z, err := gzip.NewReader(strings.NewReader(read(l)))
				require.NoError(t, err)
				plain, err := io.ReadAll(z)
				require.NoError(t, err)
				require.Equal(t, c.RootFS.DiffIDs[i], digest(plain))
			}
		}
		return leaves
	}
	var platforms []string
	for _, d := range follow(files["index.json"]) {
		if d.Platform != nil {
			platforms = append(platforms, d.Platform.OS+"/"+d.Platform.Architecture)
		}
	}
	require.Equal(t, []string{"linux/amd64", "linux/arm64"}, platforms)
	require.Len(t, files, seen+1+2+2+1, "an index, two manifests, two configurations, and the layer that both share here")
}

func TestTheLayerHasWhatTheGatewayNeedsAndNoMore(t *testing.T) {
	im := small(t)
	packed, _, err := im.layer(im.Trees["amd64"])
	require.NoError(t, err)
	z, err := gzip.NewReader(bytes.NewReader(packed))
	require.NoError(t, err)
	r := tar.NewReader(z)
	modes := map[string]int64{}
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		modes[h.Name] = h.Mode
		if h.Name == "var/lib/lmqgate/" {
			require.Equal(t, uid, h.Uid)
		} else {
			require.Zero(t, h.Uid, h.Name)
			require.True(t, h.Mode&0o022 == 0 || h.Name == "tmp/", "%s can be changed by others", h.Name)
		}
	}
	require.Equal(t, int64(0o755), modes["usr/bin/lmqgate"])
	require.Equal(t, int64(0o755), modes["usr/bin/plugins/auth-hmac"])
	require.Len(t, modes, 12+4+3)
}

func TestATreeWithoutPluginsIsRefused(t *testing.T) {
	im := small(t)
	im.Trees = map[string]string{"amd64": t.TempDir()}
	require.ErrorContains(t, im.Write(t.TempDir()), "no plugins in")
}

func TestTheImagesConfigurationWantsItsSecretsAndThenIsValid(t *testing.T) {
	_, err := config.Load("lmqgate.yaml", nil, nil)
	require.ErrorContains(t, err, "admin.token")
	c, err := config.Load("lmqgate.yaml", nil, []string{"LMQGATE_ADMIN__TOKEN=sixteen-bytes-or-more",
		`LMQGATE_AUTH__CONFIG__USERS=[{"username":"device","secret_key":"a-secret-of-ours"}]`})
	require.NoError(t, err)
	require.Equal(t, home, c.Node.DataDir)
}
