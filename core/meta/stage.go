package meta

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lmqgate/lmqgate/core/meta/migration"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// Target is the backend that a migration moves to, with its plugin started.
type Target struct {
	Client pluginv1.MetaClient
	Traits func() *pluginv1.MetaTraits
	// Adopt is called once this node uses only the target; Drop is called if it will not use the target.
	Adopt, Drop func()
}

// notStaged is why the target's plugin could not be started; it limits retries.
type notStaged struct {
	plan string
	at   time.Time
	err  error
}

var errUnread = errors.New("the target cannot be read")

// stage starts the target's plugin, and makes sure that the target is the backend to which the command copies.
func (f *follower) stage(ctx context.Context, p *migration.Plan) error {
	if f.target == nil || f.staged != p.ID {
		if f.notStaged.plan == p.ID && time.Since(f.notStaged.at) < retryStage {
			return f.notStaged.err
		}
		f.drop()
		err := errors.New("this node cannot follow migrations")
		if f.m.opts.Stage != nil {
			f.target, err = f.m.opts.Stage(ctx, p.Plugin)
		}
		if err != nil {
			f.target, f.notStaged = nil, notStaged{p.ID, time.Now(), err}
			return err
		}
		f.staged, f.stagedAt, f.verified = p.ID, time.Now(), false
	}
	if f.verified {
		return nil
	}
	mark, err := migration.Board{Client: f.target.Client}.Arrival(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", errUnread, err)
	}
	if mark.ID != p.ID {
		f.drop() // the configuration may be corrected meanwhile
		f.notStaged = notStaged{p.ID, time.Now(), errors.New("meta.next of its configuration is another backend than the one that the migration goes to")}
		return f.notStaged.err
	}
	f.verified = true
	f.prove(p.ID)
	return nil
}

func (f *follower) drop() {
	if f.target != nil {
		f.target.Drop()
	}
	f.target, f.staged = nil, ""
}
