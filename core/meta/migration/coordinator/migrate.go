package coordinator

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/meta/migration"
	"github.com/lmqgate/lmqgate/core/meta/transfer"
	"github.com/lmqgate/lmqgate/internal/wait"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// Side is a backend, with its plugin started.
type Side struct {
	// Name is the name of the plugin.
	Name   string
	Client pluginv1.MetaClient
	Traits *pluginv1.MetaTraits
}

func (s *Side) board() migration.Board { return migration.Board{Client: s.Client} }

// Options of Run; zero durations get the defaults named here.
type Options struct {
	From, To Side
	// Wait is how long nodes may take to prepare (2 min); Hold is how long they hold their writes at most (10 s).
	Wait, Hold time.Duration
	// Replace allows overwriting what the target holds.
	Replace bool
	// Say receives progress messages of one line; nil discards them.
	Say func(format string, args ...any)

	// For tests, shorter durations: lease stands for migration.Lease; silence is how long a node's record must be unchanged before the node
	// counts as lost; poll is how often nodes are asked.
	lease, silence, poll time.Duration
	// aborting bounds the attempts to record on the source that all nodes stay; finishing bounds the wait for nodes that move.
	aborting, finishing time.Duration
}

// silence is how long a node's record must be unchanged before other nodes consider the node lost; see core/meta.
const silence = 20 * time.Second

// Result describes a migration.
type Result struct {
	ID      string
	Entries int64
	Bytes   int64
	Digest  string
	// Nodes have moved; Late have not reported that yet.
	Nodes, Late []string
	// Held is how long writes were held.
	Held time.Duration
	// Again is true if an earlier run had moved the cluster.
	Again bool
}

// ErrUndecided is wrapped if the arbiter did not answer, so that it is unknown whether the cluster moves. The nodes hold their writes until
// it answers.
var ErrUndecided = errors.New("the migration is undecided")

// run is one call of Run.
type run struct {
	Options
	plan     migration.Plan
	transfer transfer.Options
	watch    *watch
}

// Run moves the cluster. An error other than ErrUndecided means that everything stays where it is. Run may be called again however an
// earlier call ended, and continues where that call stopped.
func Run(ctx context.Context, o Options) (*Result, error) {
	set := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	set(&o.Wait, 2*time.Minute)
	set(&o.Hold, 10*time.Second)
	set(&o.lease, migration.Lease)
	set(&o.silence, silence)
	set(&o.poll, 200*time.Millisecond)
	set(&o.aborting, 15*time.Second)
	set(&o.finishing, 30*time.Second)
	if o.Say == nil {
		o.Say = func(string, ...any) {}
	}
	r := &run{Options: o, transfer: transfer.Options{Namespaces: meta.Moved(), Lifetime: meta.Lifetime}}
	r.plan = migration.Plan{ID: rand.Text(), Plugin: o.To.Name, Hold: o.Hold.Milliseconds(), AtSource: o.From.Traits.GetCompareAndSet()}
	r.watch = &watch{board: o.From.board(), client: o.From.Client, silence: o.silence, seen: map[string]sight{}}
	if done, err := r.earlier(ctx); done != nil || err != nil {
		return done, err
	}
	if err := r.target(ctx); err != nil {
		return nil, err
	}
	if err := r.prepare(ctx); err != nil {
		return nil, r.abort(ctx, err)
	}
	return r.fence(ctx)
}

// arbiter returns the board on which the decision is made.
func (r *run) arbiter(p *migration.Plan) migration.Board {
	if p.AtSource {
		return r.From.board()
	}
	return r.To.board()
}

