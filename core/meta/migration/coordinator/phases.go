package coordinator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/lmqgate/lmqgate/core/meta/migration"
	"github.com/lmqgate/lmqgate/core/meta/transfer"
	"github.com/lmqgate/lmqgate/internal/wait"
)

// prepare announces the plan and copies until little changes. It then waits until every node is prepared and no node that has not read the
// plan can still write.
func (r *run) prepare(ctx context.Context) error {
	if err := r.To.board().Tidy(ctx, r.plan.ID); err != nil {
		return fmt.Errorf("target: %w", err)
	}
	if err := r.From.board().Tidy(ctx, r.plan.ID); err != nil {
		return fmt.Errorf("source: %w", err)
	}
	if err := r.setPlan(ctx, migration.Prepare, ""); err != nil {
		return err
	}
	announced := time.Now()
	if err := r.running(ctx); err != nil {
		return err
	}
	skipped := map[string]bool{}
	for first := true; ; first = false {
		began := time.Now()
		sums, changes, err := transfer.Copy(ctx, r.From.Client, r.To.Client, r.transfer)
		if err != nil {
			return err
		}
		took := time.Since(began)
		if first {
			r.Say("copied %d entries, %d bytes, in %s", changes.Written, sums.A.Bytes, took.Round(time.Millisecond))
		}
		if err := r.ours(ctx); err != nil {
			return err
		}
		missing, silent, err := r.watch.missing(ctx, r.plan.ID, migration.Ready)
		if err != nil {
			if permanent(err) {
				return err
			}
			missing = []string{err.Error()}
		}
		for _, node := range silent {
			if !skipped[node] {
				skipped[node] = true
				r.Say("node %q is taken for lost: it was silent for %s; it follows when it is back", node, r.silence)
			}
		}
		// A tenth more than the lease, in case two clocks run at different rates.
		settled := time.Since(announced) > r.lease+r.lease/10
		if len(missing) == 0 && settled && took < r.Hold/5 {
			return nil
		}
		if time.Since(announced) > r.Wait {
			switch {
			case len(missing) > 0:
				return fmt.Errorf("not prepared within %s: %s", r.Wait, list(missing))
			default:
				return fmt.Errorf(
					"a copy of what has changed takes %s, too long for writes to be held: say --hold with more than %s",
					took.Round(time.Millisecond),
					5*took.Round(time.Second),
				)
			}
		}
		if err := wait.For(ctx, r.poll); err != nil {
			return err
		}
	}
}

// running refuses migrations that are impossible while gateways run.
func (r *run) running(ctx context.Context) error {
	nodes, err := r.watch.records(ctx)
	if err != nil {
		return err
	}
	if len(nodes) == 0 {
		return nil
	}
	r.Say("gateways: %s", names(nodes))
	switch {
	case !r.To.Traits.GetShared():
		return fmt.Errorf(
			"%s can be used by one process only, so the running gateways (%s) cannot follow to it: stop them",
			r.To.Name,
			names(nodes),
		)
	case !r.From.Traits.GetCompareAndSet() && !r.To.Traits.GetCompareAndSet():
		return fmt.Errorf("neither %s nor %s has compare-and-set, so running gateways (%s) cannot agree: stop them, or go by way of etcd",
			r.From.Name, r.To.Name, names(nodes))
	}
	return nil
}

// ours makes sure that no other command has taken over.
func (r *run) ours(ctx context.Context) error {
	p, err := r.From.board().Plan(ctx)
	if err != nil {
		return fmt.Errorf("source: %w", err)
	}
	if p == nil || p.ID != r.plan.ID {
		return errors.New("another lmqgate meta migrate has taken over")
	}
	return nil
}

// fence waits until all nodes hold their writes, copies the difference, proposes the move, and waits until the nodes have moved.
func (r *run) fence(ctx context.Context) (*Result, error) {
	if err := r.ours(ctx); err != nil {
		return nil, r.abort(ctx, err)
	}
	began := time.Now()
	sums, err := r.equal(ctx, began)
	if err != nil {
		return nil, r.abort(ctx, err)
	}
	// From here on the arbiter decides, and this run must not be interrupted.
	ctx = context.WithoutCancel(ctx)
	if err := r.decide(ctx, r.Hold-time.Since(began)); err != nil {
		if errors.Is(err, ErrUndecided) {
			return nil, err
		}
		return nil, r.abort(ctx, err)
	}
	done, err := r.finish(ctx)
	if err != nil {
		return nil, err
	}
	done.Held = time.Since(began)
	done.Entries, done.Bytes, done.Digest = sums.A.Entries, sums.A.Bytes, sums.A.Digest()
	return done, nil
}

