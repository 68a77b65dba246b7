package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

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
	return m.Run()
}

// build makes what `make build` makes, in dir.
func build(dir string) error {
	var args []string
	if os.Getenv("LMQGATE_E2E_RACE") == "1" {
		args = []string{"-race"}
	}
	return binaries.Build(dir, args)
}

// rocketmqCluster is the one RocketMQ of the run, started by the first test that wants it.
var rocketmqCluster sharedRocketMQ

type sharedRocketMQ struct {
	once    sync.Once
	cluster *cluster.Cluster
	err     error
}

// get returns the RocketMQ of the run, or skips the test; see cluster.Wanted.
func (r *sharedRocketMQ) get(t *testing.T) *cluster.Cluster {
	t.Helper()
	version := cluster.Wanted(t)
	r.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
		defer cancel()
		r.cluster, r.err = cluster.Start(ctx, cluster.Options{Version: version})
	})
	if r.err != nil {
		t.Fatalf("starting RocketMQ %s: %v", version, r.err)
	}
	return r.cluster
}

func (r *sharedRocketMQ) stop() { r.cluster.Stop() }

// program returns the path of a program of others, or skips the test where it is missing; in CI that is a failure.
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