// earlier settles what an earlier run left on the source. A non-nil result means that there is nothing more to do.
func (r *run) earlier(ctx context.Context) (*Result, error) {
	p, err := r.From.board().Plan(ctx)
	if err != nil {
		return nil, fmt.Errorf("source: %w", err)
	}
	if p == nil || p.Phase == migration.Aborted || p.Phase == migration.Prepare {
		return nil, nil //nolint:nilnil // nothing relevant is left
	}
	mark, err := r.To.board().Arrival(ctx)
	if err != nil {
		return nil, fmt.Errorf("target: %w", err)
	}
	if p.Phase == migration.Moved && mark.ID != p.ID {
		return nil, fmt.Errorf("the source was migrated to %s before, and that is not the target: name that backend with --from", p.Plugin)
	}
	r.plan = *p
	if p.Phase == migration.Fence {
		if mark.ID != p.ID {
			return nil, fmt.Errorf(
				"a migration to another backend (%s) was interrupted while writes were held: run that one again first",
				p.Plugin,
			)
		}
		o, err := r.arbiter(p).Decide(ctx, p.ID, migration.Stay)
		if err != nil {
			return nil, fmt.Errorf("%w: an earlier run was interrupted, and how it ended cannot be read: %w", ErrUndecided, err)
		}
		if o != migration.Move {
			r.Say("an earlier run was interrupted and is aborted")
			err := r.setPlan(ctx, migration.Aborted, "the command was interrupted")
			r.plan = migration.Plan{
				ID:       rand.Text(),
				Plugin:   r.To.Name,
				Hold:     r.Hold.Milliseconds(),
				AtSource: r.From.Traits.GetCompareAndSet(),
			}
			return nil, err
		}
	}
	done, err := r.finish(ctx)
	if err != nil {
		return nil, err
	}
	done.Again = true
	return done, nil
}

// target makes sure that the target may be written to, and marks it.
func (r *run) target(ctx context.Context) error {
	to := r.To.board()
	if err := r.unused(ctx); err != nil {
		return err
	}
	mark, err := to.Arrival(ctx)
	if err != nil {
		return fmt.Errorf("target: %w", err)
	}
	if mark.ID == "" || mark.Done {
		if err := r.empty(ctx); err != nil {
			return err
		}
	}
	if err := to.SetArrival(ctx, migration.Mark{ID: r.plan.ID}); err != nil {
		return fmt.Errorf("target: %w", err)
	}
	if mark, err = r.From.board().Arrival(ctx); err != nil {
		return fmt.Errorf("source: %w", err)
	}
	if mark.ID == r.plan.ID {
		return errors.New("source and target are the same backend")
	}
	return nil
}

// unused refuses a target that gateways are using. Gateways that died there have left records, but those do not change.
func (r *run) unused(ctx context.Context) error {
	w := &watch{client: r.To.Client, silence: r.silence, seen: map[string]sight{}}
	for said := false; ; said = true {
		living, changed, err := w.living(ctx)
		switch {
		case err != nil:
			return fmt.Errorf("target: %w", err)
		case len(living) == 0:
			return nil
		case len(changed) > 0:
			return fmt.Errorf("the target is in use by gateways (%s): it must be a backend, or a prefix of one, of its own", list(changed))
		case !said:
			r.Say("the target has records of gateways (%s); waiting whether they live", list(living))
		}
		if err := wait.For(ctx, r.poll); err != nil {
			return err
		}
	}
}

// empty refuses a target whose content is not part of the source's.
func (r *run) empty(ctx context.Context) error {
	if r.Replace {
		return nil
	}
	var there int64
	var examples []string
	_, err := transfer.Compare(ctx, r.From.Client, r.To.Client, r.transfer, func(d transfer.Difference) error {
		if d.B != nil {
			if there++; there <= 3 {
				examples = append(examples, d.String())
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if there > 0 {
		return fmt.Errorf(
			"the target is not empty: %d entries differ from the source's or are not there (%s); empty it, or say --replace",
			there,
			list(examples),
		)
	}
	return nil
}

func (r *run) setPlan(ctx context.Context, phase migration.Phase, reason string) error {
	r.plan.Phase, r.plan.Reason = phase, reason
	if err := r.From.board().SetPlan(ctx, r.plan); err != nil {
		return fmt.Errorf("source: %w", err)
	}
	return nil
}

// abort tells the nodes that all of them stay, and returns the reason. Nobody else proposes to move, so no decision is needed. If a move
// was already proposed, abort must not be called.
func (r *run) abort(ctx context.Context, why error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.aborting)
	defer cancel()
	for {
		p, err := r.From.board().Plan(ctx)
		if err == nil && p != nil && p.ID == r.plan.ID {
			err = r.setPlan(ctx, migration.Aborted, why.Error())
		}
		if err == nil {
			return fmt.Errorf("everything stays on %s: %w", r.From.Name, why)
		}
		if wait.For(ctx, r.poll) != nil {
			return fmt.Errorf(
				"everything stays on %s, though the nodes could not be told and hold their writes for up to %s: %w",
				r.From.Name,
				r.Hold,
				why,
			)
		}
	}
}