// equal makes the nodes hold their writes, and makes the target equal to the source.
func (r *run) equal(ctx context.Context, began time.Time) (*transfer.Sums, error) {
	ctx, cancel := context.WithDeadlineCause(
		ctx,
		began.Add(r.Hold*9/10),
		fmt.Errorf("writes were held for %s and that was not enough", r.Hold*9/10),
	)
	defer cancel()
	late := func(err error) error {
		if ctx.Err() != nil && context.Cause(ctx) != nil {
			return context.Cause(ctx)
		}
		return err
	}
	if err := r.setPlan(ctx, migration.Fence, ""); err != nil {
		return nil, late(err)
	}
	// A node that has answered by now may have written a moment ago. A node that answers later has not written since the plan was
	// announced.
	var nodes []string
	for {
		// All answers: a node that answered another command's plan may write as well.
		answers, err := r.From.board().AllAnswers(ctx)
		if err == nil {
			err = failed(answers, r.plan.ID)
		}
		if permanent(err) {
			return nil, err
		}
		if err == nil {
			if nodes == nil {
				nodes = slices.AppendSeq([]string{}, maps.Keys(answers))
			}
			nodes = slices.DeleteFunc(
				nodes,
				func(n string) bool { return answers[n].ID == r.plan.ID && answers[n].State == migration.Held },
			)
			if len(nodes) == 0 {
				break
			}
		}
		if wait.For(ctx, r.poll/4) != nil {
			slices.Sort(nodes)
			return nil, fmt.Errorf("%w: %s did not answer", late(ctx.Err()), list(nodes))
		}
	}
	if err := r.To.board().RemovePlan(ctx); err != nil {
		return nil, late(fmt.Errorf("target: %w", err))
	}
	for {
		if _, _, err := transfer.Copy(ctx, r.From.Client, r.To.Client, r.transfer); err != nil {
			return nil, late(err)
		}
		sums, err := transfer.Compare(ctx, r.From.Client, r.To.Client, r.transfer, nil)
		if err != nil {
			return nil, late(err)
		}
		if sums.A.Equal(&sums.B) {
			return sums, late(nil)
		}
		r.Say("the source changed while the nodes hold their writes (mqadmin, or a gateway of Apache RocketMQ MQTT?); copying again")
		if wait.For(ctx, r.poll) != nil {
			return nil, fmt.Errorf("%w: the source goes on changing", late(ctx.Err()))
		}
	}
}

// decide proposes to move. An error other than ErrUndecided means that all nodes stay.
func (r *run) decide(ctx context.Context, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, max(within, 0)+r.Hold)
	defer cancel()
	arbiter := r.arbiter(&r.plan)
	for {
		o, err := arbiter.Decide(ctx, r.plan.ID, migration.Move)
		switch o {
		case migration.Move:
			return nil
		case migration.Stay:
			return fmt.Errorf("writes were held for %s, and a node gave up waiting", r.Hold)
		case migration.Undecided:
		}
		if wait.For(ctx, r.poll) != nil {
			return fmt.Errorf("%w: %w; the nodes hold their writes until it answers; run the command again then", ErrUndecided, err)
		}
	}
}

// finish tells the nodes that the move is decided, and waits until they have moved.
func (r *run) finish(ctx context.Context) (*Result, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.finishing)
	defer cancel()
	done := &Result{ID: r.plan.ID}
	for {
		err := r.setPlan(ctx, migration.Moved, "")
		if err == nil {
			err = r.To.board().SetArrival(ctx, migration.Mark{ID: r.plan.ID, Done: true})
		}
		if err == nil {
			break
		}
		if wait.For(ctx, r.poll) != nil {
			return nil, fmt.Errorf(
				"it is decided that the metadata is on %s and nodes follow, but this could not be noted; run the command again: %w",
				r.To.Name,
				err,
			)
		}
	}
	for {
		answers, err := r.From.board().Answers(ctx, r.plan.ID)
		done.Nodes, done.Late = nil, nil
		for _, node := range slices.Sorted(maps.Keys(answers)) {
			if answers[node].State == migration.Away {
				done.Nodes = append(done.Nodes, node)
			} else {
				done.Late = append(done.Late, node)
			}
		}
		if err == nil && len(done.Late) == 0 || wait.For(ctx, r.poll) != nil {
			return done, nil
		}
	}
}

// permanent reports whether an error is a node's answer that it cannot follow.
func permanent(err error) bool {
	var c *cannotFollow
	return errors.As(err, &c)
}
