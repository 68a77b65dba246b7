package meta

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/meta/metatest"
)

func TestRetainedMessagesTakeNoMoreMemoryThanTheyMay(t *testing.T) {
	each(t, func(t *testing.T, b *metatest.Backend) {
		ctx := context.Background()
		m := start(t, b, "one", func(o *Options) { o.Quotas = Quotas{ClientShare: 100} })
		large := strings.Repeat("x", 4000)
		require.NoError(t, m.SetRetained(ctx, value("a/1", large, 10)))
		require.NoError(t, m.SetRetained(ctx, value("a/2", large, 11)))
		used := m.RetainedMemory()
		require.Greater(t, used, int64(8000))
		m.SetRetainedMemory(used + 100)
		m.SeenRetained(brought("a/3", large, 12))
		require.ErrorIs(t, m.SetRetained(ctx, value("a/3", large, 12)), ErrLimit)
		require.Equal(t, 2, len(matched(m, "#")), "nothing is left of what was refused")
		require.ErrorIs(t, m.SetRetained(ctx, value("a/1", large+large, 13)), ErrLimit)
		require.NoError(t, m.SetRetained(ctx, value("a/1", strings.Repeat("y", 4000), 14)), "a value no larger than the one before")
		require.NoError(t, m.SetRetained(ctx, value("a/2", "", 15)), "a removal")
		require.NoError(t, m.SetRetained(ctx, value("a/3", large, 16)), "there is room again")
		require.ErrorIs(t, m.SetRetained(ctx, value("a/4", large, 17)), ErrLimit)
		m.SetRetainedMemory(0)
		require.NoError(t, m.SetRetained(ctx, value("a/4", large, 18)))
		require.NoError(t, m.SetRetained(ctx, value("T/p2p/c", large, 19)))
		for i, name := range []string{"a/1", "a/3", "a/4", "T/p2p/c"} {
			require.NoError(t, m.SetRetained(ctx, value(name, "", int64(20+i))))
		}
		require.Zero(t, m.RetainedMemory())
		require.Zero(t, m.retained.room.writing)
	})
}
