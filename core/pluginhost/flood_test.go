package pluginhost

import (
	"context"
	"os"
	"strings"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
	"github.com/lmqgate/lmqgate/plugins/sdk/handshake"
)

// flood is an auth plugin without the SDK and its bounds: each answer about the user "flood" is 100 MB.
type flood struct {
	plugin.NetRPCUnsupportedPlugin
	pluginv1.UnimplementedPluginServer
	pluginv1.UnimplementedAuthServer
	name string
}

func serveFlood(name string) {
	go func() { // as the contract requires
		var b [1]byte
		_, _ = os.Stdin.Read(b[:])
		exit(0)
	}()
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: plugin.HandshakeConfig{ProtocolVersion: uint(handshake.Versions()[0]), MagicCookieKey: handshake.CookieKey, MagicCookieValue: handshake.CookieValue},
		Plugins:         plugin.PluginSet{handshake.PluginName: &flood{name: name}},
		GRPCServer:      plugin.DefaultGRPCServer,
	})
}

func (f *flood) GRPCServer(_ *plugin.GRPCBroker, g *grpc.Server) error {
	pluginv1.RegisterPluginServer(g, f)
	pluginv1.RegisterAuthServer(g, f)
	return nil
}

func (f *flood) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, nil
}

func (f *flood) Describe(context.Context, *pluginv1.DescribeRequest) (*pluginv1.DescribeResponse, error) {
	return &pluginv1.DescribeResponse{Name: f.name, Kind: pluginv1.Kind_KIND_AUTH, Auth: &pluginv1.AuthTraits{}}, nil
}

func (f *flood) Configure(context.Context, *pluginv1.ConfigureRequest) (*pluginv1.ConfigureResponse, error) {
	return &pluginv1.ConfigureResponse{}, nil
}

func (f *flood) Activate(context.Context, *pluginv1.ActivateRequest) (*pluginv1.ActivateResponse, error) {
	return &pluginv1.ActivateResponse{}, nil
}

func (f *flood) Deactivate(context.Context, *pluginv1.DeactivateRequest) (*pluginv1.DeactivateResponse, error) {
	return &pluginv1.DeactivateResponse{}, nil
}

func (f *flood) Health(context.Context, *pluginv1.HealthRequest) (*pluginv1.HealthResponse, error) {
	return &pluginv1.HealthResponse{Ok: true}, nil
}

func (f *flood) Authenticate(_ context.Context, req *pluginv1.AuthenticateRequest) (*pluginv1.AuthenticateResponse, error) {
	if req.GetConnection().GetUsername() == "flood" {
		return &pluginv1.AuthenticateResponse{Detail: strings.Repeat("x", 100_000_000)}, nil
	}
	return &pluginv1.AuthenticateResponse{Identity: "tested"}, nil
}
