package pluginhost

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// frozenDir holds the plugin that was written for version 1 of the contract.
const frozenDir = "../../test/frozenplugin/v1"

func TestTodaysHostWorksWithAFrozenPlugin(t *testing.T) {
	h, _ := newHost(t)
	for _, name := range []string{"frozen-auth", "frozen-meta"} {
		installProgram(t, frozenDir, h.opts.Dir, name)
	}
	a, err := h.Start(t.Context(), "frozen-auth", pluginv1.Kind_KIND_AUTH, map[string]any{"password": "frozen-password"})
	require.NoError(t, err)
	require.Equal(t, 1, a.Info().Contract)
	require.True(t, a.Info().Secure)
	connection := &pluginv1.Connection{ClientId: "c", HasUsername: true, Username: "alice", MqttVersion: 5}
	admitted, err := a.Auth().Authenticate(t.Context(), &pluginv1.AuthenticateRequest{
		Connection: connection, HasPassword: true, Password: []byte("frozen-password"),
	})
	require.NoError(t, err)
	require.Equal(t, pluginv1.Reason_REASON_OK, admitted.GetReason(), admitted.GetDetail())
	decided, err := a.Auth().Authorize(t.Context(), &pluginv1.AuthorizeRequest{
		Client: &pluginv1.Client{Connection: connection, Identity: admitted.GetIdentity(), Attributes: admitted.GetAttributes(), AdmittedBy: "frozen-auth"},
		Actions: []*pluginv1.Action{
			{Kind: pluginv1.ActionKind_ACTION_KIND_PUBLISH, Topic: "u/alice/x"},
			{Kind: pluginv1.ActionKind_ACTION_KIND_PUBLISH, Topic: "u/bob/x"},
		},
	})
	require.NoError(t, err)
	require.Len(t, decided.GetDecisions(), 2)
	require.True(t, decided.GetDecisions()[0].GetAllow())
	require.False(t, decided.GetDecisions()[1].GetAllow())

	_, err = h.Start(t.Context(), "frozen-auth", pluginv1.Kind_KIND_AUTH, map[string]any{"pasword": "frozen-password"})
	require.ErrorContains(t, err, "auth.config.password: is required")

	m, err := h.Start(t.Context(), "frozen-meta", pluginv1.Kind_KIND_META, nil)
	require.NoError(t, err)
	put, err := m.Meta().Put(t.Context(), &pluginv1.PutRequest{Namespace: "n", Key: "k", Value: []byte("v"), Expect: &pluginv1.Expect{}})
	require.NoError(t, err)
	require.True(t, put.GetDone())
	stream, err := m.Meta().List(t.Context(), &pluginv1.ListRequest{Namespace: "n"})
	require.NoError(t, err)
	page, err := stream.Recv()
	require.NoError(t, err)
	require.Len(t, page.GetEntries(), 1)
	require.Equal(t, put.GetRevision(), page.GetEntries()[0].GetRevision())
	_, err = stream.Recv()
	require.ErrorIs(t, err, io.EOF)
}

func TestTheFrozenPluginIsFrozenAndStandsAlone(t *testing.T) {
	sums, err := os.ReadFile(filepath.Join(frozenDir, "SHA256SUMS"))
	require.NoError(t, err)
	listed := make(map[string]bool)
	for line := range strings.Lines(string(sums)) {
		want, name, ok := strings.Cut(strings.TrimSpace(line), "  ")
		require.True(t, ok, line)
		text, err := os.ReadFile(filepath.Join(frozenDir, name))
		require.NoError(t, err)
		sum := sha256.Sum256(text)
		require.Equal(t, want, hex.EncodeToString(sum[:]), "%s was changed; it stands for plugins that are built already", name)
		listed[name] = true
	}
	for _, pattern := range []string{"*.go", "*/*.go"} {
		files, err := filepath.Glob(filepath.Join(frozenDir, pattern))
		require.NoError(t, err)
		for _, file := range files {
			name, err := filepath.Rel(frozenDir, file)
			require.NoError(t, err)
			require.True(t, listed[name], "%s is not in SHA256SUMS", name)
		}
	}
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", frozenDir).Output()
	require.NoError(t, err)
	for line := range strings.Lines(string(out)) {
		if pkg := strings.TrimSpace(line); strings.HasPrefix(pkg, "github.com/lmqgate/lmqgate/") {
			require.True(t, strings.HasPrefix(pkg, "github.com/lmqgate/lmqgate/test/frozenplugin/"), "the frozen plugin imports today's %s", pkg)
		}
	}
}
