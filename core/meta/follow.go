package meta

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lmqgate/lmqgate/core/meta/migration"
)

// follower is this node's side of a migration; see package migration. The plan that it reads controls the write gate. Meta owns its
// goroutine (run).
type follower struct {
	m    *Meta
	wake chan struct{}

	mu sync.Mutex
	// plan is the latest plan read from the backend in use; nil: none.
	plan *migration.Plan
	// looked is set once the plan was read; allowed once the plan has allowed this node to write.
	looked, allowed bool
	// registered is the plan that this node has answered.
	registered string
	// held is the plan for which writes are held; since is when that began.
	held  string
	since time.Time
	// vanished is when the held plan disappeared; zero while it is there.
	vanished time.Time
	// stays is the latest plan that is known to be aborted, or counts as such.
	stays string
	// proven is the latest plan that is the command's for sure: its target carries the command's mark, or this node has answered "held".
	proven string
	// problem is why this node is not healthy; nil if it is. unread is the error of the last failed read of the plan.
	problem, unread error

	// The fields below belong to run.
	target    *Target
	staged    string // the plan that target is for
	stagedAt  time.Time
	verified  bool // target is the backend to which the command copies
	notStaged notStaged
	answered  migration.Answer
	complain  time.Time // when a problem was last logged
}

// Intervals of run: activePoll applies while a plan is under way; problems are logged every sayAgain; retryStage is the pause after the
// target failed to start.
const (
	activePoll = 200 * time.Millisecond
	sayAgain   = 15 * time.Second
	retryStage = 3 * time.Second
	// unreadTime is how long a started target may take until it can be read.
	unreadTime = 10 * time.Second
	// goneTime is how long a plan must have been unreadable before it counts as removed: a name server may not have it yet.
	goneTime = 2 * time.Second
	// noticeTime is how long nodes may take to move after the command's last moment to decide so.
	noticeTime = time.Minute
	// drainTime bounds one wait for writes under way before the node answers; then it waits again.
	drainTime = time.Second
)

func newFollower(m *Meta) *follower {
	return &follower{m: m, wake: make(chan struct{}, 1)}
}

func (f *follower) board() migration.Board {
	return migration.Board{Client: f.m.backend.client()}
}

// ready returns nil once this node knows that it uses the right backend.
func (f *follower) ready() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.problem != nil:
		return f.problem
	case !f.looked:
		if f.unread != nil {
			return fmt.Errorf("%w: %s", ErrUnavailable, status.Convert(f.unread).Message())
		}
		return fmt.Errorf("%w: it was not read yet", ErrUnavailable)
	case f.plan != nil && f.plan.Phase == migration.Moved:
		return fmt.Errorf("%w: it was migrated to %s, this node is following", ErrUnavailable, f.plan.Plugin)
	default:
		return nil
	}
}

// look reads the plan and opens or closes the gate. It is called by one goroutine at a time, the one that holds gate.looking.
func (f *follower) look(ctx context.Context) error {
	for {
		began := time.Now()
		p, err := f.board().Plan(ctx)
		if errors.Is(err, migration.ErrUnreadable) {
			f.m.invalid(migration.Namespace, "plan", err)
			p, err = nil, nil
		}
		if err != nil {
			if _, ok := status.FromError(err); ok {
				return err
			}
			return status.Error(codes.Unavailable, err.Error())
		}
		if p != nil && (p.ID == "" || len(p.ID) > migration.MaxID) {
			f.m.invalid(migration.Namespace, "plan", fmt.Errorf("a plan whose id has %d bytes, and not 1 to %d, counts as none; remove the key",
				len(p.ID), migration.MaxID))
			p = nil
		}
		if p != nil && (p.Phase == migration.Prepare || p.Phase == migration.Fence) && !f.has(p.ID) {
			// Answer first, then read the plan again: either the command sees this node, or this node sees what the command did.
			if err := f.register(ctx, p.ID); err != nil {
				return err
			}
			continue
		}
		return f.see(p, began)
	}
}

func (f *follower) has(id string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.registered == id || f.stays == id
}

func (f *follower) register(ctx context.Context, id string) error {
	answers, err := f.board().Answers(ctx, id)
	if err != nil {
		return err
	}
	if before := answers[f.m.opts.NodeID].State; before == migration.Held || before == migration.Away { // before it was started again
		f.prove(id)
	}
	if err := f.board().SetAnswer(ctx, f.m.opts.NodeID, migration.Answer{ID: id, State: migration.Seen,
		Instance: f.m.instance}); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.registered = id
	return nil
}

