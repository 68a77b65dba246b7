package plugintest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/test/bufconn"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
	"github.com/lmqgate/lmqgate/plugins/sdk"
	"github.com/lmqgate/lmqgate/plugins/sdk/handshake"
)

// Target is the plugin under test.
type Target struct {
	path string
	auth func() sdk.AuthPlugin
	meta func() sdk.MetaPlugin
}

// Executable returns the target for a plugin program in any language. The program is started many times.
func Executable(path string) Target { return Target{path: path} }

// AuthPlugin returns the target for an implementation in Go that is served in this process. make is called for each instance of the plugin.
func AuthPlugin(make func() sdk.AuthPlugin) Target { return Target{auth: make} }

// MetaPlugin is AuthPlugin for plugins of the other kind.
func MetaPlugin(make func() sdk.MetaPlugin) Target { return Target{meta: make} }

// inProcess reports whether the plugin runs in this process.
func (t Target) inProcess() bool { return t.path == "" }

// check returns an error if the plugin cannot be started at all.
func (t Target) check() error {
	if t.inProcess() {
		return nil
	}
	info, err := os.Stat(t.path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("there is no file %s", t.path)
	case err != nil:
		return err
	case info.IsDir():
		return fmt.Errorf("%s is a directory; name the plugin's executable", t.path)
	case info.Mode().Perm()&0o111 == 0:
		return fmt.Errorf("%s is not executable; run: chmod u+x %s", t.path, t.path)
	}
	return nil
}

// site stands for a gateway node: it has the directories of one plugin.
type site struct {
	node string
	data string // node.data_dir
	tmp  string // ${TMP}
}

// running is one instance of the plugin: a process, or an implementation that is served in this one.
type running struct {
	site    *site
	watcher *watcher
	conn    *grpc.ClientConn
	control pluginv1.PluginClient
	auth    pluginv1.AuthClient
	meta    pluginv1.MetaClient
	health  healthv1.HealthClient

	proc    *process // nil in this process
	shaken  shaken
	stopOwn func() // in this process
	// configured and active say which stages of the life cycle it has reached.
	configured, active bool
}

// begin starts an instance, up to the point where Describe can be called. An error is a sentence about the plugin.
func (s *suite) begin(ctx context.Context, at *site, versions []int, inherit bool) (*running, error) {
	r := &running{site: at, watcher: &watcher{texts: s.texts, patience: s.patience}}
	if s.target.inProcess() {
		l := bufconn.Listen(1 << 20)
		if s.target.auth != nil {
			r.stopOwn = sdk.ServeAuthOn(l, s.target.auth())
		} else {
			r.stopOwn = sdk.ServeMetaOn(l, s.target.meta())
		}
		err := r.dial(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }, nil)
		return r, err
	}
	dir, err := os.MkdirTemp(s.sockets, "")
	if err != nil {
		return nil, err
	}
	path, err := filepath.Abs(s.target.path)
	if err != nil {
		return nil, err
	}
	r.proc, err = launch{path: path, dir: dir, versions: versions, inherit: inherit, seen: s.printed, patience: s.patience}.start()
	if err != nil {
		return nil, fmt.Errorf("it cannot be started: %w", err)
	}
	if r.shaken, err = r.proc.shake(ctx, versions, s.startTimeout); err != nil {
		r.proc.kill()
		return r, err
	}
	network, address := r.shaken.network, r.shaken.address
	err = r.dial(func(ctx context.Context, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}, r.shaken.tls)
	if err != nil {
		r.proc.kill()
	}
	return r, err
}

// dial creates the connection; the first call opens it.
func (r *running) dial(dialer func(context.Context, string) (net.Conn, error), config *tls.Config) error {
	creds := insecure.NewCredentials()
	if config != nil {
		creds = credentials.NewTLS(config)
	}
	conn, err := grpc.NewClient("passthrough:///plugin",
		grpc.WithContextDialer(dialer),
		grpc.WithTransportCredentials(creds),
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(handshake.MaxMessageBytes), grpc.MaxCallSendMsgSize(handshake.MaxMessageBytes)),
		grpc.WithChainUnaryInterceptor(r.watcher.unary),
		grpc.WithChainStreamInterceptor(r.watcher.stream),
	)
	if err != nil {
		return err
	}
	r.conn, r.control = conn, pluginv1.NewPluginClient(conn)
	r.auth, r.meta, r.health = pluginv1.NewAuthClient(conn), pluginv1.NewMetaClient(conn), healthv1.NewHealthClient(conn)
	return nil
}

// end stops an instance cleanly, as a gateway does: Deactivate, then the end of standard input. It ignores errors; cases about the end
// check it themselves.
func (r *running) end() {
	if r.proc != nil && !r.proc.gone() {
		if r.active {
			ctx, cancel := context.WithTimeout(context.Background(), r.watcher.patience.times(deactivateLimit))
			_, _ = r.control.Deactivate(ctx, &pluginv1.DeactivateRequest{})
			cancel()
		}
		_ = r.proc.stdin.Close()
		r.proc.await(r.watcher.patience.times(exitLimit))
	}
	r.kill()
}

// kill ends an instance at once. In this process it is a clean stop.
func (r *running) kill() {
	if r.conn != nil {
		_ = r.conn.Close()
	}
	if r.stopOwn != nil {
		r.stopOwn()
		r.stopOwn = nil
	}
	if r.proc != nil {
		r.proc.kill()
	}
	r.active = false
}

// dead reports whether the process is gone, which only a case may cause.
func (r *running) dead() bool { return r.proc != nil && r.proc.gone() }
