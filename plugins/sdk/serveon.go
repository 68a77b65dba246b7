package sdk

import (
	"net"

	"google.golang.org/grpc"
)

// ServeAuthOn serves an auth plugin on l, in this process and without a handshake: for tests, such as those of package
// plugintest. stop deactivates the plugin, ends every call and stream, and closes l.
func ServeAuthOn(l net.Listener, p AuthPlugin) (stop func()) {
	return serveOn(l, newAuthServer(p, newLogger(stderr)))
}

// ServeMetaOn is ServeAuthOn for a meta plugin.
func ServeMetaOn(l net.Listener, p MetaPlugin) (stop func()) {
	return serveOn(l, newMetaServer(p, newLogger(stderr)))
}

func serveOn(l net.Listener, s *server) (stop func()) {
	g := grpc.NewServer(s.options()...)
	s.register(g)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = g.Serve(l) // returns after Stop; if the listener breaks, the callers see it
	}()
	return func() {
		s.leave()
		g.Stop()
		<-ended
	}
}
