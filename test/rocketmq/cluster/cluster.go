package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/lmqgate/lmqgate/internal/freeport"
	"github.com/lmqgate/lmqgate/remoting"
)

// ProbeTopic is a topic that Start creates on every broker to check that the cluster works.
const ProbeTopic = "lmqgate_probe"

// ClusterName is the RocketMQ cluster that the brokers form.
const ClusterName = "lmqgate-test"

// NoBroker is a number of brokers: name servers alone start in a third of the time.
const NoBroker = -1

// Options describe a cluster. The zero value is one name server and one broker of the default version.
type Options struct {
	// Version is the version of RocketMQ; empty for the first of Versions.
	Version string
	// Brokers and Namesrvs are numbers of processes; 0 for one. Brokers are masters named broker-a, broker-b, …; NoBroker is for name
	// servers alone.
	Brokers, Namesrvs int
	// Role is the role of the brokers, if each has a slave of the same name: SYNC_MASTER or ASYNC_MASTER. Empty: there are no slaves.
	Role string
	// Dir holds storage and logs; empty for a temporary directory that Stop removes.
	Dir string
	// Broker and Namesrv are further settings of their configuration files, which override the defaults.
	Broker, Namesrv map[string]string
	// Java are further flags of both JVMs, such as -Dtls.server.mode=enforcing.
	Java []string
	// Optimized runs Java with its optimizing compiler, which pays off after a minute of load: for measurements.
	Optimized bool
	// Client configures the client that waits for the cluster, if the cluster requires credentials or TLS.
	Client remoting.Config
	// Detached makes the processes outlive this one.
	Detached bool
}

// node is a name server or a broker.
type node struct {
	*java
	name string
	addr string
	port int // of a broker
}

// Cluster is a running RocketMQ.
type Cluster struct {
	opts     Options
	lib      string
	dir      string
	temp     bool
	namesrvs []*node
	brokers  []*node
	slaves   []*node // one for each broker, or none
	client   *remoting.Client
}

// Start starts a cluster and returns when each broker has accepted a topic and the name servers have a route for it.
func Start(ctx context.Context, o Options) (*Cluster, error) {
	if o.Version == "" {
		o.Version = Versions[0]
	}
	o.Brokers, o.Namesrvs = max(cmp.Or(o.Brokers, 1), 0), max(o.Namesrvs, 1)
	lib, err := Jars(ctx, o.Version)
	if err != nil {
		return nil, err
	}
	c := &Cluster{opts: o, lib: lib, dir: o.Dir, client: remoting.New(o.Client)}
	if c.dir == "" {
		if c.dir, err = os.MkdirTemp("", "lmqgate-rocketmq-"); err != nil {
			return nil, fmt.Errorf("make the cluster's directory: %w", err)
		}
		c.temp = true
	}
	if err := c.start(ctx); err != nil {
		c.Stop()
		return nil, fmt.Errorf("start RocketMQ %s: %w", o.Version, err)
	}
	return c, nil
}

func (c *Cluster) start(ctx context.Context) error {
	for i := range c.opts.Namesrvs {
		n, err := c.newNamesrv(i)
		if err != nil {
			return err
		}
		c.namesrvs = append(c.namesrvs, n)
		if err := n.start(); err != nil {
			return err
		}
	}
	for _, n := range c.namesrvs {
		if err := n.awaitPort(ctx, n.addr); err != nil {
			return err
		}
	}
	for i := range c.opts.Brokers {
		b, err := c.newBroker(i)
		if err != nil {
			return err
		}
		c.brokers = append(c.brokers, b)
		if err := b.start(); err != nil {
			return err
		}
	}
	for _, b := range c.brokers {
		if err := b.awaitPort(ctx, b.addr); err != nil {
			return err
		}
		if err := c.CreateTopic(ctx, b.name, ProbeTopic, 1); err != nil {
			return err
		}
	}
	if len(c.brokers) == 0 {
		// The first requests of a Java process are slow, and those of tests have short deadlines.
		for _, n := range c.namesrvs {
			if err := retry(ctx, func() error { return c.client.PutKVConfig(ctx, n.addr, ProbeTopic, "started", n.name) }); err != nil {
				return err
			}
		}
		return nil
	}
	if err := c.AwaitRoute(ctx, ProbeTopic, c.BrokerNames()...); err != nil {
		return err
	}
	return c.startSlaves(ctx)
}

func (c *Cluster) newNamesrv(i int) (*node, error) {
	port, err := freeport.Find()
	if err != nil {
		return nil, err
	}
	n := &node{name: "namesrv-" + string(rune('a'+i)), addr: "127.0.0.1:" + strconv.Itoa(port)}
	home := filepath.Join(c.dir, n.name)
	conf, err := writeConfig(home, map[string]string{
		"listenPort": strconv.Itoa(port), "bindAddress": "127.0.0.1", "rocketmqHome": home,
		"kvConfigPath": filepath.Join(home, "kvConfig.json"),
		// A killed broker leaves the routes when its connection breaks; the scan detects hanging brokers.
		"scanNotActiveBrokerInterval": "1000",
	}, c.opts.Namesrv)
	if err != nil {
		return nil, err
	}
	n.java = c.java(home, "org.apache.rocketmq.namesrv.NamesrvStartup", conf, "-Xms64m", "-Xmx256m")
	return n, nil
}

