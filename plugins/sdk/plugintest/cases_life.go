package plugintest

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

const groupLife = "life"

func lifeCases() []check {
	cases := []check{
		{name: "refuses calls before Activate", run: (*trial).callsBeforeActivate, rule: rule{
			text:  "Calls of the plugin's kind come after Activate; earlier ones, and Activate before Configure, are refused",
			proto: "plugin.proto, Life of a plugin", section: "life"}},
		{name: "can be activated again after Deactivate", run: (*trial).activateAgain, rule: rule{
			text:  "Deactivate may be followed by Activate again; in between calls are refused, and what was open has been released",
			proto: "plugin.proto, Plugin.Deactivate", section: "life"}},
		{name: "answers or refuses what is under way at Deactivate", run: (*trial).deactivateUnderCalls, rule: rule{
			text:  "Deactivate returns within 5 s, once the calls that are under way have been answered; streams end with it",
			proto: "plugin.proto, Plugin.Deactivate", section: "life"}},
		{name: "configures beside an active one, and is exclusive as it declares", run: (*trial).second, limit: longLimit, rule: rule{
			text:    "Configure opens nothing exclusive; where Describe says exclusive, a second Activate is FAILED_PRECONDITION until the first has deactivated, otherwise both are active at once",
			proto:   "plugin.proto, DescribeResponse.exclusive",
			section: "life",
		}},
		{name: "ends with its standard input", run: (*trial).endOfInput, limit: longLimit, rule: rule{
			text:    "When its standard input ends, a plugin must exit, within 3 s, whatever it is doing, and with every process that it started",
			proto:   "plugin.proto, Transport",
			section: "end",
		}},
		{name: "ends at SIGTERM", run: (*trial).sigterm, rule: rule{
			text:  "SIGTERM ends a plugin within 3 s",
			proto: "plugin.proto, Transport", section: "end"}},
	}
	for i := range cases {
		cases[i].group, cases[i].needs = groupLife, needsActive
	}
	return cases
}

// lastCases returns cases for every kind, which run after all others.
func lastCases() []check {
	return append(append(configCases(), lifeCases()...), check{
		group: groupLife, name: "shows no secret", needs: needsDescribe, run: (*trial).noSecrets, rule: rule{
			text:  "No detail, problem, reason, error message or log line repeats a password or the value of a secret key",
			proto: "auth.proto, AuthenticateResponse.detail; plugin.proto, ConfigProblem.message", section: "secrets"}})
}

// kindCall makes a read-only call of the plugin's kind. It may be called in any goroutine.
func (t *trial) kindCall(ctx context.Context, r *running) error {
	if t.suite.describe.GetKind() == pluginv1.Kind_KIND_META {
		_, err := r.meta.Get(ctx, &pluginv1.GetRequest{Namespace: t.namespace("life"), Key: "k"})
		return err
	}
	text := "stranger-" + t.id
	_, err := r.auth.Authenticate(ctx, Request{ClientID: text, Username: &text, Password: &text}.authenticate())
	return err
}

func (t *trial) callsBeforeActivate() {
	r := t.start(t.site())
	if _, err := r.control.Activate(t.ctx, &pluginv1.ActivateRequest{}); err == nil {
		t.failf("Activate before Configure is answered as if all were well")
	}
	t.alive(r)
	config, err := t.config(r.site)
	if err != nil {
		t.skip("%v", err)
	}
	if r.proc != nil {
		r.kill() // after calls in the wrong order the plugin need not keep working
		r = t.start(t.site())
	}
	if problems := t.configure(r, config); len(problems) > 0 {
		t.failf("it refuses the profile's configuration: %s", problemText(problems))
	}
	if h, err := r.control.Health(t.ctx, &pluginv1.HealthRequest{}); err != nil {
		t.failf("before Activate, Health is answered with an error: %s", errText(err))
	} else if h.GetOk() {
		t.failf("before Activate, Health says that the plugin can do its work")
	}
	if err := t.kindCall(t.ctx, r); err == nil {
		t.failf("a call before Activate is answered as if the plugin were active")
	}
	t.activate(r)
	t.must(t.kindCall(t.ctx, r))
}

// alive fails the case if the process is gone.
func (t *trial) alive(r *running) {
	if r.proc != nil && r.proc.await(20*time.Millisecond) {
		t.failf("the process ended: %s", r.proc.how())
	}
}

func (t *trial) deactivate(r *running) {
	t.touched = r
	_, err := r.control.Deactivate(t.ctx, &pluginv1.DeactivateRequest{})
	t.must(err)
	r.active = false
}

func (t *trial) activateAgain() {
	r := t.ready(t.site())
	for range 2 {
		t.must(t.kindCall(t.ctx, r))
		t.deactivate(r)
		if err := t.kindCall(t.ctx, r); err == nil {
			t.failf("a call after Deactivate is answered as if the plugin were active")
		}
		t.alive(r)
		t.activate(r)
	}
	t.must(t.kindCall(t.ctx, r))
}

