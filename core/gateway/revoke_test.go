package gateway

import (
	"context"
	"log/slog"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/auth"
	"github.com/lmqgate/lmqgate/core/config"
)

// revoking is an authority that revokes as soon as somebody listens.
type revoking struct {
	auth.Authority
	told int
}

func (r *revoking) OnRevoke(f func(auth.Revocation)) {
	r.told++
	f(auth.Revocation{ClientID: "c", Disconnect: true})
}

func TestARevocationThatComesWhileTheNodeStartsFindsAServer(t *testing.T) {
	r := &revoking{Authority: auth.Anonymous()}
	g := &Gateway{cfg: &config.Config{Admin: config.Admin{Address: "127.0.0.1:0"}}, log: slog.New(slog.DiscardHandler),
		registry: prometheus.NewRegistry(), authority: r}
	t.Cleanup(func() { _ = g.Close(context.Background()) })
	require.NoError(t, g.listen())
	require.Equal(t, 1, r.told)
}
