package sdk

import (
	"context"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
	"github.com/lmqgate/lmqgate/plugins/sdk/handshake"
)

// server serves the contract's Plugin service for any kind, and holds the state between its calls: calls of the kind pass only while the
// plugin is active, and Deactivate waits for calls in progress.
type server struct {
	pluginv1.UnimplementedPluginServer

	plugin   Plugin
	kind     pluginv1.Kind
	describe func(*pluginv1.DescribeResponse)
	register func(*grpc.Server)
	log      *slog.Logger
	// debugged is true for a plugin to which gateways attach one after the other: once configured, it accepts another configuration.
	debugged bool

	// life serialises Configure, Activate and Deactivate. It is locked before mu.
	life       sync.Mutex
	configured bool

	// mu guards the fields below. A call of the kind is added to calls only while active is set.
	mu     sync.Mutex
	active bool
	calls  sync.WaitGroup
	// ended is closed when the plugin is deactivated; streams end with it.
	ended chan struct{}
}

var _ pluginv1.PluginServer = (*server)(nil)

func newServer(p Plugin, kind pluginv1.Kind, log *slog.Logger) *server {
	return &server{plugin: p, kind: kind, log: log}
}

// Describe answers with the author's Info.
func (s *server) Describe(context.Context, *pluginv1.DescribeRequest) (*pluginv1.DescribeResponse, error) {
	info := s.plugin.Info()
	resp := &pluginv1.DescribeResponse{
		Name:       info.Name,
		Version:    info.Version,
		Kind:       s.kind,
		Exclusive:  info.Exclusive,
		ConfigKeys: ConfigKeys(info.Config),
	}
	s.describe(resp)
	return resp, nil
}

// Configure passes the configuration to the plugin, once. After a refused configuration the caller may try another.
func (s *server) Configure(ctx context.Context, req *pluginv1.ConfigureRequest) (*pluginv1.ConfigureResponse, error) {
	s.life.Lock()
	defer s.life.Unlock()
	if s.configured && s.debugged {
		if err := s.release(ctx); err != nil {
			return nil, status.Error(codes.Internal, err.Error())
		}
	} else if s.configured {
		return nil, status.Error(codes.FailedPrecondition, "the plugin is configured already")
	}
	block := req.GetConfigJson()
	if len(block) == 0 {
		block = []byte("{}")
	}
	problems := s.plugin.Configure(ctx, Setup{
		Config:    block,
		NodeID:    req.GetNodeId(),
		DataDir:   req.GetDataDir(),
		ConfigDir: req.GetConfigDir(),
		Log:       s.log,
	})
	resp := &pluginv1.ConfigureResponse{}
	for _, p := range problems {
		resp.Problems = append(resp.Problems, &pluginv1.ConfigProblem{Key: p.Key, Message: p.Message})
	}
	s.configured = len(problems) == 0
	return resp, nil
}

// Activate makes the plugin ready; a second Activate without a Deactivate between them does nothing.
func (s *server) Activate(ctx context.Context, _ *pluginv1.ActivateRequest) (*pluginv1.ActivateResponse, error) {
	s.life.Lock()
	defer s.life.Unlock()
	if !s.configured {
		return nil, status.Error(codes.FailedPrecondition, "Configure must come before Activate")
	}
	s.mu.Lock()
	active := s.active
	s.mu.Unlock()
	if active {
		return &pluginv1.ActivateResponse{}, nil
	}
	if err := s.plugin.Activate(ctx); err != nil {
		if _, ok := status.FromError(err); ok {
			return nil, err
		}
		return nil, status.Error(codes.FailedPrecondition, err.Error())
	}
	s.mu.Lock()
	s.active, s.ended = true, make(chan struct{})
	s.mu.Unlock()
	return &pluginv1.ActivateResponse{}, nil
}

