package sdk

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/lmqgate/lmqgate/plugins/sdk/handshake"
)

// leaveTimeout bounds how long a plugin may take to release what it holds when it leaves.
const leaveTimeout = 2 * time.Second

// stderr is the process's real standard error: go-plugin replaces os.Stderr while it serves.
var stderr = os.Stderr

// ServeAuth serves an auth plugin until the gateway ends it. It is all that the main function of a plugin calls, and never returns.
//
// Started by a person with --debug (or --debug=127.0.0.1:PORT) as its first argument, the process waits for a gateway to attach to it,
// prints the command of such a gateway, and lives until Ctrl-C: this is for running the plugin under a debugger.
func ServeAuth(p AuthPlugin) { serve(newAuthServer(p, newLogger(stderr))) }

// ServeMeta serves a meta plugin until the gateway ends it. It is all that the main function of a plugin calls, and never returns.
func ServeMeta(p MetaPlugin) { serve(newMetaServer(p, newLogger(stderr))) }

func serve(s *server) {
	if address, ok := debugAddress(os.Args[1:]); ok && os.Getenv(handshake.CookieKey) == "" {
		if err := debugUntilSignal(s, address); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if os.Getenv(handshake.CookieKey) != handshake.CookieValue {
		fmt.Fprintln(os.Stderr, byHand(s.plugin.Info()))
		os.Exit(1)
	}
	slog.SetDefault(s.log)
	nameProcess()
	// Before anything else: a gateway that dies while this plugin is still starting must not leave it behind.
	go leaveAtEndOf(os.Stdin, s)
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGTERM)
	go leaveAtSignal(asked, s)

	versions := make(map[int]plugin.PluginSet)
	for _, v := range handshake.Versions() {
		versions[v] = plugin.PluginSet{handshake.PluginName: &grpcPlugin{server: s}}
	}
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: plugin.HandshakeConfig{
			MagicCookieKey:   handshake.CookieKey,
			MagicCookieValue: handshake.CookieValue,
		},
		VersionedPlugins: versions,
		GRPCServer: func(opts []grpc.ServerOption) *grpc.Server {
			return grpc.NewServer(append(opts, s.options()...)...)
		},
		Logger: hclog.New(&hclog.LoggerOptions{Level: hclog.Warn, Output: stderr, JSONFormat: true}),
	})
	s.leave()
	os.Exit(0)
}

// byHand returns the message for a person who starts a plugin as a command.
func byHand(info Info) string {
	return fmt.Sprintf("%s %s is a plugin of lmqgate and does nothing by itself: put it in plugins.dir, name it in the "+
		"gateway's configuration, and start `lmqgate serve`; or start it with --debug to attach a gateway to it", info.Name, strings.TrimPrefix(info.Version, "v"))
}

// leaveAtEndOf ends the process when in ends. The gateway holds the other end: it has died, or is stopping the plugin.
func leaveAtEndOf(in io.Reader, s *server) {
	_, _ = io.Copy(io.Discard, in)
	s.leave()
	os.Exit(0)
}

// leaveAtSignal ends the process cleanly on a signal. The gateway restarts the plugin, unless the gateway stops too.
func leaveAtSignal(asked <-chan os.Signal, s *server) {
	<-asked
	s.leave()
	os.Exit(0)
}

// leave releases what the plugin holds, within leaveTimeout.
func (s *server) leave() {
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.deactivate(ctx); err != nil {
			s.log.Warn("plugin could not release what it held", "error", err)
		}
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// grpcPlugin registers the server with go-plugin.
type grpcPlugin struct {
	plugin.NetRPCUnsupportedPlugin
	server *server
}

var _ plugin.GRPCPlugin = (*grpcPlugin)(nil)

func (p *grpcPlugin) GRPCServer(_ *plugin.GRPCBroker, g *grpc.Server) error {
	p.server.register(g)
	return nil
}

func (p *grpcPlugin) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, fmt.Errorf("a plugin is no client")
}
