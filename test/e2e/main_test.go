package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/lmqgate/lmqgate/test/binaries"
	"github.com/lmqgate/lmqgate/test/rocketmq/cluster"
)

// bin is the directory with lmqgate and, below plugins, its plugins.
var bin string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "lmqgate-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := build(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	bin = dir
	defer rocketmqCluster.stop()
	if err := choose(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// build builds the programs of `make build` into dir.
func build(dir string) error {
	var args []string
	if os.Getenv("LMQGATE_E2E_RACE") == "1" {
		args = []string{"-race"}
	}
	return binaries.Build(dir, args)
}

// rocketmqCluster is the pool of RocketMQs. A test has one to itself while it runs, because name servers have no compare-and-set: two
// unrelated gateways must not write the same list of topics.
var rocketmqCluster = &pool{size: 2}

// pool starts as many RocketMQs as tests need concurrently, up to its size, and lends them to one test after the other.
type pool struct {
	size int

	mu      sync.Mutex
	started int
	idle    chan *cluster.Cluster
	held    map[string]*cluster.Cluster // by the name of the test that has it
	all     []*cluster.Cluster
}

// get returns the RocketMQ of the test or of a parent test. If there is none yet, it takes one until the test ends, or skips the test. See
// cluster.Wanted.
func (p *pool) get(t *testing.T) *cluster.Cluster {
	t.Helper()
	version := cluster.Wanted(t)
	if c := p.has(t.Name()); c != nil {
		return c
	}
	c, err := p.take(version)
	if err != nil {
		t.Fatalf("starting RocketMQ %s: %v", version, err)
	}
	p.mu.Lock()
	p.held[t.Name()] = c
	p.mu.Unlock()
	t.Cleanup(func() {
		p.mu.Lock()
		delete(p.held, t.Name())
		p.mu.Unlock()
		p.idle <- c
	})
	return c
}

func (p *pool) has(test string) *cluster.Cluster {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held == nil {
		p.held, p.idle = map[string]*cluster.Cluster{}, make(chan *cluster.Cluster, p.size)
	}
	for {
		if c := p.held[test]; c != nil {
			return c
		}
		parent := strings.LastIndexByte(test, '/')
		if parent < 0 {
			return nil
		}
		test = test[:parent]
	}
}

func (p *pool) take(version string) (*cluster.Cluster, error) {
	p.mu.Lock()
	select {
	case c := <-p.idle:
		p.mu.Unlock()
		return c, nil
	default:
	}
	if p.started == p.size {
		p.mu.Unlock()
		return <-p.idle, nil
	}
	p.started++
	p.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), cluster.StartDeadline)
	defer cancel()
	c, err := cluster.Start(ctx, cluster.Options{Version: version})
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.started--
		return nil, err
	}
	p.all = append(p.all, c)
	return c, nil
}

func (p *pool) stop() {
	for _, c := range p.all {
		c.Stop()
	}
}

// program returns the path of an external program. If it is missing, the test is skipped; in CI it fails.
func program(t *testing.T, name, pkg string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	message := fmt.Sprintf("%s is missing; install %s", name, pkg)
	if os.Getenv("CI") == "true" {
		t.Fatal(message)
	}
	t.Skip(message)
	return ""
}
