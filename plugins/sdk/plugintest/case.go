package plugintest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// check is one case of the kit.
type check struct {
	// group and name identify it, as in "meta/watch misses nothing".
	group, name string
	rule        rule
	// limit bounds the duration of the case; 0 means caseLimit.
	limit time.Duration
	// needs is the stage that the plugin must have reached for the case to make sense.
	needs stage
	run   func(*trial)
}

// stage is a step in the start of the plugin.
type stage int

const (
	needsNothing stage = iota
	needsHandshake
	needsDescribe
	needsConfig // the profile's configuration is accepted
	needsActive // and the plugin has been active once
)

// caseLimit bounds a case that sets no limit.
const caseLimit = 30 * time.Second

// mostLate is the number of consecutive cases without an answer in time after which the rest is skipped: each such case costs a whole
// deadline.
const mostLate = 4

// rule is the requirement that a case checks, and where it is written.
type rule struct {
	text string
	// proto is a place in plugins/proto/lmqgate/plugin/v1; section is an anchor of docs/plugins.md.
	proto, section string
}

// trial is one run of a case. Its methods end the case when they find a fault, so they may be called only in the case's own goroutine.
type trial struct {
	*suite
	check check
	ctx   context.Context
	// touched is the plugin instance that was called last; a failure shows its last exchange.
	touched *running
	// lives are the plugin instances that the case started; they end with the case.
	lives []*running
	// late is set if the case failed because an answer did not arrive in time.
	late bool
}

// stop ends a trial: it is the value of a panic that attempt recovers.
type stop struct {
	outcome Outcome
	problem string
	// asked and came are shown in the report if shown is set; otherwise the report shows the last exchange.
	asked, came string
	shown       bool
}

// failf ends the case as failed: the formatted sentence says how the plugin broke the rule.
func (t *trial) failf(format string, args ...any) {
	panic(stop{outcome: Failed, problem: fmt.Sprintf(format, args...)})
}

// failAt is failf with an explicit request and answer, for faults that the last exchange does not show.
func (t *trial) failAt(asked, came, format string, args ...any) {
	panic(stop{outcome: Failed, problem: fmt.Sprintf(format, args...), asked: asked, came: came, shown: true})
}

// skip ends the case as not applicable, for the given reason.
func (t *trial) skip(format string, args ...any) {
	panic(stop{outcome: NotApplicable, problem: fmt.Sprintf(format, args...)})
}

// must ends the case as failed if a call returned an error.
func (t *trial) must(err error) {
	if err != nil {
		t.failf("%s", t.sentence(err))
	}
}

// sentence explains the error of a call.
func (t *trial) sentence(err error) string {
	s := status.Convert(err)
	if t.touched != nil && t.touched.proc != nil && s.Code() == codes.Unavailable && t.touched.proc.await(t.patience.times(time.Second)) {
		return "the process ended during the call: " + t.touched.proc.how()
	}
	switch {
	case tooLarge(err):
		return "the answer is larger than the gateway takes: " + s.Message()
	case t.ctx.Err() != nil && (s.Code() == codes.DeadlineExceeded || s.Code() == codes.Canceled || errors.Is(err, t.ctx.Err())):
		t.late = true
		return fmt.Sprintf("the case did not end within %v", t.limit())
	case s.Code() == codes.DeadlineExceeded:
		t.late = true
		return s.Message()
	case s.Code() == codes.Unimplemented:
		return "the call is not served: " + s.Message()
	}
	return "an answer was due, and an error came: " + errText(err)
}

func (t *trial) limit() time.Duration {
	if t.check.limit > 0 {
		return t.patience.times(t.check.limit)
	}
	return t.patience.times(caseLimit)
}

// run runs a case and returns its result.
func (s *suite) run(parent context.Context, c check) (res Result) {
	t := &trial{suite: s, check: c}
	ctx, cancel := context.WithTimeout(parent, t.limit())
	defer cancel()
	t.ctx = ctx
	begin := time.Now()
	res = Result{Group: c.group, Name: c.name, Rule: c.rule.text, Proto: c.rule.proto, Section: c.rule.section}
	defer func() { res.Millis = time.Since(begin).Milliseconds() }()
	why := s.missing(c.needs)
	if s.late >= mostLate {
		why = fmt.Sprintf("the plugin did not answer in time in %d cases one after the other; nothing more is tried", s.late)
	}
	if why != "" {
		res.Outcome, res.Problem = NotApplicable, why
		return res
	}
	res.take(t, t.attempt())
	if s.late++; !t.late {
		s.late = 0
	}
	for _, r := range t.lives {
		r.end()
	}
	switch {
	case parent.Err() != nil:
		res.Outcome, res.Problem, res.Asked, res.Came = NotApplicable, "the run was interrupted", "", ""
	case res.Outcome == Passed:
		res.afterwards(t)
	}
	return res
}

// attempt calls the case and returns how it ended.
func (t *trial) attempt() (end stop) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case stop:
			end = r
		default:
			panic(r)
		}
	}()
	t.check.run(t)
	return stop{outcome: Passed}
}

// take fills a result in.
func (res *Result) take(t *trial, end stop) {
	res.Outcome, res.Problem = end.outcome, end.problem
	if end.outcome != Failed {
		return
	}
	if res.Asked, res.Came = end.asked, end.came; end.shown || t.touched == nil {
		return
	}
	res.Asked, res.Came = t.touched.watcher.last()
}

// afterwards fails a case that passed but left something wrong behind: a dead process, or an answer that no gateway would accept.
func (res *Result) afterwards(t *trial) {
	r := t.touched
	if r == nil {
		return
	}
	if broken := r.watcher.broken; broken != "" {
		res.take(t, stop{outcome: Failed, problem: broken})
	}
	if r == t.main && r.proc != nil && r.proc.await(20*time.Millisecond) {
		res.take(t, stop{outcome: Failed, problem: "the process ended by itself: " + r.proc.how()})
	}
}