// master is the identity of brokers that are no slaves.
var master = map[string]string{"brokerId": "0"}

func (c *Cluster) newBroker(i int) (*node, error) {
	name := "broker-" + string(rune('a'+i))
	if c.opts.Role != "" {
		return c.broker(name, name, map[string]string{"brokerId": "0", "brokerRole": c.opts.Role})
	}
	return c.broker(name, name, master)
}

// broker makes a broker with a directory, and with an identity among those of its name.
func (c *Cluster) broker(name, dir string, identity map[string]string) (*node, error) {
	port, err := freeport.Find(-2, 1) // the broker also listens there
	if err != nil {
		return nil, err
	}
	n := &node{name: name, addr: "127.0.0.1:" + strconv.Itoa(port), port: port}
	return n, c.configure(n, filepath.Join(c.dir, dir), identity)
}

// configure writes a broker's configuration.
func (c *Cluster) configure(n *node, home string, identity map[string]string) error {
	port, store := n.port, filepath.Join(home, "store")
	settings := map[string]string{
		"brokerClusterName": ClusterName, "brokerName": n.name,
		"brokerIP1": "127.0.0.1", "brokerIP2": "127.0.0.1", "bindAddress": "127.0.0.1",
		"listenPort": strconv.Itoa(port), "haListenPort": strconv.Itoa(port + 1), "fastListenPort": strconv.Itoa(port - 2),
		"namesrvAddr": strings.Join(c.Namesrv(), ";"), "rocketmqHome": home,
		"storePathRootDir": store, "storePathCommitLog": filepath.Join(store, "commitlog"),
		"mappedFileSizeCommitLog": "67108864", "mappedFileSizeConsumeQueue": "600000",
		"enableLmq": "true", "enableMultiDispatch": "true", "longPollingEnable": "true",
		"autoCreateTopicEnable": "false", "autoCreateSubscriptionGroup": "true",
		// The broker must not appear broken on a shared, slow or nearly full machine.
		"diskMaxUsedSpaceRatio": "99", "waitTimeMillsInSendQueue": "2000", "osPageCacheBusyTimeOutMills": "2000",
		"messageIndexEnable":       "false",
		"registerNameServerPeriod": "10000",
	}
	maps.Copy(settings, identity)
	conf, err := writeConfig(home, settings, c.opts.Broker)
	if err != nil {
		return err
	}
	n.java = c.java(home, "org.apache.rocketmq.broker.BrokerStartup", conf, "-Xms256m", "-Xmx768m", "-XX:MaxDirectMemorySize=1g",
		"-Drocketmq.broker.diskSpaceWarningLevelRatio=0.99", "-Drocketmq.broker.diskSpaceCleanForciblyRatio=0.98")
	return nil
}

func (c *Cluster) java(home, class, conf string, flags ...string) *java {
	if !c.opts.Optimized {
		flags = slices.Concat(flags, briefFlags)
	}
	args := slices.Concat(
		flags,
		moduleFlags,
		[]string{"-Duser.home=" + home},
		c.opts.Java,
		[]string{"-cp", c.lib + "/*", class, "-c", conf},
	)
	return &java{args: args, home: home, detached: c.opts.Detached}
}

func writeConfig(home string, settings, more map[string]string) (string, error) {
	if err := os.MkdirAll(home, 0o755); err != nil {
		return "", fmt.Errorf("make %s: %w", home, err)
	}
	var b strings.Builder
	for k, v := range settings {
		if _, other := more[k]; !other {
			fmt.Fprintf(&b, "%s=%s\n", k, v)
		}
	}
	for k, v := range more {
		fmt.Fprintf(&b, "%s=%s\n", k, v)
	}
	path := filepath.Join(home, "server.properties")
	if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
		return "", fmt.Errorf("write %s: %w", path, err)
	}
	return path, nil
}

// Stop ends all processes and removes a temporary directory. It does nothing for a nil cluster.
func (c *Cluster) Stop() {
	if c == nil {
		return
	}
	for _, n := range slices.Concat(c.slaves, c.brokers, c.namesrvs) {
		if n != nil && n.java != nil {
			n.stop(syscall.SIGKILL) // the storage is not used again
		}
	}
	_ = c.client.Close()
	if c.temp {
		_ = os.RemoveAll(c.dir)
	}
}

// Namesrv returns the addresses of the name servers.
func (c *Cluster) Namesrv() []string { return addresses(c.namesrvs) }

// Brokers returns the addresses of the brokers, in the order of BrokerNames.
func (c *Cluster) Brokers() []string { return addresses(c.brokers) }