func (t *trial) deactivateUnderCalls() {
	r := t.ready(t.site())
	ended := t.openStream(r)
	ctx, cancel := context.WithCancel(t.ctx)
	defer cancel()
	calls := make(chan error, 1)
	begun := make(chan struct{}, 1)
	go func() {
		calls <- parallel(1<<30, atOnce, func(int) error {
			err := t.kindCall(ctx, r)
			select {
			case begun <- struct{}{}:
			default:
			}
			return err
		})
	}()
	<-begun
	t.deactivate(r)
	// After Deactivate calls are refused, which ends the callers; a call that hangs is a fault.
	select {
	case err := <-calls:
		if status.Code(err) == codes.DeadlineExceeded {
			t.failf("a call that was under way at Deactivate was never answered")
		}
	case <-time.After(t.patience.times(metaLimit + 2*time.Second)):
		t.failf("calls are answered after Deactivate, as if the plugin were active")
	}
	if ended != nil {
		select {
		case <-ended:
		case <-time.After(t.patience.times(deactivateLimit)):
			t.failf("a stream is still open %v after Deactivate", t.patience.times(deactivateLimit))
		}
	}
	t.alive(r)
}

// openStream opens the stream of the plugin's kind, if it declares one. It returns a channel that is closed at the end, or nil.
func (t *trial) openStream(r *running) <-chan struct{} {
	var recv func() error
	d := t.suite.describe
	switch {
	case d.GetAuth().GetRevocations():
		stream, err := r.auth.Revocations(t.ctx, &pluginv1.RevocationsRequest{})
		t.must(err)
		recv = func() error { _, err := stream.Recv(); return err }
	case d.GetMeta().GetWatch():
		ns := t.namespace("stream")
		_, revision := t.list(r, ns, "", 0)
		stream, err := r.meta.Watch(t.ctx, &pluginv1.WatchRequest{Namespace: ns, AfterRevision: revision})
		t.must(err)
		recv = func() error { _, err := stream.Recv(); return err }
	default:
		return nil
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for recv() == nil {
		}
	}()
	return ended
}

func (t *trial) second() {
	at := t.site()
	first := t.ready(at)
	other := t.start(at)
	config, err := t.config(at)
	if err != nil {
		t.skip("%v", err)
	}
	if problems := t.configure(other, config); len(problems) > 0 {
		t.failf("while another one is active, it refuses the same configuration: %s", problemText(problems))
	}
	if !t.suite.describe.GetExclusive() {
		t.activate(other)
		t.must(t.kindCall(t.ctx, other))
		t.touched = first
		t.must(t.kindCall(t.ctx, first))
		return
	}
	if t.target.inProcess() {
		t.skip("locks between processes need processes; test the executable as well")
	}
	_, err = other.control.Activate(t.ctx, &pluginv1.ActivateRequest{})
	switch status.Code(err) {
	case codes.OK:
		t.failf("it declares that it is exclusive, and two are active at once")
	case codes.FailedPrecondition:
	default:
		t.failf("Activate of a second one must be FAILED_PRECONDITION")
	}
	t.alive(other)
	t.touched = first
	t.must(t.kindCall(t.ctx, first))
	t.deactivate(first)
	t.activate(other)
	t.must(t.kindCall(t.ctx, other))
}

func (t *trial) endOfInput() {
	t.process()
	for _, stage := range []struct {
		what string
		to   func() *running
	}{
		{"right after its start", func() *running { return t.start(t.site()) }},
		{"while it is active", func() *running {
			r := t.ready(t.site())
			_ = t.openStream(r)
			return r
		}},
	} {
		r := stage.to()
		asked := "the end of standard input " + stage.what
		_ = r.proc.stdin.Close()
		begin := time.Now()
		if !r.proc.await(t.patience.times(exitLimit)) {
			t.failAt(
				asked,
				fmt.Sprintf("the process still runs after %v", t.patience.times(exitLimit)),
				"the process does not end with its standard input; it would outlive its gateway",
			)
		}
		for r.proc.leftBehind() {
			if time.Since(begin) > t.patience.times(exitLimit) {
				t.failAt(asked, "the process ended, others of its process group still run", "the plugin leaves processes behind")
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
}

func (t *trial) sigterm() {
	t.process()
	r := t.ready(t.site())
	if err := r.proc.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.failf("the process ended by itself: %s", r.proc.how())
	}
	if limit := t.patience.times(exitLimit); !r.proc.await(limit) {
		t.failAt("SIGTERM", fmt.Sprintf("the process still runs after %v", limit), "the process does not end at SIGTERM")
	}
}

func (t *trial) noSecrets() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.secrets) == 0 {
		t.skip("the profile has no passwords and no secret keys of six bytes or more")
	}
	if len(t.leaks) > 0 {
		where, text := t.leaks[0], fmt.Sprintf("%d texts in all", len(t.leaks))
		t.failAt("all calls of all cases", where, "a text of the plugin repeats a secret (%s)", text)
	}
}