// Deactivate stops accepting calls, ends the streams, waits for the calls in progress, and releases resources.
func (s *server) Deactivate(ctx context.Context, _ *pluginv1.DeactivateRequest) (*pluginv1.DeactivateResponse, error) {
	if err := s.deactivate(ctx); err != nil {
		if _, ok := status.FromError(err); ok {
			return nil, err
		}
		return nil, status.Error(codes.Internal, err.Error())
	}
	return &pluginv1.DeactivateResponse{}, nil
}

func (s *server) deactivate(ctx context.Context) error {
	s.life.Lock()
	defer s.life.Unlock()
	return s.release(ctx)
}

// release is deactivate for callers that hold life.
func (s *server) release(ctx context.Context) error {
	s.mu.Lock()
	if !s.active {
		s.mu.Unlock()
		return nil
	}
	s.active = false
	close(s.ended)
	s.mu.Unlock()
	s.calls.Wait()
	return s.plugin.Deactivate(ctx)
}

// Health asks the plugin. Before Activate the plugin is always healthy.
func (s *server) Health(ctx context.Context, _ *pluginv1.HealthRequest) (*pluginv1.HealthResponse, error) {
	s.mu.Lock()
	active := s.active
	s.mu.Unlock()
	if !active {
		return &pluginv1.HealthResponse{Reason: "not active"}, nil
	}
	if err := s.plugin.Health(ctx); err != nil {
		return &pluginv1.HealthResponse{Reason: oneLine(err.Error())}, nil
	}
	return &pluginv1.HealthResponse{Ok: true}, nil
}

// enter counts a call, and returns a channel that is closed when the plugin is deactivated. If err is nil, the caller must call leave.
func (s *server) enter() (ended <-chan struct{}, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.active {
		return nil, status.Error(codes.Unavailable, "the plugin is not active")
	}
	s.calls.Add(1)
	return s.ended, nil
}

// ofKind reports whether a method belongs to the plugin's kind, rather than to its life cycle or to go-plugin.
func ofKind(method string) bool {
	return strings.HasPrefix(method, "/"+pluginv1.Auth_ServiceDesc.ServiceName+"/") ||
		strings.HasPrefix(method, "/"+pluginv1.Meta_ServiceDesc.ServiceName+"/")
}

// options returns the gRPC server options of every plugin.
func (s *server) options() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.MaxRecvMsgSize(handshake.MaxMessageBytes),
		grpc.MaxSendMsgSize(handshake.MaxMessageBytes),
		grpc.ChainUnaryInterceptor(s.unary),
		grpc.ChainStreamInterceptor(s.stream),
	}
}

func (s *server) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (resp any, err error) {
	defer s.recovered(info.FullMethod, &err)
	if ofKind(info.FullMethod) {
		if _, err := s.enter(); err != nil {
			return nil, err
		}
		defer s.calls.Done()
	}
	return handler(ctx, req)
}

func (s *server) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	defer s.recovered(info.FullMethod, &err)
	if !ofKind(info.FullMethod) {
		return handler(srv, ss)
	}
	ended, err := s.enter()
	if err != nil {
		return err
	}
	defer s.calls.Done()
	ctx, cancel := context.WithCancel(ss.Context())
	defer cancel()
	go func() {
		select {
		case <-ended:
			cancel()
		case <-ctx.Done():
		}
	}()
	return handler(srv, boundStream{ServerStream: ss, ctx: ctx})
}

// recovered turns a panic of the plugin's code into an error of the call, so that one bad call does not end the plugin for every client.
func (s *server) recovered(method string, err *error) {
	if r := recover(); r != nil {
		s.log.Error("plugin panicked in a call", "method", method, "panic", r, "stack", string(debug.Stack()))
		*err = status.Errorf(codes.Internal, "the plugin panicked in %s; its log has the stack", method)
	}
}

// boundStream is a stream whose context also ends when the plugin is deactivated.
type boundStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (b boundStream) Context() context.Context { return b.ctx }

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
