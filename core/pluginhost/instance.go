package pluginhost

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// discardTimeout is how long a process whose start failed may take to exit by itself.
const discardTimeout = 300 * time.Millisecond

// exitSeenWithin is how long after its connection broke a process is given to be seen to have ended. It exceeds drainTimeout: the exit is
// known only when the last log lines were read.
const exitSeenWithin = 2 * time.Second

// instance is one process of a plugin, from its start to its end.
type instance struct {
	spec     spec
	file     verified
	process  *process
	client   *plugin.Client
	conn     *grpc.ClientConn // nil until connected
	sockets  string           // the private directory for its socket
	control  pluginv1.PluginClient
	describe *pluginv1.DescribeResponse
	// offered are the contract versions that the gateway speaks; version is the negotiated one; secure says whether the transport uses TLS.
	offered []int
	version int
	secure  bool
	started time.Time
	timing  timing
	// shakesWithin bounds the time until the handshake; answersBy is the deadline of the rest of the start.
	shakesWithin time.Duration
	answersBy    time.Time
	// unwell is the result of Health when the process was activated.
	unwell error
	// calls counts the calls in progress on this process. It grows only under Plugin.mu, while the process is live.
	calls sync.WaitGroup
}

// exited returns a channel that is closed when the process has ended. For an attached process it is never closed, because the gateway
// cannot tell.
func (i *instance) exited() <-chan struct{} {
	if i.process == nil {
		return nil
	}
	return i.process.exited
}

// ended describes how the process ended. The process must have ended.
func (i *instance) ended() error { return i.process.ended() }

// pid returns the process id, or 0 for an attached process.
func (i *instance) pid() int {
	if i.process == nil {
		return 0
	}
	return i.process.pid()
}

// drain waits until the calls in progress on a process that is no longer live have ended, or until patience is over. Calls that are
// unanswered then end with the process.
func (i *instance) drain(patience time.Duration) {
	done := make(chan struct{})
	go func() { i.calls.Wait(); close(done) }() // ends with the calls, at the latest with the process
	select {
	case <-done:
	case <-i.exited():
	case <-time.After(patience):
		i.spec.log.Warn("the calls of a plugin that was replaced have not ended; it is stopped", "pid", i.pid(), "waited", patience.String())
	}
}

// activate makes the process ready for calls, and calls Health once. A plugin whose backend is away starts all the same: Healthy reports
// that; it does not fail the start.
func (i *instance) activate(ctx context.Context) error {
	if _, err := i.control.Activate(ctx, &pluginv1.ActivateRequest{}); err != nil {
		return i.step(ctx, "Activate", err)
	}
	health, err := i.control.Health(ctx, &pluginv1.HealthRequest{})
	if err != nil {
		return i.step(ctx, "Health", err)
	}
	i.unwell = unwellness(i.describe.GetName(), health)
	return nil
}

// unwellness returns what a plugin reports as wrong, or nil.
func unwellness(name string, h *pluginv1.HealthResponse) error {
	if h.GetOk() {
		return nil
	}
	return errors.New("plugin " + name + ": " + clip(h.GetReason()))
}

// stop ends the process cleanly: Deactivate, end of its standard input and, if it does not exit, a kill. It returns when the process has
// ended.
func (i *instance) stop() {
	if i.exitedAlready() == nil {
		ctx, cancel := context.WithTimeout(context.Background(), i.timing.deactivate)
		_, _ = i.control.Deactivate(ctx, &pluginv1.DeactivateRequest{})
		cancel()
	}
	i.end(i.timing.exit)
}

// end ends the process without Deactivate; it may be called at any stage. patience is how long the process may take to exit by itself.
func (i *instance) end(patience time.Duration) {
	if i.process != nil && i.process.cmd.Process != nil {
		i.process.letGo()
		select {
		case <-i.exited():
		case <-time.After(patience):
			_ = i.process.Kill(context.Background())
			<-i.exited()
		}
	}
	if i.client == nil && i.conn != nil { // an attached process
		_ = i.conn.Close()
	} else if i.conn != nil {
		i.client.Kill() // the process is gone: this closes the connection
	}
	// Without a connection, Kill would try to connect to a process that is gone.
	if i.sockets != "" {
		_ = os.RemoveAll(i.sockets)
	}
}

