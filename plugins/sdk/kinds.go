package sdk

import (
	"context"
	"log/slog"

	"google.golang.org/grpc"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

func newAuthServer(p AuthPlugin, log *slog.Logger) *server {
	s := newServer(p, pluginv1.Kind_KIND_AUTH, log)
	impl := &authServer{AuthPlugin: p}
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
	return t
}

func (a *authServer) Authenticate(ctx context.Context, req *pluginv1.AuthenticateRequest) (*pluginv1.AuthenticateResponse, error) {
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
