package fault

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/plugins/meta-etcd/etcdtest"
	"github.com/lmqgate/lmqgate/test/rocketmq/cluster"
)

// lease is node.lease of the gateways.
const lease = 3 * time.Second

// patience bounds each wait for an expected event, on a busy machine.
const patience = 3 * time.Minute

// user and secret are the credentials of every client.
const user, secret = "demo", "demo-secret"

type settings = map[string]any

// fleet holds the gateways of a test.
type fleet struct {
	t     *testing.T
	rand  *rand.Rand
	salt  string
	first string // the first-level topic of all messages
	mq    *cluster.Cluster
	etcd  *etcdtest.Cluster // of one member, or of one for each gateway
	extra settings          // additional settings of the configuration
	nodes []*node
	// programs is the directory of the gateways' programs; empty: bin.
	programs string
	// fronted: each gateway has a front of its own before RocketMQ.
	fronted bool
	// brokers is how many brokers may have messages of one topic; 0: one.
	brokers int
	// anyMember: each gateway may ask every member of etcd.
	anyMember bool
}

// node is one gateway.
type node struct {
	f        *fleet
	n        int
	id       string
	dir      string
	programs string // see fleet
	cmd      *exec.Cmd
	done     chan struct{} // closed when the process has ended
	front    *front        // see fleet

	mu         sync.Mutex
	older      bool   // the present process is of an older release, whose faults are not this one's
	tcp, admin string // of the present process
	up         bool   // clients may connect to it
}

// newFleet starts gateways with their metadata in etcd.
func newFleet(t *testing.T, r *rand.Rand, nodes int, extra ...settings) *fleet {
	t.Helper()
	return newFleetOn(t, r, nodes, rocketmq(t), etcdtest.Start(t, etcdtest.Options{}), extra...)
}

// newFleetOn starts gateways on a RocketMQ; without etcd their metadata is on the name servers.
func newFleetOn(t *testing.T, r *rand.Rand, nodes int, mq *cluster.Cluster, etcd *etcdtest.Cluster, extra ...settings) *fleet {
	t.Helper()
	f := &fleet{t: t, rand: r, mq: mq, etcd: etcd, extra: settings{}}
	for _, e := range extra {
		maps.Copy(f.extra, e)
	}
	f.launch(nodes)
	return f
}

// newFrontedFleet starts gateways with a front before RocketMQ for each, and their metadata in etcd.
func newFrontedFleet(t *testing.T, r *rand.Rand, nodes int, mq *cluster.Cluster) *fleet {
	t.Helper()
	f := &fleet{t: t, rand: r, mq: mq, etcd: etcdtest.Start(t, etcdtest.Options{}), fronted: true}
	f.launch(nodes)
	return f
}

// newFleetOnFiles starts one gateway with its messages and its metadata in files. extra has further settings of its configuration.
func newFleetOnFiles(t *testing.T, r *rand.Rand, extra settings) *fleet {
	t.Helper()
	f := &fleet{t: t, rand: r, extra: extra}
	f.launch(1)
	return f
}

