package sdk

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// quick is an auth plugin that takes several CONNECTs at a time.
type quick struct {
	*recorder
	is bool
}

func (q quick) AuthenticatesQuickly() bool { return q.is }

func (q quick) Authenticate(_ context.Context, req *pluginv1.AuthenticateRequest) (*pluginv1.AuthenticateResponse, error) {
	switch id := req.GetConnection().GetClientId(); id {
	case "panics":
		panic("surprise")
	case "fails":
		return nil, errors.New("two\nlines")
	case "nothing":
		return nil, nil //nolint:nilnil // what a careless author may write
	case "denied":
		return &pluginv1.AuthenticateResponse{Reason: pluginv1.Reason_REASON_BANNED}, nil
	default:
		return &pluginv1.AuthenticateResponse{Identity: "identity of " + id}, nil
	}
}

// askAll asks a plugin about clients in one call.
func askAll(t *testing.T, p AuthPlugin, ids ...string) (*pluginv1.AuthenticateAllResponse, bool, error) {
	t.Helper()
	s := newAuthServer(p, newLogger(t.Output()))
	s.active, s.ended = true, make(chan struct{})
	conn := dial(t, s)
	req := &pluginv1.AuthenticateAllRequest{}
	for _, id := range ids {
		req.Requests = append(req.Requests, &pluginv1.AuthenticateRequest{Connection: &pluginv1.Connection{ClientId: id}})
	}
	d, err := pluginv1.NewPluginClient(conn).Describe(t.Context(), &pluginv1.DescribeRequest{})
	require.NoError(t, err)
	resp, err := pluginv1.NewAuthClient(conn).AuthenticateAll(t.Context(), req)
	return resp, d.GetAuth().GetAuthenticateAll(), err
}

func TestOfSeveralConnectsThatCameTogetherEachHasItsOwnAnswer(t *testing.T) {
	resp, declared, err := askAll(t, quick{newRecorder(), true}, "a", "panics", "fails", "nothing", "denied", "b")
	require.NoError(t, err)
	require.True(t, declared)
	require.Len(t, resp.GetResponses(), 6)
	require.Equal(t, "identity of a", resp.GetResponses()[0].GetIdentity())
	for _, one := range resp.GetResponses()[1:4] {
		require.Equal(t, pluginv1.Reason_REASON_UNAVAILABLE, one.GetReason())
		require.NotEmpty(t, one.GetDetail())
		require.NotContains(t, one.GetDetail(), "\n")
	}
	require.Equal(t, pluginv1.Reason_REASON_BANNED, resp.GetResponses()[4].GetReason())
	require.Equal(t, "identity of b", resp.GetResponses()[5].GetIdentity())
}

func TestAPluginThatDoesNotSaySoIsNotGivenSeveralConnectsAtATime(t *testing.T) {
	for _, p := range []AuthPlugin{newRecorder(), quick{newRecorder(), false}} {
		_, declared, err := askAll(t, p, "a")
		require.Equal(t, codes.Unimplemented, status.Code(err))
		require.False(t, declared)
	}
}
