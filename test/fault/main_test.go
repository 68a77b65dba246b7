package fault

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"

	"github.com/lmqgate/lmqgate/test/binaries"
	"github.com/lmqgate/lmqgate/test/rocketmq/cluster"
)

// Environment variables. EnvFault must be 1 for all tests to run; otherwise only those of onFiles run, once, in their short form. EnvSeed
// is the seed of the first run, "random", or empty for a fixed one; each further run has the next seed. EnvRuns is how often each test
// runs. EnvFull, when it is 1, makes tests longer and larger. EnvReport is a file to which each run appends a line of JSON.
const (
	EnvFault  = "LMQGATE_FAULT"
	EnvSeed   = "LMQGATE_FAULT_SEED"
	EnvRuns   = "LMQGATE_FAULT_RUNS"
	EnvFull   = "LMQGATE_FAULT_FULL"
	EnvReport = "LMQGATE_FAULT_REPORT"
)

// bin is the directory with lmqgate and, below plugins, its plugins.
var bin string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	all := os.Getenv(EnvFault) == "1"
	if cluster.VersionRun() && !all {
		return m.Run() // the tests are skipped
	}
	dir, err := os.MkdirTemp("", "lmqgate-fault-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	plugins := []string{"auth-hmac", "meta-local"}
	if all {
		plugins = append(plugins, "meta-etcd", "meta-namesrv")
	}
	if err := binaries.Build(dir, nil, plugins...); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	bin = dir
	defer func() { shared.Stop() }()
	return m.Run()
}

// shared is the RocketMQ of all tests that do not break it permanently. They run sequentially.
var shared *cluster.Cluster

// rocketmq returns the RocketMQ of the run, or skips the test.
func rocketmq(t *testing.T) *cluster.Cluster {
	t.Helper()
	version := cluster.Wanted(t)
	if shared != nil {
		return shared
	}
	ctx, cancel := context.WithTimeout(t.Context(), cluster.StartDeadline)
	defer cancel()
	c, err := cluster.Start(ctx, cluster.Options{Version: version})
	if err != nil {
		t.Fatal(err)
	}
	shared = c
	return c
}

func full() bool { return os.Getenv(EnvFull) == "1" }

// scale returns n, or more with EnvFull.
func scale(n, more int) int {
	if full() {
		return more
	}
	return n
}

// each runs a test EnvRuns times, each time with a seed of its own.
func each(t *testing.T, test func(t *testing.T, r *rand.Rand, rep *report)) {
	t.Helper()
	if os.Getenv(EnvFault) != "1" {
		t.Skip("faults are tested with make fault")
	}
	rocketmq(t)
	repeat(t, test)
}

// onFiles is each for tests of a single gateway with its messages and its metadata in files. Such tests need nothing else, and also run
// with all other tests.
func onFiles(t *testing.T, test func(t *testing.T, r *rand.Rand, rep *report)) {
	t.Helper()
	if cluster.VersionRun() && os.Getenv(EnvFault) != "1" {
		t.Skip("it has nothing to do with the version of RocketMQ")
	}
	repeat(t, test)
}

func repeat(t *testing.T, test func(t *testing.T, r *rand.Rand, rep *report)) {
	t.Helper()
	runs, seed := 1, uint64(1)
	if n, err := strconv.Atoi(os.Getenv(EnvRuns)); err == nil {
		runs = n
	}
	switch text := os.Getenv(EnvSeed); text {
	case "":
	case "random":
		seed = rand.Uint64N(1_000_000)
	default:
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("%s=%s: %v", EnvSeed, text, err)
		}
		seed = n
	}
	for i := range runs {
		seed := seed + uint64(i)
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			h := fnv.New64a()
			_, _ = h.Write([]byte(t.Name()))
			rep := &report{Case: t.Name(), Seed: seed}
			test(t, rand.New(rand.NewPCG(seed, h.Sum64())), rep)
			rep.Failed = t.Failed()
			rep.write(t)
		})
	}
}

// report holds the counts of a run.
type report struct {
	Case string `json:"case"`
	Seed uint64 `json:"seed"`
	// Messages counts acknowledged messages, Deliveries the deliveries to rovers.
	Messages   int `json:"messages"`
	Deliveries int `json:"deliveries"`
	Lost       int `json:"lost"`
	// Unreplicated counts the messages that only a broker had that is gone for good; they are not in Lost.
	Unreplicated int `json:"unreplicated,omitempty"`
	// Duplicated counts repeated deliveries of QoS 1, Twice those of QoS 2.
	Duplicated int `json:"duplicated"`
	Twice      int `json:"twice"`
	Disorder   int `json:"out_of_order"`
	Strays     int `json:"strays"`
	// Counts of refused CONNECTs, lost sessions, wrong acknowledgements, and packets on a connection beside a newer one.
	Refused   int `json:"refused"`
	Forgotten int `json:"sessions_lost"`
	WrongAcks int `json:"wrong_acks"`
	Second    int `json:"second_connections"`
	// Longest is the longest time that a rover was without a message, in milliseconds.
	Longest int64 `json:"longest_ms"`
	// For a slow consumer: its backlog in bytes, the gateway's peak resident memory, and the 99th percentile of other clients' latencies
	// before and during the backlog.
	Backlog int64 `json:"backlog,omitempty"`
	Memory  int64 `json:"memory,omitempty"`
	Before  int64 `json:"p99_before_us,omitempty"`
	During  int64 `json:"p99_during_us,omitempty"`
	// How many clients reconnected at once, and how long that took, in milliseconds.
	Clients int   `json:"clients,omitempty"`
	Back    int64 `json:"back_ms,omitempty"`
	Failed  bool  `json:"failed"`
}

var reports sync.Mutex

func (r *report) write(t *testing.T) {
	t.Helper()
	line, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("counted: %s", line)
	path := os.Getenv(EnvReport)
	if path == "" {
		return
	}
	reports.Lock()
	defer reports.Unlock()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := fmt.Fprintf(f, "%s\n", line); err != nil {
		t.Fatal(err)
	}
}
