package pluginhost

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/hashicorp/go-plugin"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
	"github.com/lmqgate/lmqgate/plugins/sdk/handshake"
)

// serveVersions is a plugin that speaks the versions in its name, such as "1-2", and says in Describe which one it was
// started with.
func serveVersions(name, versions string) {
	sets := make(map[int]plugin.PluginSet)
	for text := range strings.SplitSeq(versions, "-") {
		v, err := strconv.Atoi(text)
		if err != nil {
			panic(err)
		}
		sets[v] = plugin.PluginSet{handshake.PluginName: &versioned{name: name, version: v}}
	}
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig:  plugin.HandshakeConfig{MagicCookieKey: handshake.CookieKey, MagicCookieValue: handshake.CookieValue},
		VersionedPlugins: sets,
		GRPCServer:       plugin.DefaultGRPCServer,
	})
}

type versioned struct {
	plugin.NetRPCUnsupportedPlugin
	pluginv1.UnimplementedPluginServer
	name    string
	version int
}

func (v *versioned) GRPCServer(_ *plugin.GRPCBroker, g *grpc.Server) error {
	pluginv1.RegisterPluginServer(g, v)
	return nil
}

func (v *versioned) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, errors.New("not a client")
}

func (v *versioned) Describe(context.Context, *pluginv1.DescribeRequest) (*pluginv1.DescribeResponse, error) {
	return &pluginv1.DescribeResponse{Name: v.name, Version: "serving " + strconv.Itoa(v.version), Kind: pluginv1.Kind_KIND_AUTH}, nil
}

func (v *versioned) Configure(context.Context, *pluginv1.ConfigureRequest) (*pluginv1.ConfigureResponse, error) {
	return &pluginv1.ConfigureResponse{}, nil
}

func (v *versioned) Activate(context.Context, *pluginv1.ActivateRequest) (*pluginv1.ActivateResponse, error) {
	return &pluginv1.ActivateResponse{}, nil
}

func (v *versioned) Health(context.Context, *pluginv1.HealthRequest) (*pluginv1.HealthResponse, error) {
	return &pluginv1.HealthResponse{Ok: true}, nil
}

func TestGatewayAndPluginAgreeOnTheNewestVersionThatBothSpeak(t *testing.T) {
	cases := []struct {
		plugin string
		host   []int
		want   int    // 0: none
		says   string // if there is none
	}{
		{plugin: "plug-speaks-1", host: []int{1}, want: 1},
		{plugin: "plug-speaks-1-2", host: []int{1}, want: 1},
		{plugin: "plug-speaks-2", host: []int{1}, says: "speaks version 2 of the plugin contract, this gateway speaks 1; install the plugin for this release"},
		{plugin: "plug-speaks-1", host: []int{2, 1}, want: 1},
		{plugin: "plug-speaks-1-2", host: []int{2, 1}, want: 2},
		{plugin: "plug-speaks-2", host: []int{2, 1}, want: 2},
		{plugin: "plug-speaks-1", host: []int{3, 2}, says: "speaks version 1 of the plugin contract, this gateway speaks 3 and 2; install the plugin for this release"},
	}
	for _, c := range cases {
		t.Run(c.plugin+" at "+versionList(c.host), func(t *testing.T) {
			h, _ := newHost(t, c.plugin)
			h.opts.versions = c.host
			p, err := h.Start(t.Context(), c.plugin, pluginv1.Kind_KIND_AUTH, nil)
			if c.want == 0 {
				require.ErrorContains(t, err, c.says)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want, p.Info().Contract)
			require.Equal(t, "serving "+strconv.Itoa(c.want), p.Info().Version, "the plugin serves what was agreed on")
		})
	}
}
