package auth

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/lmqgate/lmqgate/internal/testlog"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// scripted fakes an auth plugin at the level of its gRPC client; real plugins are processes, and are tested with the plugin host.
type scripted struct {
	pluginv1.AuthClient

	mu           sync.Mutex
	down         bool
	authenticate func(*pluginv1.AuthenticateRequest) *pluginv1.AuthenticateResponse
	decide       func(*pluginv1.Action) *pluginv1.Decision
	questions    []*pluginv1.AuthorizeRequest
	revocations  chan *pluginv1.Revocation
	opened       int
	// all answers AuthenticateAll; nil: it is not served.
	all func(*pluginv1.AuthenticateAllRequest) (*pluginv1.AuthenticateAllResponse, error)
	// held makes Authenticate wait until it is closed; begun counts those that wait.
	held  chan struct{}
	begun chan struct{}
}

func (s *scripted) AuthenticateAll(
	_ context.Context, req *pluginv1.AuthenticateAllRequest, _ ...grpc.CallOption,
) (*pluginv1.AuthenticateAllResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		return nil, status.Error(codes.Unimplemented, "not served")
	}
	return s.all(req)
}

func (s *scripted) Authenticate(_ context.Context, req *pluginv1.AuthenticateRequest, _ ...grpc.CallOption) (*pluginv1.AuthenticateResponse, error) {
	if s.held != nil {
		s.begun <- struct{}{}
		<-s.held
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return nil, status.Error(codes.Unavailable, "plugin is away")
	}
	if s.authenticate == nil {
		return &pluginv1.AuthenticateResponse{}, nil
	}
	return s.authenticate(req), nil
}

func (s *scripted) Authorize(ctx context.Context, req *pluginv1.AuthorizeRequest, _ ...grpc.CallOption) (*pluginv1.AuthorizeResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx.Err() != nil {
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	s.questions = append(s.questions, req)
	if s.down {
		return nil, status.Error(codes.Unavailable, "plugin is away")
	}
	resp := &pluginv1.AuthorizeResponse{}
	for _, a := range req.GetActions() {
		if d := s.decide(a); d != nil {
			resp.Decisions = append(resp.Decisions, d)
		}
	}
	return resp, nil
}

func (s *scripted) Revocations(ctx context.Context, _ *pluginv1.RevocationsRequest, _ ...grpc.CallOption) (grpc.ServerStreamingClient[pluginv1.Revocation], error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return nil, status.Error(codes.Unavailable, "plugin is away")
	}
	s.opened++
	return &revocationStream{ctx: ctx, from: s.revocations}, nil
}

func (s *scripted) asked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.questions)
}

func (s *scripted) setDown(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

func (s *scripted) streams() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.opened
}

type revocationStream struct {
	grpc.ClientStream
	ctx  context.Context
	from chan *pluginv1.Revocation
}

func (r *revocationStream) Header() (metadata.MD, error) { return nil, nil }

func (r *revocationStream) Recv() (*pluginv1.Revocation, error) {
	select {
	case rev := <-r.from:
		if rev == nil {
			return nil, io.EOF
		}
		return rev, nil
	case <-r.ctx.Done():
		return nil, r.ctx.Err()
	}
}

// allowFor allows everything, with a cache time of d.
func allowFor(d time.Duration) func(*pluginv1.Action) *pluginv1.Decision {
	return func(*pluginv1.Action) *pluginv1.Decision {
		return &pluginv1.Decision{Allow: true, CacheMs: d.Milliseconds()}
	}
}

func newAuth(s *scripted, change ...func(*Options)) (*Auth, *testlog.Buffer) {
	logs := &testlog.Buffer{}
	opts := Options{
		Client: s, PluginName: func() string { return "scripted" }, Log: slog.New(slog.NewTextHandler(logs, nil)),
		Traits: func() *pluginv1.AuthTraits { return &pluginv1.AuthTraits{Revocations: s.revocations != nil} },
	}
	for _, fn := range change {
		fn(&opts)
	}
	return New(opts), logs
}

func admit(t testing.TB, a Authority) *Principal {
	t.Helper()
	p, err := a.Authenticate(context.Background(), Request{
		ClientID: "dev1", Username: "demo", HasUsername: true, Password: []byte("pass-word"), HasPassword: true, Version: 4,
		Listener: "tcp", RemoteAddr: "127.0.0.1:4711",
	})
	require.NoError(t, err)
	return p
}

func pub(topic string) Action { return Action{Kind: Publish, Topic: topic} }