// prove notes that a plan is the command's, which may decide to move.
func (f *follower) prove(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.proven = id
}

// see acts on a plan. began is when its read began.
func (f *follower) see(p *migration.Plan, began time.Time) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.looked = true
	permit := func() error {
		f.held, f.problem, f.allowed = "", nil, true
		f.m.backend.gate.permit(began)
		return nil
	}
	if p == nil || p.Phase == migration.Aborted || p.ID == f.stays && p.Phase != migration.Moved {
		if p != nil {
			f.stays = p.ID
		}
		if f.held != "" && (p == nil || p.ID != f.held) {
			// The plan that this node waits for is gone, or was read from a place other than where it was last written. The arbiter knows
			// which.
			f.plan.Phase = migration.Fence
			if f.vanished.IsZero() {
				f.vanished = time.Now()
			}
			return nil
		}
		f.plan = nil
		return permit()
	}
	f.vanished = time.Time{}
	before := f.plan
	defer func() {
		if f.plan != nil && (before == nil || *before != *f.plan) {
			f.m.log.Info("metadata migration", "to", f.plan.Plugin, "phase", f.plan.Phase, "id", f.plan.ID)
			f.poke()
		}
	}()
	switch p.Phase {
	case migration.Prepare:
		if f.held == p.ID { // an older state of the plan
			return nil
		}
		f.plan = p
		return permit()
	case migration.Fence, migration.Moved:
		f.plan = p
		if f.held != p.ID {
			f.held, f.since = p.ID, time.Now()
		}
		f.m.backend.gate.hold()
		return nil
	default:
		f.m.backend.gate.hold()
		what := fmt.Sprintf("%s has a plan in phase %q, which this gateway does not know; run the newer lmqgate", migration.Namespace, p.Phase)
		f.problem = fmt.Errorf("%w: %s", ErrUnavailable, what)
		return status.Error(codes.Unavailable, what)
	}
}

func (f *follower) poke() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// run follows migrations until ctx ends.
func (f *follower) run(ctx context.Context) {
	defer f.drop()
	for ctx.Err() == nil {
		f.poll(ctx)
		f.mu.Lock()
		var p *migration.Plan
		if f.plan != nil {
			now := *f.plan
			p = &now
		}
		f.mu.Unlock()
		wait := f.m.opts.PollInterval
		if p == nil {
			f.drop()
		} else {
			f.step(ctx, p)
			wait = min(wait, activePoll)
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-f.wake:
		case <-t.C:
		}
		t.Stop()
	}
}

// poll reads the plan.
func (f *follower) poll(ctx context.Context) {
	g := f.m.backend.gate
	select {
	case g.looking <- struct{}{}:
	case <-ctx.Done():
		return
	}
	defer func() { <-g.looking }()
	ctx, cancel := context.WithTimeout(ctx, f.m.opts.CallTimeout)
	defer cancel()
	err := f.look(ctx)
	f.mu.Lock()
	f.unread = err
	f.mu.Unlock()
}

// step does what a plan requires of this node.
func (f *follower) step(ctx context.Context, p *migration.Plan) {
	err := f.stage(ctx, p)
	if errors.Is(err, errUnread) && p.Phase != migration.Moved && time.Since(f.stagedAt) < unreadTime {
		return // it may still be connecting
	}
	switch p.Phase {
	case migration.Prepare:
		f.answer(ctx, p, migration.Ready, err)
	case migration.Fence:
		if err == nil {
			drain, cancel := context.WithTimeout(ctx, drainTime)
			drained := f.m.backend.gate.drain(drain) == nil
			cancel()
			if drained {
				f.answer(ctx, p, migration.Held, nil)
			}
		} else {
			f.answer(ctx, p, migration.Held, err)
		}
		f.resolve(ctx, p)
	case migration.Moved:
		if err != nil {
			f.refuse(p, err)
			return
		}
		f.move(ctx, p)
	case migration.Aborted:
	}
}

// answer reports this node's progress, unless it has done so already.
func (f *follower) answer(ctx context.Context, p *migration.Plan, s migration.State, failed error) {
	a := migration.Answer{ID: p.ID, State: s, Instance: f.m.instance}
	if failed != nil {
		a.State, a.Reason = migration.Failed, failed.Error()
	}
	if a == f.answered {
		return
	}
	if err := f.board().SetAnswer(ctx, f.m.opts.NodeID, a); err != nil {
		f.say("metadata migration: this node could not answer; it tries again", err)
		return
	}
	f.answered = a
	if failed != nil {
		f.m.log.Error("metadata migration: this node cannot follow", "to", p.Plugin, "error", failed)
	}
}

