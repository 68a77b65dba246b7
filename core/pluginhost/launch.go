package pluginhost

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
	"google.golang.org/grpc"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
	"github.com/lmqgate/lmqgate/plugins/sdk/handshake"
)

// launch verifies a plugin's file and starts a process that is ready for calls. It repeats every check on each start. On an error it leaves
// nothing behind; the error does not name the plugin.
func (h *Host) launch(ctx context.Context, s spec) (*instance, error) {
	inst, err := h.prepare(ctx, s)
	if err != nil {
		return nil, err
	}
	answering, cancel := context.WithDeadline(ctx, inst.answersBy)
	defer cancel()
	if err := inst.activate(answering); err != nil {
		inst.end(discardTimeout)
		return nil, givenUp(ctx, err)
	}
	return inst, nil
}

// givenUp returns the error of a failed start: err, unless ctx, the caller's context, has ended. Whatever failed then failed because the
// start was given up, at whichever step that was.
func givenUp(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("its start was given up: %w", context.Cause(ctx))
	}
	return err
}

// prepare is launch without Activate: a swap calls it while the old process still serves.
func (h *Host) prepare(ctx context.Context, s spec) (*instance, error) {
	inst, err := h.process(ctx, s)
	if err != nil {
		return nil, givenUp(ctx, err)
	}
	inst.answersBy = time.Now().Add(h.opts.timing.startup)
	answering, cancel := context.WithDeadline(ctx, inst.answersBy)
	defer cancel()
	if err := h.introduce(answering, inst); err != nil {
		inst.end(discardTimeout)
		return nil, givenUp(ctx, err)
	}
	return inst, nil
}

// process starts the process that a spec describes, or attaches to it.
func (h *Host) process(ctx context.Context, s spec) (*instance, error) {
	if s.Attach != "" {
		return h.attach(s)
	}
	file, err := s.executable()
	if err != nil {
		return nil, err
	}
	defer file.close()
	return h.begin(ctx, s, file)
}

// executable returns the verified file to start. Unless it returns an error, the caller must close the file.
func (s spec) executable() (verified, error) {
	if s.Path == "" {
		return verify(s.Dir, s.Name, s.Checksum)
	}
	path, err := filepath.EvalSymlinks(s.Path)
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		return verified{}, fmt.Errorf("%s cannot be read: %w", s.Path, cause(err))
	}
	return examine(path)
}

// begin starts the process and shakes hands.
func (h *Host) begin(ctx context.Context, s spec, file verified) (*instance, error) {
	logs := &lineLog{log: s.log}
	inst := &instance{spec: s, file: file, started: time.Now(), timing: h.opts.timing, offered: h.opts.versions}
	if inst.shakesWithin = s.StartTimeout; inst.shakesWithin == 0 {
		inst.shakesWithin = inst.timing.handshake
	}
	made := &connections{}
	versions := make(map[int]plugin.PluginSet)
	for _, v := range inst.offered {
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
		StartTimeout:     inst.shakesWithin,
		UnixSocketConfig: &plugin.UnixSocketConfig{TempDir: h.sockets.path},
		Logger:           quietLogger(s.log),
		GRPCDialOptions: []grpc.DialOption{
			grpc.WithDefaultCallOptions(
				grpc.MaxCallRecvMsgSize(handshake.MaxMessageBytes), grpc.MaxCallSendMsgSize(handshake.MaxMessageBytes)),
			grpc.WithChainStreamInterceptor(made.stream),
		},
	}
	direct := false
	born, shaken := make(chan *process, 1), make(chan struct{})
	go attend(ctx, inst, born, shaken)
	config.RunnerFunc = func(_ hclog.Logger, cmd *exec.Cmd, dir string) (runner.Runner, error) {
		direct = startFrom(file, cmd)
		cmd.Dir = filepath.Dir(file.path)
		cmd.Env = append(environment(s.MemoryLimit), cmd.Env...)
		inst.sockets = dir
		inst.process = newProcess(cmd, h.spawner, logs)
		born <- inst.process
		return inst.process, nil
	}
	inst.client = plugin.NewClient(config)
	addr, err := inst.client.Start()
	close(shaken)
	if err != nil {
		inst.end(discardTimeout)
		if ctx.Err() != nil {
			return nil, err // a process that was killed has nothing to explain
		}
		return nil, inst.explain(err)
	}
	if !direct {
		if err := file.unchanged(); err != nil {
			inst.end(discardTimeout)
			return nil, err
		}
	}
	offer(inst.process.pid())
	inst.version = inst.client.NegotiatedVersion()
	if err := inst.transport(config, addr); err != nil {
		inst.end(discardTimeout)
		return nil, err
	}
	if err := inst.connect(made); err != nil {
		inst.end(discardTimeout)
		return nil, err
	}
	return inst, nil
}

// patience is the interval of log lines that say that the gateway waits for a plugin.
const patience = 5 * time.Second

// attend accompanies a start until the handshake: it periodically logs that the gateway waits for the plugin, and kills the process when
// ctx ends, because go-plugin would keep waiting.
func attend(ctx context.Context, inst *instance, born <-chan *process, shaken <-chan struct{}) {
	var p *process
	select {
	case p = <-born:
	case <-shaken:
		return
	}
	<-p.begun
	began := time.Now()
	tick := time.NewTicker(patience)
	defer tick.Stop()
	for {
		select {
		case <-shaken:
			return
		case <-ctx.Done():
			_ = p.Kill(ctx)
			return
		case <-tick.C:
			inst.spec.log.Warn("waiting for the plugin to say where it listens", "pid", p.pid(), "waited",
				time.Since(began).Round(time.Second).String(),
				"plugins.start_timeout", inst.shakesWithin.String())
		}
	}
}

// introduce calls Describe and Configure.
func (h *Host) introduce(ctx context.Context, inst *instance) error {
	describe, err := inst.control.Describe(ctx, &pluginv1.DescribeRequest{})
	if err != nil {
		return inst.step(ctx, "Describe", err)
	}
	inst.describe = describe
	switch {
	case inst.spec.Mode() != "" && describe.GetName() != "":
		inst.spec.Name, inst.spec.log = describe.GetName(), h.opts.Log.With("plugin", describe.GetName())
	case describe.GetName() != inst.spec.Name:
		return fmt.Errorf("%s says that its name is %q; name that one in the configuration, or install the right file", inst.file.path, describe.GetName())
	}
	if describe.GetKind() != inst.spec.Kind {
		return fmt.Errorf("it is %s, but it is configured as %s; name another plugin there", kindName(describe.GetKind()), kindName(inst.spec.Kind))
	}
	opts := h.opts
	resp, err := inst.control.Configure(ctx, &pluginv1.ConfigureRequest{
		ConfigJson: inst.spec.block, NodeId: opts.NodeID, DataDir: opts.DataDir, ConfigDir: opts.ConfigDir,
	})
	if err != nil {
		return inst.step(ctx, "Configure", err)
	}
	if len(resp.GetProblems()) > 0 {
		return &ConfigError{Section: sectionOf(inst.spec.Kind), Problems: problemsOf(resp)}
	}
	return nil
}

// environment returns the variables that a plugin gets besides those of the handshake. Nothing of the gateway's own environment is passed
// on.
func environment(memoryLimit uint64) []string {
	env := []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"LANG=C.UTF-8",
		"TMPDIR=" + os.TempDir(),
	}
	if memoryLimit > 0 {
		env = append(env, fmt.Sprintf("GOMEMLIMIT=%d", memoryLimit/10*9)) // Go's collector then works harder before the limit is reached
	}
	return env
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