// exitedAlready returns why the process has ended, or nil while it runs.
func (i *instance) exitedAlready() error {
	select {
	case <-i.exited():
		return i.ended()
	default:
		return nil
	}
}

// ended describes how the process ended. The process must have ended.
func (p *process) ended() error {
	if last := p.logs.lastLine(); last != "" {
		return fmt.Errorf("%s; its last line was: %s", p.how(), last)
	}
	return errors.New(p.how())
}

// endedEarly is ended for a process that ended during its start, when its output may be the only explanation.
func (p *process) endedEarly() error {
	lines := p.logs.tail()
	if len(lines) < 2 {
		return p.ended()
	}
	return fmt.Errorf("%s; its last %d lines were: %s", p.how(), len(lines), strings.Join(lines, " | "))
}

func (p *process) how() string {
	if p.exit != nil {
		return "it ended with " + p.exit.Error()
	}
	return "it exited by itself"
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
		// Killed by go-plugin after a timeout, or exited by itself; in the former case the whole time has passed.
		if strings.Contains(err.Error(), "timeout") {
			return fmt.Errorf("%s did not say within %v where it listens; is it a plugin? plugins.start_timeout allows more time", file.path, i.shakesWithin)
		}
		<-proc.exited
		return fmt.Errorf("%s ended before it said where it listens: %w", file.path, proc.endedEarly())
	}
	fields := strings.Split(line, "|")
	if len(fields) < 5 {
		return fmt.Errorf("%s printed %q instead of a plugin's handshake line; is it a plugin?", file.path, clip(line))
	}
	if v, convErr := strconv.Atoi(fields[1]); convErr != nil || !slices.Contains(i.offered, v) {
		return fmt.Errorf("%s speaks version %s of the plugin contract, this gateway speaks %s; install the plugin for this release",
			file.path, clip(fields[1]), versionList(i.offered))
	}
	if fields[4] != string(plugin.ProtocolGRPC) {
		return fmt.Errorf("%s speaks %s; a plugin must speak grpc", file.path, clip(fields[4]))
	}
	if end := i.endedMeanwhile(context.Background()); end != nil {
		return end
	}
	return fmt.Errorf("%s: %s", file.path, clip(err.Error()))
}

// endedMeanwhile returns how the process ended when that explains a broken connection better than the connection's own error, or nil when
// the process goes on. The connection can break a moment before the exit is seen, so it waits for that, but not longer than ctx.
func (i *instance) endedMeanwhile(ctx context.Context) error {
	select {
	case <-i.exited():
		return i.process.endedEarly()
	case <-ctx.Done():
		return nil
	case <-time.After(exitSeenWithin):
		return nil
	}
}

// versionList formats versions as "1", or "2 and 1".
func versionList(versions []int) string {
	texts := make([]string, len(versions))
	for i, v := range versions {
		texts[i] = strconv.Itoa(v)
	}
	return strings.Join(texts, " and ")
}

// step returns an error that says in which step of its start a plugin failed. ctx is that of the step's call.
func (i *instance) step(ctx context.Context, name string, err error) error {
	s := status.Convert(err)
	switch s.Code() {
	case codes.Unavailable, codes.Canceled:
		// The connection is broken, or go-plugin gave it up, most likely because the process ended.
		if end := i.endedMeanwhile(ctx); end != nil {
			return end
		}
	case codes.DeadlineExceeded:
		return fmt.Errorf("it did not answer %s in time", name)
	case codes.Unimplemented:
		return fmt.Errorf("it does not serve %s of the plugin contract: %s", name, clip(s.Message()))
	}
	return fmt.Errorf("%s failed: %s", name, clip(s.Message()))
}
