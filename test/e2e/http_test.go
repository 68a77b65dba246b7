package e2e

import (
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/internal/freeport"
)

func TestHealthReadinessAndMetrics(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, p profile) {
		g := start(t, p)
		topic := g.Topic("metrics") + "/x"
		for path, want := range map[string]string{"/healthz": "ok", "/readyz": "ready"} {
			code, body := g.Get(path)
			require.Equal(t, 200, code, path)
			state, _, _ := strings.Cut(body, "\n") // what the checks find on this machine is below
			require.Equal(t, want, state)
		}
		c := g.connect(t, g.Name("client"))
		c.subscribe(topic, 1)
		c.publish(topic, 1, "x")
		c.await(1)
		code, body := g.Get("/metrics")
		require.Equal(t, 200, code)
		for _, name := range []string{"lmqgate_", "process_resident_memory_bytes", "go_goroutines"} {
			require.Contains(t, body, name)
		}
		for line := range strings.Lines(body) {
			if strings.HasPrefix(line, "#") {
				continue
			}
			require.Regexp(t, `^(lmqgate|go|process|promhttp)_`, line)
		}
	})
}

func TestTheAdminAPIWantsItsToken(t *testing.T) {
	t.Parallel()
	g := configure(t, localProfile, settings{"admin": settings{"address": "127.0.0.1:0", "token": "s3cret-of-16-letters"}})
	g.Start()
	code, _ := g.Get("/api/v1/topics")
	require.Equal(t, http.StatusUnauthorized, code)
	code, _ = g.Get("/healthz")
	require.Equal(t, 200, code)
	require.Equal(t, 1, g.CLI("topic", "list", "--admin", "http://"+g.Admin).code)
	g.CLI("topic", "create", "a", "--admin", "http://"+g.Admin, "--token", "s3cret-of-16-letters").OK()
	require.Equal(t, "a\n", g.CLI("topic", "list", "--admin", "http://"+g.Admin, "--token", "s3cret-of-16-letters").OK())
	require.NotContains(t, g.Log(), "s3cret-of-16-letters")
}

// gate is a TCP address behind which a service appears later.
type gate struct {
	address string
	target  string
	mu      sync.Mutex
	conns   []net.Conn
	ln      net.Listener
}

// newGate reserves an address that refuses connections until it is opened.
func newGate(t *testing.T, target string) *gate {
	t.Helper()
	address, err := freeport.Address()
	require.NoError(t, err)
	g := &gate{address: address, target: target}
	t.Cleanup(g.close)
	return g
}

func (g *gate) open(t *testing.T) {
	t.Helper()
	ln, err := net.Listen("tcp", g.address)
	require.NoError(t, err)
	g.ln = ln
	go func() {
		for {
			in, err := ln.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", g.target)
			if err != nil {
				in.Close()
				continue
			}
			g.mu.Lock()
			g.conns = append(g.conns, in, out)
			g.mu.Unlock()
			go func() { _, _ = io.Copy(out, in); out.Close() }()
			go func() { _, _ = io.Copy(in, out); in.Close() }()
		}
	}()
}

// close ends the service and its connections.
func (g *gate) close() {
	if g.ln != nil {
		g.ln.Close()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range g.conns {
		c.Close()
	}
}

func TestAGatewaySaysWhatItWaitsForWhereThatIsAndWhichKeyNamesIt(t *testing.T) {
	nobody, store := newGate(t, "").address, newGate(t, "").address
	rocketmq := settings{"type": "rocketmq", "rocketmq": settings{"namesrv": []string{store}}}
	for name, c := range map[string]struct {
		meta settings
		want []string
	}{
		"metadata on the store's name servers": {settings{"plugin": "meta-namesrv"}, []string{"metadata of meta-namesrv at " + store + " (store.rocketmq.namesrv): "}},
		"metadata on other name servers": {settings{"plugin": "meta-namesrv", "config": settings{"namesrv": []string{nobody}}},
			[]string{"metadata of meta-namesrv at " + nobody + " (meta.config.namesrv): "}},
		"metadata in etcd": {settings{"plugin": "meta-etcd", "config": settings{"endpoints": []string{nobody}}},
			[]string{"metadata of meta-etcd at " + nobody + " (meta.config.endpoints): "}},
	} {
		t.Run(name, func(t *testing.T) {
			g := configure(t, localProfile, settings{"store": rocketmq, "meta": c.meta})
			g.launch()
			waiting := func() []string {
				var out []string
				for line := range strings.Lines(g.Log()) {
					if strings.Contains(line, "waiting before clients are accepted") {
						out = append(out, line)
					}
				}
				return out
			}
			eventually(t, startDeadline, func() error {
				if len(waiting()) < 2 {
					return io.ErrNoProgress
				}
				return nil
			})
			for _, line := range waiting() {
				require.Contains(t, line, "RocketMQ by the name servers "+store+" (store.rocketmq.namesrv): ")
				for _, want := range c.want {
					require.Contains(t, line, want)
				}
				require.Equal(t, 1, strings.Count(line, "meta-"), "each service once: %s", line)
			}
			require.NotContains(t, g.Log(), "snapshot")
			g.Stop()
		})
	}
}

func TestAGatewayWaitsForItsRocketMQ(t *testing.T) {
	t.Parallel()
	onOneNode(t, oneProcess)
	p := profile{name: "rocketmq", settings: func(t *testing.T) settings {
		t.Helper()
		return nil
	}}
	door := newGate(t, rocketmqCluster.get(t).Namesrv()[0])
	address, err := freeport.Address() // the address must be known before the ready line
	require.NoError(t, err)
	g := configure(t, p, rocketmqSettings([]string{door.address}), settings{"admin": settings{"address": address}})
	ready := g.launch()
	g.Admin = address
	eventually(t, patience, func() error {
		resp, err := http.Get("http://" + address + "/readyz")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode, string(body))
		return nil
	})
	code, _ := g.Get("/healthz")
	require.Equal(t, 200, code)
	eventually(t, patience, func() error {
		if !strings.Contains(g.Log(), "waiting") {
			return io.ErrNoProgress
		}
		return nil
	})
	select {
	case line := <-ready:
		t.Fatalf("a ready line without RocketMQ: %s", line)
	case <-g.done:
		t.Fatalf("the gateway ended: %v\n%s", g.err, g.Log())
	case <-time.After(12 * time.Second): // longer than configuration errors take
	}
	require.Contains(t, g.Log(), door.address, "the log says what it waits for")
	door.open(t)
	select {
	case line := <-ready:
		g.parse(line)
	case <-time.After(startDeadline):
		t.Fatalf("not ready with RocketMQ\n%s", tail(g.Log(), 40))
	}
	code, body := g.Get("/readyz")
	require.Equal(t, 200, code, body)
	topic := g.Topic("late") + "/x"
	c := g.connect(t, g.Name("client"))
	c.subscribe(topic, 1)
	c.publish(topic, 1, "x")
	c.await(1)
}
