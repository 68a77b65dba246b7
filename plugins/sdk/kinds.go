package sdk

import (
	"context"
	"log/slog"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

func newAuthServer(p AuthPlugin, log *slog.Logger) *server {
	s := newServer(p, pluginv1.Kind_KIND_AUTH, log)
	impl := &authServer{AuthPlugin: p, server: s}
	s.describe = func(d *pluginv1.DescribeResponse) { d.Auth = impl.traits() }
	s.register = func(g *grpc.Server) {
		pluginv1.RegisterPluginServer(g, s)
		pluginv1.RegisterAuthServer(g, impl)
	}
	return s
}

// authServer serves the Auth service; calls that the author did not implement are answered UNIMPLEMENTED.
type authServer struct {
	pluginv1.UnimplementedAuthServer
	AuthPlugin
	server    *server
	exchanges exchanges
}

var _ pluginv1.AuthServer = (*authServer)(nil)

func (a *authServer) traits() *pluginv1.AuthTraits {
	t := &pluginv1.AuthTraits{}
	if j, ok := a.AuthPlugin.(ForeignClientsJudge); ok && j.JudgesForeignClients() {
		t.ForeignClients = pluginv1.ForeignClients_FOREIGN_CLIENTS_JUDGE
	}
	if e, ok := a.AuthPlugin.(Exchanger); ok {
		t.Methods = e.Methods()
	}
	_, t.Revocations = a.AuthPlugin.(Revoker)
	t.AuthenticateAll = a.quick()
	return t
}

// quick reports whether several CONNECTs may be judged in one call.
func (a *authServer) quick() bool {
	q, ok := a.AuthPlugin.(QuickAuthenticator)
	return ok && q.AuthenticatesQuickly()
}

func (a *authServer) Authenticate(ctx context.Context, req *pluginv1.AuthenticateRequest) (*pluginv1.AuthenticateResponse, error) {
	return a.AuthPlugin.Authenticate(ctx, req)
}

func (a *authServer) AuthenticateAll(ctx context.Context, req *pluginv1.AuthenticateAllRequest) (*pluginv1.AuthenticateAllResponse, error) {
	if !a.quick() {
		return a.UnimplementedAuthServer.AuthenticateAll(ctx, req)
	}
	resp := &pluginv1.AuthenticateAllResponse{Responses: make([]*pluginv1.AuthenticateResponse, len(req.GetRequests()))}
	for i, one := range req.GetRequests() {
		resp.Responses[i] = a.oneOfAll(ctx, one)
	}
	return resp, nil
}

// oneOfAll judges a CONNECT among others. What fails about it, fails for it alone.
func (a *authServer) oneOfAll(ctx context.Context, req *pluginv1.AuthenticateRequest) *pluginv1.AuthenticateResponse {
	resp, err := a.authenticateSafely(ctx, req)
	if err == nil && resp != nil {
		return resp
	}
	detail := "the plugin gave no answer"
	if err != nil {
		detail = oneLine(status.Convert(err).Message())
	}
	return &pluginv1.AuthenticateResponse{Reason: pluginv1.Reason_REASON_UNAVAILABLE, Detail: detail}
}

// authenticateSafely is Authenticate, with a panic as an error.
func (a *authServer) authenticateSafely(
	ctx context.Context, req *pluginv1.AuthenticateRequest,
) (resp *pluginv1.AuthenticateResponse, err error) {
	defer a.server.recovered(pluginv1.Auth_AuthenticateAll_FullMethodName, &err)
	return a.AuthPlugin.Authenticate(ctx, req)
}

func (a *authServer) Authorize(ctx context.Context, req *pluginv1.AuthorizeRequest) (*pluginv1.AuthorizeResponse, error) {
	return a.AuthPlugin.Authorize(ctx, req)
}

func (a *authServer) Exchange(ctx context.Context, req *pluginv1.ExchangeRequest) (*pluginv1.ExchangeResponse, error) {
	if e, ok := a.AuthPlugin.(Exchanger); ok {
		return a.exchanges.serve(ctx, e, req)
	}
	return a.UnimplementedAuthServer.Exchange(ctx, req)
}

func (a *authServer) Revocations(req *pluginv1.RevocationsRequest, stream grpc.ServerStreamingServer[pluginv1.Revocation]) error {
	if r, ok := a.AuthPlugin.(Revoker); ok {
		return r.Revocations(stream.Context(), stream.Send)
	}
	return a.UnimplementedAuthServer.Revocations(req, stream)
}

func newMetaServer(p MetaPlugin, log *slog.Logger) *server {
	s := newServer(p, pluginv1.Kind_KIND_META, log)
	s.describe = func(d *pluginv1.DescribeResponse) { d.Meta = p.Traits() }
	s.register = func(g *grpc.Server) {
		pluginv1.RegisterPluginServer(g, s)
		pluginv1.RegisterMetaServer(g, &metaServer{MetaPlugin: p})
	}
	return s
}

// metaServer serves the Meta service; calls that the author did not implement are answered UNIMPLEMENTED.
type metaServer struct {
	pluginv1.UnimplementedMetaServer
	MetaPlugin
}

var _ pluginv1.MetaServer = (*metaServer)(nil)

func (m *metaServer) Get(ctx context.Context, req *pluginv1.GetRequest) (*pluginv1.GetResponse, error) {
	return m.MetaPlugin.Get(ctx, req)
}

func (m *metaServer) List(req *pluginv1.ListRequest, stream grpc.ServerStreamingServer[pluginv1.ListResponse]) error {
	return m.MetaPlugin.List(stream.Context(), req, stream.Send)
}

func (m *metaServer) Put(ctx context.Context, req *pluginv1.PutRequest) (*pluginv1.PutResponse, error) {
	return m.MetaPlugin.Put(ctx, req)
}

func (m *metaServer) Delete(ctx context.Context, req *pluginv1.DeleteRequest) (*pluginv1.DeleteResponse, error) {
	return m.MetaPlugin.Delete(ctx, req)
}

func (m *metaServer) Batch(ctx context.Context, req *pluginv1.BatchRequest) (*pluginv1.BatchResponse, error) {
	return m.MetaPlugin.Batch(ctx, req)
}

func (m *metaServer) Watch(req *pluginv1.WatchRequest, stream grpc.ServerStreamingServer[pluginv1.WatchResponse]) error {
	if w, ok := m.MetaPlugin.(Watcher); ok {
		return w.Watch(stream.Context(), req, stream.Send)
	}
	return m.UnimplementedMetaServer.Watch(req, stream)
}