// BrokerNames returns the names of the brokers.
func (c *Cluster) BrokerNames() []string {
	var names []string
	for _, b := range c.brokers {
		names = append(names, b.name)
	}
	return names
}

// Dir returns the directory that has a subdirectory for each process, with storage and logs.
func (c *Cluster) Dir() string { return c.dir }

// PIDs returns the process ids, name servers first.
func (c *Cluster) PIDs() []int {
	var pids []int
	for _, n := range slices.Concat(c.namesrvs, c.brokers, c.slaves) {
		if n != nil {
			pids = append(pids, n.pid())
		}
	}
	return pids
}

func addresses(nodes []*node) []string {
	var a []string
	for _, n := range nodes {
		a = append(a, n.addr)
	}
	return a
}

// KillBroker kills the i-th broker as kill -9 does.
func (c *Cluster) KillBroker(i int) { c.brokers[i].stop(syscall.SIGKILL) }

// KillNamesrv kills the i-th name server as kill -9 does.
func (c *Cluster) KillNamesrv(i int) { c.namesrvs[i].stop(syscall.SIGKILL) }

// SignalBroker sends the i-th broker a signal, such as SIGSTOP and SIGCONT to simulate a hang.
func (c *Cluster) SignalBroker(i int, sig syscall.Signal) error {
	return syscall.Kill(c.brokers[i].pid(), sig)
}

// RestartBroker restarts the i-th broker with its old port and storage, killing it first if it runs. It returns when the name servers have
// the broker's routes again.
func (c *Cluster) RestartBroker(ctx context.Context, i int) error {
	b := c.brokers[i]
	b.stop(syscall.SIGTERM)
	if err := b.start(); err != nil {
		return err
	}
	if err := b.awaitPort(ctx, b.addr); err != nil {
		return err
	}
	return c.AwaitRoute(ctx, ProbeTopic, b.name)
}

// RestartNamesrv restarts the i-th name server with its old port and configuration table, killing it first if it runs.
func (c *Cluster) RestartNamesrv(ctx context.Context, i int) error {
	n := c.namesrvs[i]
	n.stop(syscall.SIGTERM)
	if err := n.start(); err != nil {
		return err
	}
	return n.awaitPort(ctx, n.addr)
}

// CreateTopic creates a topic with a number of queues on one broker.
func (c *Cluster) CreateTopic(ctx context.Context, broker, topic string, queues int) error {
	i := slices.Index(c.BrokerNames(), broker)
	if i < 0 {
		return fmt.Errorf("create topic %q: no broker %q", topic, broker)
	}
	return retry(ctx, func() error {
		return c.client.CreateTopic(
			ctx,
			c.brokers[i].addr,
			remoting.TopicConfig{Name: topic, ReadQueues: queues, WriteQueues: queues, Perm: remoting.PermReadWrite},
		)
	})
}

// AwaitRoute waits until every name server has a route of the topic to each of the brokers.
func (c *Cluster) AwaitRoute(ctx context.Context, topic string, brokers ...string) error {
	for _, n := range c.namesrvs {
		err := retry(ctx, func() error {
			route, err := c.client.TopicRoute(ctx, n.addr, topic)
			if err != nil {
				return err
			}
			for _, b := range brokers {
				if route.Master(b) == "" {
					return fmt.Errorf("no route of %q to %s", topic, b)
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("wait for %s: %w", n.addr, err)
		}
	}
	return nil
}

// retry calls f until it succeeds or ctx ends.
func retry(ctx context.Context, f func() error) error {
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Mqadmin runs RocketMQ's command line tool, such as Mqadmin(ctx, "updateKvConfig", "-s", "LMQ", …), with -n set, and
// returns what it printed.
func (c *Cluster) Mqadmin(ctx context.Context, args ...string) (string, error) {
	return Mqadmin(ctx, c.opts.Version, strings.Join(c.Namesrv(), ";"), args...)
}

// Mqadmin runs the tool of a version against name servers.
func Mqadmin(ctx context.Context, version, namesrv string, args ...string) (string, error) {
	lib, err := Jars(ctx, version)
	if err != nil {
		return "", err
	}
	home, err := os.MkdirTemp("", "lmqgate-mqadmin-")
	if err != nil {
		return "", fmt.Errorf("run mqadmin: %w", err)
	}
	defer func() { _ = os.RemoveAll(home) }()
	all := slices.Concat([]string{"-Xmx256m"}, briefFlags, moduleFlags, []string{
		"-Duser.home=" + home, "-Drocketmq.namesrv.addr=" + namesrv,
		"-cp", lib + "/*", "org.apache.rocketmq.tools.command.MQAdminStartup"}, args)
	cmd := exec.CommandContext(ctx, "java", all...)
	cmd.Env = append(os.Environ(), "ROCKETMQ_HOME="+home, "NAMESRV_ADDR="+namesrv)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("mqadmin %s: %w\n%s", strings.Join(args, " "), err, tail(out))
	}
	return string(out), nil
}
