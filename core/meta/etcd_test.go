package meta_test

import (
	"context"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/plugins/meta-etcd/etcdtest"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

func TestMetaEtcdKeepsEverythingOverKillsAndOutages(t *testing.T) {
	c := etcdtest.Start(t, etcdtest.Options{})
	config := map[string]any{"endpoints": c.Endpoints()}
	m, p, stop := run(t, "meta-etcd", config)
	use(t, m)
	check(t, m)
	readable := func() bool {
		s, err := m.LoadSession(context.Background(), "c/ü \"")
		return err == nil && s != nil
	}
	require.NoError(t, syscall.Kill(p.Info().PID, syscall.SIGKILL))
	wait(t, readable)
	check(t, m)

	c.Stop(0)
	require.True(t, m.HasFilter("first/+"), "the last snapshot goes on serving")
	wait(t, func() bool { return p.Healthy() != nil })
	require.ErrorIs(t, m.AddTopic(t.Context(), "second"), meta.ErrUnavailable)
	c.StartMembers()
	wait(t, readable)
	wait(t, func() bool { return m.AddTopic(t.Context(), "second") == nil })
	check(t, m)
	stop()
	m, _, _ = run(t, "meta-etcd", config)
	check(t, m)
	require.True(t, m.HasTopic("second"))
}

func TestGatewaysOnEtcdSeeEachOthersChangesAndConflicts(t *testing.T) {
	c := etcdtest.Start(t, etcdtest.Options{})
	config := map[string]any{"endpoints": c.Endpoints()}
	a, p, _ := run(t, "meta-etcd", config)
	b, err := meta.New(meta.Options{Client: p.Meta(), Traits: func() *pluginv1.MetaTraits { return p.Describe().GetMeta() }, NodeID: "other"})
	require.NoError(t, err)
	require.NoError(t, b.Start(t.Context()))
	defer func() { require.NoError(t, b.Close()) }()
	wait(t, func() bool { return b.Ready() == nil })
	ctx := t.Context()
	require.NoError(t, a.AddTopic(ctx, "first"))
	require.NoError(t, a.RegisterFilters(ctx, "first/+"))
	wait(t, func() bool {
		return b.HasTopic("first") && b.HasFilter("first/+") && len(a.Nodes()) == 2 && len(b.Nodes()) == 2
	})
	require.NoError(t, a.SaveSession(ctx, &meta.Session{ClientID: "c", Epoch: 1}))
	mine, err := a.LoadSession(ctx, "c")
	require.NoError(t, err)
	theirs, err := b.LoadSession(ctx, "c")
	require.NoError(t, err)
	theirs.Epoch = 2
	require.NoError(t, b.SaveSession(ctx, theirs))
	mine.Username = "late"
	require.ErrorIs(t, a.SaveSession(ctx, mine), meta.ErrSuperseded)
}
