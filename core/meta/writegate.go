package meta

import (
	"context"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// writeGate controls every write to the backend. During a migration it holds writes. It counts the writes under way. A write does not count
// as a success if it ended when this node could no longer know that the backend is still the right one, because a process may be paused at
// any point. See package migration.
type writeGate struct {
	// look reads the migration's plan from the backend, and calls permit, hold or refuse.
	look  func(context.Context) error
	lease time.Duration
	// looking is held (by sending to it) by the goroutine that looks; others wait for its result.
	looking chan struct{}

	mu sync.Mutex
	// until is when writes must have ended to count without another look.
	until time.Time
	// open is closed when held writes may continue; nil while none are held.
	open chan struct{}
	// refused is why all writes fail; nil if they do not.
	refused  error
	underWay int
	// drained is closed when no write is under way; nil while nobody waits for that.
	drained chan struct{}
}

func newWriteGate(lease time.Duration, look func(context.Context) error) *writeGate {
	return &writeGate{look: look, lease: lease, looking: make(chan struct{}, 1)}
}

// permit allows writes until one lease after from.
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

// hold stops new writes until permit is called.
func (g *writeGate) hold() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refused = nil
	if g.open == nil {
		g.open = make(chan struct{})
	}
}

// refuse makes all writes fail with a reason until permit is called.
func (g *writeGate) refuse(why error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refused = why
	if g.open != nil {
		close(g.open)
		g.open = nil
	}
}

// expire makes every write look before it counts, including writes under way.
func (g *writeGate) expire() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.until = time.Time{}
}

// reopen lets writes continue; each looks first.
func (g *writeGate) reopen() {
	g.expire()
	g.permit(time.Time{})
}

// closed returns why writes may not begin; nil if they may.
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

// errHeld says that writes are held.
var errHeld = fmt.Errorf("%w: writes are held while the metadata is migrated", ErrUnavailable)

// enter waits until a write may begin. If it returns nil, the caller must call leave.
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

// leave ends a write, successful or not. An error means that the write must not count as a success: it ended too late, and the cluster may
// have left the backend by then.
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
	g.end()
	return err
}

// stay counts another write as under way, until part is called. The caller must be between enter and leave.
func (g *writeGate) stay() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.underWay++
}

func (g *writeGate) part() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.end()
}

// end counts a write as ended. Called with mu held.
func (g *writeGate) end() {
	if g.underWay--; g.underWay == 0 && g.drained != nil {
		close(g.drained)
		g.drained = nil
	}
}

// refresh looks, unless another goroutine has done so meanwhile.
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

// drain waits until no write is under way. The caller must hold the gate.
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
