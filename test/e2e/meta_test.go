package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/plugins/meta-etcd/etcdtest"
)

func TestExportedMetadataIsImportedElsewhere(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.Start(t, etcdtest.Options{})
	g := start(t, localProfile)
	sub := g.connect(t, "sleeper", persistent)
	sub.subscribe("moved/+", 1)
	sub.leave()
	pub := g.connect(t, "publisher")
	pub.publishRetain("moved/kept", 1, true, "retained")
	pub.publishRetain("moved/gone", 1, true, "x")
	pub.publishRetain("moved/gone", 1, true, "")
	pub.leave()
	file := filepath.Join(t.TempDir(), "meta.jsonl")

	held := g.CLI("meta", "export", "--config", g.config())
	require.Equal(t, 1, held.code)
	require.Contains(t, held.stderr, "is another lmqgate running with it?")
	require.Equal(t, 1, strings.Count(held.stderr, "\n"), held.stderr)
	g.Stop()
	require.Contains(t, g.CLI("meta", "export", "--config", g.config(), "--output", file).OK(), "exported ")
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	g.edit(func(s settings) { s["meta"] = etcdMeta(etcd, "/lmqgate") })
	cut := filepath.Join(t.TempDir(), "cut.jsonl")
	require.NoError(t, os.WriteFile(cut, text[:len(text)-10], 0o600))
	refused := g.CLI("meta", "import", "--config", g.config(), cut)
	require.Equal(t, 1, refused.code)
	require.Contains(t, refused.stderr, "truncated")

	dry := g.CLI("meta", "import", "--config", g.config(), "--dry-run", file).OK()
	require.NotContains(t, dry, " 0 are missing")
	require.Equal(t, dry, g.CLI("meta", "import", "--config", g.config(), "--dry-run", file).OK(), "nothing was written")
	require.Contains(t, g.CLI("meta", "import", "--config", g.config(), file).OK(), "imported ")
	require.Contains(t, g.CLI("meta", "import", "--config", g.config(), file).OK(), "imported 0 entries")

	// The same gateway, with its metadata elsewhere.
	g.Start()
	sub = g.connect(t, "sleeper", persistent)
	require.True(t, sub.present)
	pub = g.connect(t, "publisher")
	pub.publishRetain("moved/kept", 1, true, "later")
	fresh := g.connect(t, "fresh")
	fresh.subscribe("moved/#", 1)
	require.Equal(t, "later", string(fresh.await(1)[0].Payload()))
	eventually(t, patience, func() error {
		if got := byTopic(sub.messages()); !slices.Contains(got["moved/kept"], "later") {
			return fmt.Errorf("the sleeper has %q", got)
		}
		return nil
	})

	other := g.CLI("meta", "import", "--config", g.config(), file)
	require.Equal(t, 1, other.code)
	require.Contains(t, other.stderr, `"moved/kept" has another value`)
	require.Contains(t, other.stderr, "nothing was written")
	require.Contains(t, g.CLI("meta", "measure", "--config", g.config(), "--keys", "300").OK(), "list: 300 keys")
}
