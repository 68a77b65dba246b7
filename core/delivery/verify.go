package delivery

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/lmqgate/lmqgate/internal/wait"
)

// The ends of queue views are compared with the store: soon after a view first learns its end, and periodically.

// verifySoon compares a view's end with the store once, one to two seconds after the view learned it.
func (h *Hub) verifySoon(v *queueView) {
	if v.filling {
		v.asked = true
		return
	}
	v.filling = true
	h.after(time.Second+rand.N(time.Second), func(ctx context.Context) { // spread out: thousands of views may be new at once
		h.unverified.run(v, func(v *queueView) { v.fill(ctx) })
	})
}

// verifyMost bounds the new views that are compared with the store concurrently.
const verifyMost = 16

// sweep periodically compares the end of each idle queue view with the store, so that a lost wake-up has no lasting effect.
func (h *Hub) sweep() {
	defer h.wg.Done()
	last := make(map[*queueView]int64)
	for wait.For(h.ctx, h.verify) == nil {
		h.lookAgain()
		views := make(map[*queueView]int64)
		h.mu.Lock()
		all := make([]*source, 0, len(h.sources))
		for _, s := range h.sources {
			all = append(all, s)
		}
		h.mu.Unlock()
		for _, s := range all {
			s.mu.Lock()
			for _, v := range s.queues {
				if v.known {
					views[v] = v.next
				}
			}
			s.mu.Unlock()
		}
		for v, next := range views {
			if before, ok := last[v]; !ok || before != next {
				continue
			}
			v.src.mu.Lock()
			idle := !v.filling && v.known && v.next == next
			if idle {
				v.filling = true
			}
			v.src.mu.Unlock()
			if idle {
				v.fill(h.ctx)
			}
		}
		last = views
	}
}
