package meta

import (
	"context"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// writeGate stands before every write to the backend. It holds them during a migration, counts those under way, and lets none pass
// for a success that ended when this node could no longer know that the backend is still the one to write to: a process may be
// paused at any point. See package migration.
type writeGate struct {
	// look reads the plan of a migration from the backend, and calls permit, hold or refuse.
	look  func(context.Context) error
	lease time.Duration
	// looking is taken (sent to) by the one that looks; the others wait for its result.
	looking chan struct{}

	mu sync.Mutex
	// until is how long writes may end without another look.
	until time.Time
	// open is closed when the writes that are held may go on; nil while none are.
	open chan struct{}
	// refused is why no write is let through at all; nil where that is not so.
	refused  error
	underWay int
	// drained is closed when no write is under way; nil while nobody waits for that.
	drained chan struct{}
}

func newWriteGate(lease time.Duration, look func(context.Context) error) *writeGate {
	return &writeGate{look: look, lease: lease, looking: make(chan struct{}, 1)}
}

// permit allows writes for a lease from a moment on.
func (g *writeGate) permit(from time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if until := from.Add(g.lease); until.After(g.until) {
		g.until = until
	}
	g.refused = nil
	if g.open != nil {
		close(g.open)
		g.open = nil
	}
}

// hold lets no more writes through until permit.
func (g *writeGate) hold() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refused = nil
	if g.open == nil {
		g.open = make(chan struct{})
	}
}

// refuse fails all writes, with a reason, until permit.
func (g *writeGate) refuse(why error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refused = why
	if g.open != nil {
		close(g.open)
		g.open = nil
	}
}

// expire makes every write look before it counts, those under way too.
func (g *writeGate) expire() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.until = time.Time{}
}

// reopen lets writes go on that look first.
func (g *writeGate) reopen() {
	g.expire()
	g.permit(time.Time{})
}

// closed says why writes are not let through; nil where they are.
func (g *writeGate) closed() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.refused != nil:
		return g.refused
	case g.open != nil:
		return errHeld
	default:
		return nil
	}
}

// errHeld is why a write waits.
var errHeld = fmt.Errorf("%w: writes are held while the metadata is migrated", ErrUnavailable)

// enter waits until a write may begin. Where it returns nil, leave must be called.
func (g *writeGate) enter(ctx context.Context) error {
	for {
		g.mu.Lock()
		open, refused := g.open, g.refused
		current := time.Now().Before(g.until)
		if open == nil && refused == nil && current {
			g.underWay++
			g.mu.Unlock()
			return nil
		}
		g.mu.Unlock()
		switch {
		case refused != nil:
			return status.Error(codes.Unavailable, refused.Error())
		case open != nil:
			select {
			case <-open:
			case <-ctx.Done():
				return status.Error(codes.Unavailable, errHeld.Error())
			}
		default:
			if err := g.refresh(ctx); err != nil {
				return err
			}
		}
	}
}

// leave ends a write that succeeded or not. An error says that it must not pass for a success: it ended too late, and the backend
// may have been left by then.
func (g *writeGate) leave(ctx context.Context) error {
	g.mu.Lock()
	current := time.Now().Before(g.until)
	g.mu.Unlock()
	var err error
	if !current {
		if err = g.refresh(ctx); err == nil {
			err = g.closed()
		}
		if err != nil {
			err = status.Error(codes.Unavailable, "the write took too long: "+err.Error())
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.underWay--; g.underWay == 0 && g.drained != nil {
		close(g.drained)
		g.drained = nil
	}
	return err
}

// refresh looks, unless another did meanwhile.
func (g *writeGate) refresh(ctx context.Context) error {
	select {
	case g.looking <- struct{}{}:
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}
	defer func() { <-g.looking }()
	g.mu.Lock()
	current := time.Now().Before(g.until)
	g.mu.Unlock()
	if current {
		return nil
	}
	return g.look(ctx)
}

// drain waits until no write is under way. For callers that hold.
func (g *writeGate) drain(ctx context.Context) error {
	g.mu.Lock()
	if g.underWay == 0 {
		g.mu.Unlock()
		return nil
	}
	if g.drained == nil {
		g.drained = make(chan struct{})
	}
	drained := g.drained
	g.mu.Unlock()
	select {
	case <-drained:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