// launch starts the gateways, creates the first-level topic, and waits until every gateway knows the topic and all other gateways.
func (f *fleet) launch(nodes int) {
	t := f.t
	t.Helper()
	f.salt = fmt.Sprintf("%08x", rand.Uint32())
	f.first = "fault" + f.salt
	for i := range nodes {
		n := &node{f: f, n: i, id: fmt.Sprintf("n%d-%s", i, f.salt), dir: t.TempDir(), programs: cmp.Or(f.programs, bin)}
		if f.fronted {
			n.front = newFront(t, f.mq)
		}
		n.configure()
		f.nodes = append(f.nodes, n)
		t.Cleanup(func() {
			if t.Failed() {
				t.Logf("log of %s:\n%s", n.id, n.log(60))
			}
			n.end()
		})
	}
	var all sync.WaitGroup
	for _, n := range f.nodes {
		n.launch()
		all.Go(n.await)
	}
	all.Wait()
	f.eventually(func() error {
		out, err := exec.Command(filepath.Join(bin, "lmqgate"), "topic", "create", f.first, "--config", f.nodes[0].config(),
			"--admin", "http://"+f.nodes[0].adminAddress()).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	for _, n := range f.nodes {
		f.eventually(func() error { return n.knows(f.first) })
	}
	if nodes > 1 {
		f.eventually(f.knowEachOther)
	}
}

// knowEachOther returns an error unless every node counts every other one as a member.
func (f *fleet) knowEachOther() error {
	for _, n := range f.nodes {
		var answer struct {
			Nodes []struct {
				ID          string
				Connections *int
			}
		}
		if err := n.get("/api/v1/nodes", &answer); err != nil {
			return err
		}
		heard := 0
		for _, other := range answer.Nodes {
			if other.Connections != nil {
				heard++
			}
		}
		if heard != len(f.nodes) {
			return fmt.Errorf("node %s hears of %d nodes, not %d", n.id, heard, len(f.nodes))
		}
	}
	return nil
}

// wake connects sleepers to any node, and requires that no session is lost.
func (f *fleet) wake(rep *report, sleepers []*rover) {
	f.t.Helper()
	f.eachRover(sleepers, func(s *rover) error { return within(func() error { return s.connect(f.any(s.rand)) }) })
	for _, s := range sleepers {
		s.mu.Lock()
		rep.Forgotten += s.lost
		assert.Zero(f.t, s.lost, "the session of %s is lost", s.id)
		s.mu.Unlock()
	}
}

// eventually waits until a condition holds.
func (f *fleet) eventually(condition func() error) {
	f.t.Helper()
	if err := within(condition); err != nil {
		f.t.Fatal(err)
	}
}

// atOnce calls do for the numbers below n, by a number of workers, which have numbers too. Errors fail the test; as many as there are
// workers are reported.
func atOnce(t *testing.T, n, workers int, do func(worker, i int) error) {
	t.Helper()
	next := make(chan int)
	failures := make(chan error, workers)
	var all sync.WaitGroup
	for worker := range workers {
		all.Go(func() {
			for i := range next {
				if err := do(worker, i); err != nil {
					select {
					case failures <- err:
					default:
					}
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	all.Wait()
	close(failures)
	for err := range failures {
		t.Error(err)
	}
}

// within waits until a condition holds, for patience at most.
func within(condition func() error) error {
	deadline := time.Now().Add(patience)
	for {
		err := condition()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("after %v: %w", patience, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// any returns a node that clients may connect to, if possible other than the given ones.
func (f *fleet) any(r *rand.Rand, but ...*node) *node {
	var up, rest []*node
	for _, n := range f.nodes {
		if !n.isUp() {
			continue
		}
		rest = append(rest, n)
		other := true
		for _, b := range but {
			other = other && n != b
		}
		if other {
			up = append(up, n)
		}
	}
	if len(up) == 0 {
		up = rest
	}
	if len(up) == 0 {
		return f.nodes[r.IntN(len(f.nodes))]
	}
	return up[r.IntN(len(up))]
}

func (n *node) config() string { return filepath.Join(n.dir, "lmqgate.json") }

// configure writes the configuration; JSON is YAML.
func (n *node) configure() {
	n.f.t.Helper()
	meta, store := settings{"plugin": "meta-local"}, settings{"type": "local"}
	if n.f.mq != nil {
		namesrv := n.f.mq.Namesrv()
		if n.front != nil {
			namesrv = n.front.namesrv
		}
		meta = settings{"plugin": "meta-namesrv", "config": settings{"namesrv": namesrv}}
		store = settings{"type": "rocketmq", "rocketmq": settings{"namesrv": namesrv}}
	}
	if n.f.etcd != nil {
		members := n.f.etcd.Endpoints()
		if !n.f.anyMember {
			members = members[n.n%len(members):][:1]
		}
		meta = settings{"plugin": "meta-etcd",
			"config": settings{"endpoints": members, "prefix": "/" + n.f.salt, "request_timeout": "2s"}}
	}
	all := settings{
		"node":      settings{"id": n.id, "lease": lease.String()},
		"listeners": []settings{{"type": "tcp", "address": "127.0.0.1:0"}},
		"auth":      settings{"plugin": "auth-hmac", "config": settings{"users": []settings{{"username": user, "secret_key": secret}}}},
		"meta":      meta,
		"store":     store,
		"admin":     settings{"address": "127.0.0.1:0", "token": "fault-test-token"},
	}
	maps.Copy(all, n.f.extra)
	text, err := json.Marshal(all)
	require.NoError(n.f.t, err)
	require.NoError(n.f.t, os.WriteFile(n.config(), text, 0o600))
}

// launch starts the process.
func (n *node) launch() {
	n.f.t.Helper()
	logFile, err := os.OpenFile(filepath.Join(n.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(n.f.t, err)
	defer logFile.Close()
	n.mu.Lock()
	n.older = n.programs != bin
	n.mu.Unlock()
	cmd := exec.Command(filepath.Join(n.programs, "lmqgate"), "serve", "--config", n.config())
	cmd.Stderr, cmd.SysProcAttr = logFile, dieWithTest()
	stdout, err := cmd.StdoutPipe()
	require.NoError(n.f.t, err)
	require.NoError(n.f.t, cmd.Start())
	done := make(chan struct{})
	n.cmd, n.done = cmd, done
	go func() {
		defer close(done)
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			if line, ok := strings.CutPrefix(lines.Text(), "lmqgate ready "); ok {
				n.ready(line)
			}
		}
		_, _ = io.Copy(io.Discard, stdout)
		_ = cmd.Wait()
	}()
}

// ready parses the ready line.
func (n *node) ready(line string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for word := range strings.FieldsSeq(line) {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "tcp":
			n.tcp = value
		case "admin":
			n.admin = value
		}
	}
	n.up = true
}

// await waits until the process is ready.
func (n *node) await() {
	for until := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		up := n.isUp()
		select {
		case <-n.done:
			n.f.t.Errorf("gateway %s ended before it was ready", n.id)
			return
		default:
		}
		if up {
			return
		}
		if time.Now().After(until) {
			n.f.t.Errorf("gateway %s is not ready after %v", n.id, patience)
			return
		}
	}
}

func (n *node) setUp(up bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.up = up
}

func (n *node) isUp() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.up
}

func (n *node) isOlder() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.older
}

func (n *node) address() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.tcp
}

func (n *node) adminAddress() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.admin
}

// kill kills the process as kill -9 does.
func (n *node) kill() {
	n.setUp(false)
	_ = n.cmd.Process.Kill()
	<-n.done
}

// end kills the process in any state.
func (n *node) end() {
	if n.cmd != nil && n.cmd.Process != nil {
		_ = n.cmd.Process.Kill()
		<-n.done
	}
}

// stop stops the process as an operator does.
func (n *node) stop() {
	n.f.t.Helper()
	n.setUp(false)
	_ = n.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-n.done:
	case <-time.After(patience):
		n.f.t.Errorf("gateway %s does not end", n.id)
		n.end()
	}
}

// start restarts the process and waits until it is ready.
func (n *node) start() {
	n.f.t.Helper()
	n.launch()
	n.await()
}

// pause stops the process, like a suspended virtual machine; wake continues it. Its plugins keep running.
func (n *node) pause() {
	n.f.t.Helper()
	n.setUp(false)
	require.NoError(n.f.t, n.cmd.Process.Signal(syscall.SIGSTOP))
}

func (n *node) wake() {
	n.f.t.Helper()
	require.NoError(n.f.t, n.cmd.Process.Signal(syscall.SIGCONT))
	n.setUp(true)
}

// log returns the last lines of the gateway's log.
func (n *node) log(lines int) string {
	text, err := os.ReadFile(filepath.Join(n.dir, "log"))
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// get decodes an answer of the admin API.
func (n *node) get(path string, into any) error {
	request, err := http.NewRequest(http.MethodGet, "http://"+n.adminAddress()+path, nil)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer fault-test-token")
	client := http.Client{Timeout: 10 * time.Second}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	return json.NewDecoder(response.Body).Decode(into)
}

// knows returns nil if the gateway knows a first-level topic.
func (n *node) knows(first string) error {
	var answer struct{ Topics []struct{ Name string } }
	if err := n.get("/api/v1/topics", &answer); err != nil {
		return err
	}
	for _, topic := range answer.Topics {
		if topic.Name == first {
			return nil
		}
	}
	return fmt.Errorf("node %s does not know topic %q", n.id, first)
}

// plugins returns the process ids of the gateway's plugins, by kind.
func (n *node) plugins() (map[string]int, error) {
	var answer struct {
		Plugins []struct {
			Kind string
			PID  int
		}
	}
	err := n.get("/api/v1/plugins", &answer)
	out := map[string]int{}
	for _, p := range answer.Plugins {
		out[p.Kind] = p.PID
	}
	return out, err
}