// resolve finds out how a fence ended. After the plan's time, or once the plan was removed, it proposes that all nodes stay.
func (f *follower) resolve(ctx context.Context, p *migration.Plan) {
	arbiter := f.board()
	if !p.AtSource {
		if f.target == nil {
			if f.gone(goneTime) {
				f.stay(p, "its plan was removed, and this node cannot ask its target")
				return
			}
			if f.hopeless(ctx, p) {
				return
			}
			f.stuck(p, errors.New("the target, which decides, cannot be asked; to give the migration up, remove the key plan of "+migration.Namespace))
			return
		}
		arbiter = migration.Board{Client: f.target.Client}
	}
	f.mu.Lock()
	over := time.Since(f.since) > p.HoldTime()
	f.mu.Unlock()
	over = over || f.gone(goneTime)
	o, err := arbiter.Decision(ctx, p.ID)
	if err == nil && o == migration.Undecided && over {
		o, err = arbiter.Decide(ctx, p.ID, migration.Stay)
	}
	switch {
	case err != nil && f.hopeless(ctx, p):
	case err != nil:
		f.stuck(p, err)
	case o == migration.Stay:
		f.stay(p, "it was decided so")
	case o == migration.Move:
		f.move(ctx, p)
	case o == migration.Undecided:
	}
}

// hopeless takes a plan for aborted that makes no progress, because who decides about it does not answer: otherwise a plan that somebody
// wrote by hand would hold writes for ever. That is safe for a node that never held its writes for the plan with a target that it knew: the
// command decides only once such a node has, unless it came late. Then other nodes would have moved, and answered so: the command decides
// within twice the plan's time, and they move at once.
func (f *follower) hopeless(ctx context.Context, p *migration.Plan) bool {
	bound := 2*p.HoldTime() + noticeTime
	f.mu.Lock()
	over := f.proven != p.ID && time.Since(f.since) > bound
	f.mu.Unlock()
	if !over {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, f.m.opts.CallTimeout)
	defer cancel()
	answers, err := f.board().Answers(ctx, p.ID)
	if err != nil {
		return false
	}
	for _, a := range answers {
		if a.State == migration.Away {
			return false
		}
	}
	if p.AtSource { // it may be that only the last question failed
		if o, err := f.board().Decision(ctx, p.ID); err != nil || o != migration.Undecided {
			return false
		}
	}
	f.stay(p, fmt.Sprintf("the plan has made no progress for %s: this node cannot ask who decides, and no node has moved", bound))
	return true
}

// gone reports whether the plan that this node waits for was removed at least that long ago.
func (f *follower) gone(ago time.Duration) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.vanished.IsZero() && time.Since(f.vanished) > ago
}

// stay ends a migration for this node: writes go to the old backend as before.
func (f *follower) stay(p *migration.Plan, why string) {
	f.m.log.Warn("metadata migration: aborted, everything stays", "id", p.ID, "why", why)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stays, f.held, f.plan, f.problem, f.vanished = p.ID, "", nil, nil, time.Time{}
	f.m.backend.gate.reopen()
}

// stuck reports that writes stay held although the plan's time is over.
func (f *follower) stuck(p *migration.Plan, err error) {
	f.mu.Lock()
	over := time.Since(f.since) > p.HoldTime()
	if over {
		f.problem = fmt.Errorf("%w: writes are held, because the arbiter of the migration to %s does not answer: %w", ErrUnavailable, p.Plugin, err)
	}
	problem := f.problem
	f.mu.Unlock()
	if over {
		f.say("metadata migration: undecided, writes stay held", problem)
	}
}

// refuse makes this node's writes fail: the other nodes have moved, and this one cannot.
func (f *follower) refuse(p *migration.Plan, err error) {
	why := fmt.Errorf("%w: it was migrated to %s, and this node cannot follow: %w; correct meta.next of its configuration, or make meta the new backend and restart",
		ErrUnavailable, p.Plugin, err)
	f.mu.Lock()
	f.problem = why
	f.m.backend.gate.refuse(why)
	f.mu.Unlock()
	f.say("metadata migration: writes are refused", why)
}

// say logs a problem, at most every sayAgain.
func (f *follower) say(message string, err error) {
	if time.Since(f.complain) > sayAgain {
		f.complain = time.Now()
		f.m.log.Error(message, "error", err)
	}
}
