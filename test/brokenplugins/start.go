package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
	"github.com/lmqgate/lmqgate/plugins/sdk"
	"github.com/lmqgate/lmqgate/plugins/sdk/handshake"
)

// start runs a plugin with a wrong start or a wrong end.
func start() {
	socket := filepath.Join(os.Getenv("PLUGIN_UNIX_SOCKET_DIR"), "none")
	switch fault {
	case "start-wrong-version":
		fmt.Fprintf(os.Stdout, "1|99|unix|%s|grpc\n", socket)
		time.Sleep(time.Hour)
	case "start-netrpc":
		fmt.Fprintf(os.Stdout, "1|1|unix|%s|netrpc\n", socket)
		time.Sleep(time.Hour)
	case "start-other-address":
		fmt.Fprintln(os.Stdout, "1|1|tcp|192.0.2.1:80|grpc")
		time.Sleep(time.Hour)
	case "start-silent":
		time.Sleep(time.Hour)
	case "start-exits":
		fmt.Fprintln(os.Stderr, "cannot find my library")
		os.Exit(3)
	case "start-needs-home":
		if os.Getenv("HOME") == "" {
			fmt.Fprintln(os.Stderr, "HOME is not set")
			os.Exit(1)
		}
	case "start-prints-first":
		fmt.Fprintln(os.Stdout, "my plugin, version 1")
	case "start-nobody-listens":
		fmt.Fprintf(os.Stdout, "1|1|unix|%s|grpc\n", socket)
		time.Sleep(time.Hour)
	case "start-ignores-end-of-input":
		r, w, err := os.Pipe()
		if err != nil {
			panic(err)
		}
		_ = w // never closed, so that the SDK does not see the end of the real one
		os.Stdin = r
	case "start-ignores-sigterm":
		behindShield()
	case "start-leaves-a-child":
		_ = exec.Command("sleep", "30").Start()
	case "start-always-active", "start-huge-answer":
		serveAlwaysActive()
	}
	sdk.ServeAuth(&auth{})
}

// behindShield runs the plugin as a child of this process, which ignores SIGTERM.
func behindShield() {
	if os.Getenv("LMQGATE_BROKEN_CHILD") != "" {
		return
	}
	signal.Ignore(syscall.SIGTERM)
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), "LMQGATE_BROKEN_CHILD=1")
	child.Stdin, child.Stdout, child.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := child.Run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(0)
}

// serveAlwaysActive serves without the SDK, which would enforce the life cycle, and answers calls at any time.
func serveAlwaysActive() {
	go func() {
		buf := make([]byte, 1)
		for {
			if _, err := os.Stdin.Read(buf); err != nil {
				os.Exit(0)
			}
		}
	}()
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig:  plugin.HandshakeConfig{MagicCookieKey: handshake.CookieKey, MagicCookieValue: handshake.CookieValue},
		VersionedPlugins: map[int]plugin.PluginSet{1: {handshake.PluginName: &alwaysActive{auth: &auth{}}}},
		GRPCServer:       plugin.DefaultGRPCServer,
	})
	os.Exit(0)
}

type alwaysActive struct {
	plugin.NetRPCUnsupportedPlugin
	pluginv1.UnimplementedPluginServer
	pluginv1.UnimplementedAuthServer
	auth *auth
}

func (a *alwaysActive) GRPCServer(_ *plugin.GRPCBroker, g *grpc.Server) error {
	pluginv1.RegisterPluginServer(g, a)
	pluginv1.RegisterAuthServer(g, a)
	return nil
}

func (a *alwaysActive) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, errors.New("a plugin is no client")
}

func (a *alwaysActive) Describe(context.Context, *pluginv1.DescribeRequest) (*pluginv1.DescribeResponse, error) {
	return &pluginv1.DescribeResponse{Name: fault, Version: "1", Kind: pluginv1.Kind_KIND_AUTH, Auth: &pluginv1.AuthTraits{},
		ConfigKeys: sdk.ConfigKeys(authConfig{})}, nil
}

func (a *alwaysActive) Configure(ctx context.Context, req *pluginv1.ConfigureRequest) (*pluginv1.ConfigureResponse, error) {
	resp := &pluginv1.ConfigureResponse{}
	for _, p := range a.auth.Configure(ctx, sdk.Setup{Config: req.GetConfigJson()}) {
		resp.Problems = append(resp.Problems, &pluginv1.ConfigProblem{Key: p.Key, Message: p.Message})
	}
	return resp, nil
}

func (a *alwaysActive) Activate(context.Context, *pluginv1.ActivateRequest) (*pluginv1.ActivateResponse, error) {
	return &pluginv1.ActivateResponse{}, nil
}

func (a *alwaysActive) Deactivate(context.Context, *pluginv1.DeactivateRequest) (*pluginv1.DeactivateResponse, error) {
	return &pluginv1.DeactivateResponse{}, nil
}

func (a *alwaysActive) Health(context.Context, *pluginv1.HealthRequest) (*pluginv1.HealthResponse, error) {
	return &pluginv1.HealthResponse{Ok: true}, nil
}

func (a *alwaysActive) Authenticate(ctx context.Context, req *pluginv1.AuthenticateRequest) (*pluginv1.AuthenticateResponse, error) {
	if is("start-huge-answer") { // the SDK would not send it
		return &pluginv1.AuthenticateResponse{Detail: huge}, nil
	}
	return a.auth.Authenticate(ctx, req)
}

func (a *alwaysActive) Authorize(ctx context.Context, req *pluginv1.AuthorizeRequest) (*pluginv1.AuthorizeResponse, error) {
	return a.auth.Authorize(ctx, req)
}
