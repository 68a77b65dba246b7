package pluginhost

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
	"github.com/lmqgate/lmqgate/plugins/sdk/handshake"
)

// discardTimeout is how long a process that could not be started may take to go by itself.
const discardTimeout = 300 * time.Millisecond

// spec is what a plugin is to be, whatever process serves it.
type spec struct {
	name     string
	kind     pluginv1.Kind
	config   []byte // JSON
	checksum string // "" where not pinned
}

// instance is one process of a plugin, from its start to its end.
type instance struct {
	file     verified
	process  *process
	client   *plugin.Client
	conn     *grpc.ClientConn
	control  pluginv1.PluginClient
	describe *pluginv1.DescribeResponse
	// version is the contract version that was agreed on; secure says whether the transport is.
	version int
	secure  bool
	started time.Time
	timing  timing
}

// launch takes a plugin from its file to a process that is ready for calls. On an error nothing is left behind, and the
// error does not name the plugin. It checks everything again on each start.
func (p *Plugin) launch(ctx context.Context) (*instance, error) {
	inst, err := p.prepare(ctx)
	if err != nil {
		return nil, err
	}
	if err := inst.activate(ctx); err != nil {
		inst.end(discardTimeout)
		return nil, err
	}
	return inst, nil
}

// prepare is launch without Activate: a swap does it while the process before is still serving.
func (p *Plugin) prepare(ctx context.Context) (*instance, error) {
	file, err := verify(p.host.opts.Dir, p.spec.name, p.spec.checksum)
	if err != nil {
		return nil, err
	}
	inst, err := p.begin(file)
	if err != nil {
		return nil, err
	}
	if err := p.introduce(ctx, inst); err != nil {
		inst.end(discardTimeout)
		return nil, err
	}
	return inst, nil
}

// begin starts the process and shakes hands.
func (p *Plugin) begin(file verified) (*instance, error) {
	logs := &lineLog{log: p.log}
	inst := &instance{file: file, started: time.Now(), timing: p.host.opts.timing}
	versions := make(map[int]plugin.PluginSet)
	for _, v := range handshake.Versions() {
		versions[v] = plugin.PluginSet{handshake.PluginName: plugin.NetRPCUnsupportedPlugin{}}
	}
	config := &plugin.ClientConfig{
		HandshakeConfig: plugin.HandshakeConfig{
			MagicCookieKey: handshake.CookieKey, MagicCookieValue: handshake.CookieValue,
		},
		VersionedPlugins: versions,
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		AutoMTLS:         true,
		SkipHostEnv:      true,
		StartTimeout:     inst.timing.handshake,
		UnixSocketConfig: &plugin.UnixSocketConfig{TempDir: p.host.sockets.path},
		Logger:           quietLogger(p.log),
		GRPCDialOptions: []grpc.DialOption{
			grpc.WithDefaultCallOptions(
				grpc.MaxCallRecvMsgSize(handshake.MaxMessageBytes), grpc.MaxCallSendMsgSize(handshake.MaxMessageBytes)),
		},
	}
	var private string
	config.RunnerFunc = func(_ hclog.Logger, cmd *exec.Cmd, dir string) (runner.Runner, error) {
		cmd.Path, cmd.Args = file.path, []string{file.path}
		cmd.Dir = filepath.Dir(file.path)
		cmd.Env = append(environment(), cmd.Env...)
		private = dir
		inst.process = newProcess(cmd, p.host.spawner, logs)
		return inst.process, nil
	}
	inst.client = plugin.NewClient(config)
	addr, err := inst.client.Start()
	if err != nil {
		inst.end(discardTimeout)
		return nil, inst.explain(err)
	}
	inst.version = inst.client.NegotiatedVersion()
	if err := inst.transport(p, config, addr, private); err != nil {
		inst.end(discardTimeout)
		return nil, err
	}
	if err := inst.connect(); err != nil {
		inst.end(discardTimeout)
		return nil, err
	}
	return inst, nil
}

