package e2e

import (
	"io"
	"maps"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// twoNodes reports whether each gateway on RocketMQ consists of two nodes behind a load balancer without affinity. Every second connection
// goes to the other node, so publishers and subscribers are on different nodes.
func twoNodes() bool { return os.Getenv("LMQGATE_E2E_NODES") == "2" }

// onOneNode makes each gateway of a test a single node, whatever twoNodes returns. why is for the log.
func onOneNode(t *testing.T, why string) {
	t.Helper()
	if twoNodes() {
		t.Logf("each gateway is one node here: %s", why)
	}
	singles.Store(t.Name(), true)
}

// singles holds the names of the tests that called onOneNode.
var singles sync.Map

// Why tests call onOneNode.
const (
	ownNodes   = "the test starts several"
	oneProcess = "the test is about one process"
)

// twin creates the other node of a gateway, with the same configuration.
func (g *Gateway) twin(config settings) {
	g.t.Helper()
	store, _ := config["store"].(settings)
	test, _, _ := strings.Cut(g.t.Name(), "/")
	if _, single := singles.Load(test); single || !twoNodes() || store["type"] != "rocketmq" {
		return
	}
	other := &Gateway{t: g.t, dir: g.t.TempDir(), salt: g.salt, auth: g.auth}
	config = maps.Clone(config)
	config["node"] = settings{"id": "m" + g.salt}
	other.write(config)
	g.other = other
	g.t.Cleanup(func() {
		if g.t.Failed() {
			g.t.Logf("log of the other node, %s:\n%s", other.config(), tail(other.Log(), 80))
		}
	})
}

// balance replaces the gateway's address by that of a load balancer in front of both nodes.
func (g *Gateway) balance() {
	g.t.Helper()
	if g.other == nil {
		return
	}
	if g.front == nil {
		g.front = newFront(g.t)
	}
	g.front.serve(g.TCP, g.other.TCP)
	g.TCP = g.front.listener.Addr().String()
}

// front is a round-robin TCP load balancer.
type front struct {
	listener net.Listener
	next     atomic.Uint64
	mu       sync.Mutex
	nodes    []string
}

func newFront(t *testing.T) *front {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	f := &front{listener: l}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go f.pass(client)
		}
	}()
	return f
}

// serve sets the targets of new connections.
func (f *front) serve(nodes ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.nodes = nodes
}

func (f *front) pass(client net.Conn) {
	defer client.Close()
	f.mu.Lock()
	nodes := f.nodes
	f.mu.Unlock()
	n := f.next.Add(1)
	for i := range nodes {
		node, err := net.DialTimeout("tcp", nodes[(n+uint64(i))%uint64(len(nodes))], time.Second)
		if err != nil {
			continue
		}
		defer node.Close()
		var over sync.WaitGroup
		over.Go(func() { _, _ = io.Copy(node, client); _ = node.Close() })
		over.Go(func() { _, _ = io.Copy(client, node); _ = client.Close() })
		over.Wait()
		return
	}
}
