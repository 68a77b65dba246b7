package pluginhost

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// transport decides whether the connection uses TLS: it does, unless the plugin's handshake line has no certificate.
func (i *instance) transport(config *plugin.ClientConfig, addr net.Addr) error {
	fields := strings.Split(i.process.shaken(), "|")
	i.secure = len(fields) >= 6 && fields[5] != ""
	switch a := addr.(type) {
	case *net.UnixAddr:
		inside := strings.HasPrefix(filepath.Clean(a.Name), i.sockets+string(filepath.Separator))
		if !i.secure && !inside {
			return fmt.Errorf("it listens without TLS on %s, outside of the directory in %s; it must make its socket there", a.Name, plugin.EnvUnixSocketDir)
		}
	case *net.TCPAddr:
		if !a.IP.IsLoopback() {
			return fmt.Errorf("it listens on %s; a plugin may listen on a unix socket or on a loopback address only", a)
		}
		if !i.secure {
			i.spec.log.Warn("plugin listens on a loopback port without TLS: every user of this machine can call it", "address", a.String())
		}
	}
	if !i.secure {
		config.TLSConfig = nil // before the connection is made in connect
	}
	return nil
}

// connect makes the gRPC connection.
func (i *instance) connect(made *connections) error {
	protocol, err := i.client.Client()
	if err != nil {
		made.close()
		if end := i.endedMeanwhile(context.Background()); end != nil {
			return end
		}
		return fmt.Errorf("no connection to it could be made: %w", err)
	}
	c, ok := protocol.(*plugin.GRPCClient)
	if !ok {
		return fmt.Errorf("it does not speak gRPC")
	}
	i.conn, i.control = c.Conn, pluginv1.NewPluginClient(c.Conn)
	return nil
}

// connections records the gRPC connections that go-plugin makes, because go-plugin leaves a connection open when its setup fails.
type connections struct {
	mu  sync.Mutex
	all []*grpc.ClientConn
}

func (c *connections) stream(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string,
	streamer grpc.Streamer, opts ...grpc.CallOption,
) (grpc.ClientStream, error) {
	c.mu.Lock()
	if !slices.Contains(c.all, cc) {
		c.all = append(c.all, cc)
	}
	c.mu.Unlock()
	return streamer(ctx, desc, cc, method, opts...)
}

func (c *connections) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, cc := range c.all {
		_ = cc.Close()
	}
}