// transport settles whether the connection is secured: it is, unless the plugin's handshake line has no certificate.
func (i *instance) transport(p *Plugin, config *plugin.ClientConfig, addr net.Addr, private string) error {
	fields := strings.Split(i.process.shaken(), "|")
	i.secure = len(fields) >= 6 && fields[5] != ""
	switch a := addr.(type) {
	case *net.UnixAddr:
		inside := strings.HasPrefix(filepath.Clean(a.Name), private+string(filepath.Separator))
		if !i.secure && !inside {
			return fmt.Errorf("it listens without TLS on %s, outside of the directory in %s; it must make its socket there", a.Name, plugin.EnvUnixSocketDir)
		}
	case *net.TCPAddr:
		if !a.IP.IsLoopback() {
			return fmt.Errorf("it listens on %s; a plugin may listen on a unix socket or on a loopback address only", a)
		}
		if !i.secure {
			p.log.Warn("plugin listens on a loopback port without TLS: every user of this machine can call it", "address", a.String())
		}
	}
	if !i.secure {
		config.TLSConfig = nil // before the connection is made in connect
	}
	return nil
}

// connect makes the gRPC connection.
func (i *instance) connect() error {
	protocol, err := i.client.Client()
	if err != nil {
		return fmt.Errorf("no connection to it could be made: %w", err)
	}
	c, ok := protocol.(*plugin.GRPCClient)
	if !ok {
		return fmt.Errorf("it does not speak gRPC")
	}
	i.conn, i.control = c.Conn, pluginv1.NewPluginClient(c.Conn)
	return nil
}

// introduce asks a process what it is and hands over its configuration.
func (p *Plugin) introduce(ctx context.Context, inst *instance) error {
	describe, err := inst.control.Describe(ctx, &pluginv1.DescribeRequest{})
	if err != nil {
		return inst.step("Describe", err)
	}
	inst.describe = describe
	switch {
	case describe.GetName() != p.spec.name:
		return fmt.Errorf("%s says that its name is %q; name that one in the configuration, or install the right file", inst.file.path, describe.GetName())
	case describe.GetKind() != p.spec.kind:
		return fmt.Errorf("it is %s, but it is configured as %s; name another plugin there", kindName(describe.GetKind()), kindName(p.spec.kind))
	}
	opts := p.host.opts
	resp, err := inst.control.Configure(ctx, &pluginv1.ConfigureRequest{
		ConfigJson: p.spec.config, NodeId: opts.NodeID, DataDir: opts.DataDir, ConfigDir: opts.ConfigDir,
	})
	if err != nil {
		return inst.step("Configure", err)
	}
	if len(resp.GetProblems()) > 0 {
		return &ConfigError{Section: sectionOf(p.spec.kind), Problems: problemsOf(resp)}
	}
	return nil
}

// activate makes the process ready for calls, and has it answer Health once. A plugin whose backend is away is started all
// the same: that is for Healthy to say, not a fault of the start.
func (i *instance) activate(ctx context.Context) error {
	if _, err := i.control.Activate(ctx, &pluginv1.ActivateRequest{}); err != nil {
		return i.step("Activate", err)
	}
	if _, err := i.control.Health(ctx, &pluginv1.HealthRequest{}); err != nil {
		return i.step("Health", err)
	}
	return nil
}

// stop ends the process in order: Deactivate, end of its standard input, and, where that does not help, a kill. It returns
// when the process has ended.
func (i *instance) stop() {
	if i.exitedAlready() == nil {
		ctx, cancel := context.WithTimeout(context.Background(), i.timing.deactivate)
		_, _ = i.control.Deactivate(ctx, &pluginv1.DeactivateRequest{})
		cancel()
	}
	i.end(i.timing.exit)
}

