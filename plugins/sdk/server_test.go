package sdk

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// recorder is an auth plugin whose calls can be held open.
type recorder struct {
	refuse      bool
	entered     chan struct{}
	release     chan struct{}
	deactivated chan struct{}
}

func (r *recorder) Info() Info { return Info{Name: "recorder", Version: "1", Config: tlsBlock{}} }

func (r *recorder) Configure(_ context.Context, s Setup) []Problem {
	if r.refuse {
		return []Problem{Problemf("a.b", "is %d", 1)}
	}
	return s.Decode(&tlsBlock{})
}

func (r *recorder) Activate(context.Context) error   { return nil }
func (r *recorder) Deactivate(context.Context) error { close(r.deactivated); return nil }
func (r *recorder) Health(context.Context) error     { return errors.New("two\nlines") }

func (r *recorder) Authenticate(_ context.Context, _ *pluginv1.AuthenticateRequest) (*pluginv1.AuthenticateResponse, error) {
	close(r.entered)
	<-r.release
	return &pluginv1.AuthenticateResponse{Identity: "late"}, nil
}

func (r *recorder) Authorize(context.Context, *pluginv1.AuthorizeRequest) (*pluginv1.AuthorizeResponse, error) {
	panic("no rules")
}

func (r *recorder) Revocations(ctx context.Context, send func(*pluginv1.Revocation) error) error {
	if err := send(&pluginv1.Revocation{}); err != nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

func newRecorder() *recorder {
	return &recorder{entered: make(chan struct{}), release: make(chan struct{}), deactivated: make(chan struct{})}
}

func dial(t *testing.T, s *server) *grpc.ClientConn {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	g := grpc.NewServer(s.options()...)
	s.register(g)
	done := make(chan struct{})
	go func() { defer close(done); _ = g.Serve(listener) }()
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(); g.Stop(); <-done })
	return conn
}

func TestThePluginsLifeHasAnOrder(t *testing.T) {
	r := newRecorder()
	conn := dial(t, newAuthServer(r, slog.New(slog.DiscardHandler)))
	life, auth := pluginv1.NewPluginClient(conn), pluginv1.NewAuthClient(conn)
	ctx := t.Context()

	d, err := life.Describe(ctx, &pluginv1.DescribeRequest{})
	require.NoError(t, err)
	require.Equal(t, "recorder", d.GetName())
	require.Equal(t, pluginv1.Kind_KIND_AUTH, d.GetKind())
	require.Len(t, d.GetConfigKeys(), 2)
	require.True(t, d.GetAuth().GetRevocations())
	require.Equal(t, pluginv1.ForeignClients_FOREIGN_CLIENTS_DENY, d.GetAuth().GetForeignClients())

	_, err = life.Activate(ctx, &pluginv1.ActivateRequest{})
	require.Equal(t, codes.FailedPrecondition, status.Code(err))

	r.refuse = true
	c, err := life.Configure(ctx, &pluginv1.ConfigureRequest{ConfigJson: []byte(`{}`)})
	require.NoError(t, err)
	require.Equal(t, "a.b", c.GetProblems()[0].GetKey())
	require.Equal(t, "is 1", c.GetProblems()[0].GetMessage())
	r.refuse = false
	c, err = life.Configure(ctx, &pluginv1.ConfigureRequest{})
	require.NoError(t, err)
	require.Empty(t, c.GetProblems())
	_, err = life.Configure(ctx, &pluginv1.ConfigureRequest{})
	require.Equal(t, codes.FailedPrecondition, status.Code(err), "configured once")

	_, err = auth.Authenticate(ctx, &pluginv1.AuthenticateRequest{})
	require.Equal(t, codes.Unavailable, status.Code(err), "no calls before Activate")

	_, err = life.Activate(ctx, &pluginv1.ActivateRequest{})
	require.NoError(t, err)
	h, err := life.Health(ctx, &pluginv1.HealthRequest{})
	require.NoError(t, err)
	require.False(t, h.GetOk())
	require.Equal(t, "two lines", h.GetReason())

	_, err = auth.Authorize(ctx, &pluginv1.AuthorizeRequest{})
	require.Equal(t, codes.Internal, status.Code(err), "a panic is an answer")
	_, err = auth.Exchange(ctx, &pluginv1.ExchangeRequest{})
	require.Equal(t, codes.Unimplemented, status.Code(err))
}

func TestDeactivateEndsStreamsAndWaitsForTheCallsUnderWay(t *testing.T) {
	r := newRecorder()
	conn := dial(t, newAuthServer(r, slog.New(slog.DiscardHandler)))
	life, auth := pluginv1.NewPluginClient(conn), pluginv1.NewAuthClient(conn)
	ctx := t.Context()
	_, err := life.Configure(ctx, &pluginv1.ConfigureRequest{})
	require.NoError(t, err)
	_, err = life.Activate(ctx, &pluginv1.ActivateRequest{})
	require.NoError(t, err)

	stream, err := auth.Revocations(ctx, &pluginv1.RevocationsRequest{})
	require.NoError(t, err)
	_, err = stream.Recv()
	require.NoError(t, err)
	answered := make(chan error, 1)
	go func() { _, err := auth.Authenticate(ctx, &pluginv1.AuthenticateRequest{}); answered <- err }()
	<-r.entered
	deactivated := make(chan error, 1)
	go func() { _, err := life.Deactivate(ctx, &pluginv1.DeactivateRequest{}); deactivated <- err }()

	_, err = stream.Recv()
	require.Error(t, err, "the stream ends")
	select {
	case <-r.deactivated:
		t.Fatal("deactivated with a call under way")
	case <-time.After(50 * time.Millisecond):
	}
	close(r.release)
	require.NoError(t, <-answered)
	require.NoError(t, <-deactivated)
	<-r.deactivated
	_, err = auth.Authenticate(ctx, &pluginv1.AuthenticateRequest{})
	require.Equal(t, codes.Unavailable, status.Code(err))

	_, err = life.Activate(ctx, &pluginv1.ActivateRequest{})
	require.NoError(t, err, "a swap that was rolled back activates again")
	_, err = auth.Authorize(ctx, &pluginv1.AuthorizeRequest{})
	require.Equal(t, codes.Internal, status.Code(err))
}
