package sdk

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
	"github.com/lmqgate/lmqgate/plugins/sdk/handshake"
)

// debugFlag is the argument with which a person starts a plugin, for instance under a debugger, so that a gateway can attach to it:
// --debug, or --debug=HOST:PORT for a loopback address instead of a socket file.
const debugFlag = "--debug"

// debugAddress returns the address in debugFlag; ok is false unless debugFlag is the first argument.
func debugAddress(args []string) (address string, ok bool) {
	if len(args) == 0 {
		return "", false
	}
	if args[0] == debugFlag {
		return "", true
	}
	return strings.CutPrefix(args[0], debugFlag+"=")
}

// debug serves a plugin that a person has started, until ctx ends. Gateways attach to it without TLS, possibly several times; each time
// Configure is called again.
func (s *server) debug(ctx context.Context, address string, out io.Writer) error {
	listener, shown, forget, err := debugListen(address, s.plugin.Info().Name)
	if err != nil {
		return err
	}
	defer forget()
	s.debugged = true
	g := grpc.NewServer(s.options()...)
	s.register(g)
	probes := health.NewServer()
	probes.SetServingStatus(handshake.HealthService, grpc_health_v1.HealthCheckResponse_SERVING)
	grpc_health_v1.RegisterHealthServer(g, probes)
	kind := "auth"
	if s.kind == pluginv1.Kind_KIND_META {
		kind = "meta"
	}
	fmt.Fprintf(out, "%s waits for a gateway. In another terminal, with %s.plugin and %s.config as they should be in FILE:\n\n"+
		"  lmqgate serve --config FILE --attach-plugin %s=%s\n\nCtrl-C ends it.\n", s.plugin.Info().Name, kind, kind, kind, shown)
	stop := context.AfterFunc(ctx, g.Stop)
	defer stop()
	err = g.Serve(listener)
	s.leave()
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// debugListen listens on a loopback address, or on a socket in a directory that only this user can enter and that forget removes.
func debugListen(address, name string) (listener net.Listener, shown string, forget func(), err error) {
	if address != "" {
		host, _, err := net.SplitHostPort(address)
		if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
			return nil, "", nil, fmt.Errorf("%s=%s: write a loopback address, such as 127.0.0.1:0", debugFlag, address)
		}
		listener, err = net.Listen("tcp", address)
		if err != nil {
			return nil, "", nil, err
		}
		return listener, listener.Addr().String(), func() {}, nil
	}
	dir, err := os.MkdirTemp("", "lmqgate-debug-")
	if err != nil {
		return nil, "", nil, err
	}
	forget = func() { _ = os.RemoveAll(dir) }
	path := filepath.Join(dir, name)
	if listener, err = net.Listen("unix", path); err != nil {
		forget()
		return nil, "", nil, err
	}
	return listener, "unix:" + path, forget, nil
}

// debugUntilSignal is the main function of a plugin that is debugged.
func debugUntilSignal(s *server, address string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return s.debug(ctx, address, os.Stdout)
}
