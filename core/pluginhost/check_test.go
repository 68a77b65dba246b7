package pluginhost

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

func TestACheckStartsAndConfiguresAndOpensNothing(t *testing.T) {
	t.Parallel()
	h, logs := newHost(t, "plug-auth", "plug-lock")
	lock := filepath.Join(t.TempDir(), "lock")
	p := startAuth(t, h, "plug-lock", map[string]any{"lock": lock})
	got, err := h.Check(t.Context(), h.Spec("plug-lock", pluginv1.Kind_KIND_AUTH, map[string]any{"lock": lock}))
	require.NoError(t, err)
	require.Equal(t, p.Info().Checksum, got.Checksum)
	require.Equal(t, "1.2.3", got.Version)
	require.Equal(t, "auth", got.Kind)
	require.True(t, got.Secure)
	require.False(t, got.Pinned)
	require.True(t, got.Describe.GetExclusive())
	require.NoError(t, p.Healthy())

	marker := filepath.Join(t.TempDir(), "marker")
	_, err = h.Check(t.Context(), h.Spec("plug-auth", pluginv1.Kind_KIND_AUTH, map[string]any{"file": marker}))
	require.NoError(t, err)
	require.NoFileExists(t, marker)
	require.NotContains(t, logs.String(), "msg=activated plugin=plug-auth")
	_, err = h.Check(t.Context(), h.Spec("plug-auth", pluginv1.Kind_KIND_AUTH, map[string]any{"mode": "refuse"}))
	require.ErrorContains(t, err, `plugin "plug-auth": it refuses its configuration: auth.config.secret: is too short`)
	require.Len(t, childrenOf(t, os.Getpid(), h.opts.Dir), 1)
}
