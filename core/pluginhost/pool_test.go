package pluginhost

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

func TestLoginsThatHangCostConnectedClientsNoAnswer(t *testing.T) {
	t.Parallel()
	h, _ := newHost(t, "plug-auth")
	h.opts.timing.breakerOpen = time.Hour // the breaker must not close before the test has checked it
	p := startAuth(t, h, "plug-auth", nil)
	p.route.deadline = 10 * time.Second // for calls that are answered meanwhile, even on a busy machine
	decide := func() {
		t.Helper()
		_, err := p.Auth().Authorize(t.Context(), &pluginv1.AuthorizeRequest{Client: &pluginv1.Client{Identity: "a"},
			Actions: []*pluginv1.Action{{Kind: pluginv1.ActionKind_ACTION_KIND_PUBLISH, Topic: "a"}}})
		require.NotEqual(t, codes.Unavailable, status.Code(err), "%v", err)
		require.NotEqual(t, codes.DeadlineExceeded, status.Code(err), "%v", err)
	}
	done := make(chan error, callsUnderWay[logins]+50)
	for range cap(done) {
		go func() { _, err := ask(p, "hang"); done <- err }()
	}
	eventually(t, "every slot is taken", func() bool { return len(p.route.slots[logins]) == callsUnderWay[logins] })
	decide()
	for range cap(done) {
		require.Error(t, <-done)
	}
	_, err := ask(p, "u")
	require.Equal(t, codes.Unavailable, status.Code(err), "logins are suspended")
	require.True(t, p.Info().Suspended)
	decide()
}
