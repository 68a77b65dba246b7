package mqttload

import (
	"context"
	"fmt"
	"slices"
	"sync"
)

// playConnects makes clients connect, subscribe to a filter of their own, and leave. In the scenario sleep their sessions stay until the
// end of the run, which removes them.
func playConnects(r *run) error {
	keep := r.s.Name == "sleep"
	r.schedule()
	c, ctx := newCrew(r.ctx)
	var mu sync.Mutex
	var sleeping []string
	for w := range r.p.Publishers {
		c.do(func() error {
			var mine []string
			var err error
			for n := 0; ctx.Err() == nil && int64(r.since()) < r.to.Load(); n++ {
				id := r.clientID(fmt.Sprintf("conn-%d", w), n)
				if keep {
					mine = append(mine, id)
				}
				if err = r.visit(ctx, w, id, keep); err != nil {
					break
				}
			}
			mu.Lock()
			sleeping = append(sleeping, mine...)
			mu.Unlock()
			return err
		})
	}
	err := c.wait()
	if failed := r.endSessions(sleeping); err == nil {
		err = failed
	}
	return err
}

// visit is one connection from its first byte to DISCONNECT.
func (r *run) visit(ctx context.Context, w int, id string, keep bool) error {
	began := r.since()
	c, _, err := r.t.connect(ctx, login{id: id, keep: keep})
	if err != nil {
		return ignoreEnd(ctx, err)
	}
	defer closeWith(ctx, c)()
	connected := r.since()
	if err := c.subscribe(r.p.Topic+"/"+id+"/+", r.p.QoS); err != nil {
		c.drop()
		return ignoreEnd(ctx, err)
	}
	done := r.since()
	c.leave()
	r.arrived.Add(1)
	if r.measured(done) {
		r.delivered.Add(1)
		r.answer.record(w, connected-began)
		r.delivery.record(w, done-began)
	}
	return nil
}

// ignoreEnd drops an error that was caused by the end of the run.
func ignoreEnd(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// endSessions removes sessions from the broker, even if the run was interrupted.
func (r *run) endSessions(ids []string) error {
	c, ctx := newCrew(context.WithoutCancel(r.ctx))
	parts := slices.Collect(slices.Chunk(ids, max(1, (len(ids)+31)/32)))
	for _, part := range parts {
		c.do(func() error {
			for _, id := range part {
				if ctx.Err() != nil {
					return nil
				}
				cl, _, err := r.t.connect(ctx, login{id: id})
				if err != nil {
					return fmt.Errorf("removing the sessions of this run: %w", err)
				}
				cl.leave()
			}
			return nil
		})
	}
	return c.wait()
}