// end ends the process without Deactivate; it may be called at any stage. patience is how long it may take by itself.
func (i *instance) end(patience time.Duration) {
	if i.process != nil && i.process.cmd.Process != nil {
		i.process.letGo()
		select {
		case <-i.process.exited:
		case <-time.After(patience):
			_ = i.process.Kill(context.Background())
			<-i.process.exited
		}
	}
	i.client.Kill() // the process is gone: this closes connections and removes the socket's directory
}

// exitedAlready is why the process is gone, or nil while it is there.
func (i *instance) exitedAlready() error {
	select {
	case <-i.process.exited:
		return i.process.ended()
	default:
		return nil
	}
}

// ended says how the process ended; it must have.
func (p *process) ended() error {
	how := "it exited by itself"
	if p.exit != nil {
		how = "it ended with " + p.exit.Error()
	}
	if last := p.logs.lastLine(); last != "" {
		return fmt.Errorf("%s; its last line was: %s", how, last)
	}
	return errors.New(how)
}

// environment is all that a plugin is given beside what the handshake needs: nothing of the gateway's own.
func environment() []string {
	return []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"LANG=C.UTF-8",
		"TMPDIR=" + os.TempDir(),
	}
}

// explain turns go-plugin's reasons for a failed start into one line.
func (i *instance) explain(err error) error {
	proc, file := i.process, i.file
	if proc == nil {
		return err
	}
	if proc.cmd.Process == nil {
		return fmt.Errorf("%s cannot be started: %w; it must be a program for this system and processor", file.path, cause(err))
	}
	line := proc.shaken()
	if line == "" {
		// Killed by go-plugin after a time-out, or gone by itself; the former has waited all its time.
		if strings.Contains(err.Error(), "timeout") {
			return fmt.Errorf("%s did not say within %v where it listens; is it a plugin?", file.path, i.timing.handshake)
		}
		<-proc.exited
		return fmt.Errorf("%s ended before it said where it listens: %w", file.path, proc.ended())
	}
	fields := strings.Split(line, "|")
	if len(fields) < 5 {
		return fmt.Errorf("%s printed %q instead of a plugin's handshake line; is it a plugin?", file.path, clip(line))
	}
	if v, convErr := strconv.Atoi(fields[1]); convErr != nil || v < handshake.OldestVersion || v > handshake.Version {
		return fmt.Errorf("%s speaks version %s of the plugin contract, this gateway speaks %s; install the plugin for this release",
			file.path, clip(fields[1]), versionRange())
	}
	if fields[4] != string(plugin.ProtocolGRPC) {
		return fmt.Errorf("%s speaks %s; a plugin must speak grpc", file.path, clip(fields[4]))
	}
	return fmt.Errorf("%s: %s", file.path, clip(err.Error()))
}

func versionRange() string {
	if handshake.OldestVersion == handshake.Version {
		return strconv.Itoa(handshake.Version)
	}
	return fmt.Sprintf("%d to %d", handshake.OldestVersion, handshake.Version)
}

// step says in which step of its introduction a plugin failed.
func (i *instance) step(name string, err error) error {
	s := status.Convert(err)
	switch s.Code() {
	case codes.Unavailable:
		// The connection is gone; most likely because the process is, which says more.
		select {
		case <-i.process.exited:
			return i.process.ended()
		case <-time.After(discardTimeout):
		}
	case codes.DeadlineExceeded:
		return fmt.Errorf("it did not answer %s in time", name)
	case codes.Unimplemented:
		return fmt.Errorf("it does not serve %s of the plugin contract: %s", name, clip(s.Message()))
	}
	return fmt.Errorf("%s failed: %s", name, clip(s.Message()))
}

func kindName(k pluginv1.Kind) string {
	switch k {
	case pluginv1.Kind_KIND_AUTH:
		return "an auth plugin"
	case pluginv1.Kind_KIND_META:
		return "a meta plugin"
	}
	return "a plugin of an unknown kind"
}
