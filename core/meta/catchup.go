package meta

import (
	"context"
	"fmt"
	"time"

	"github.com/lmqgate/lmqgate/internal/wait"
)

// CatchUp reads the registered filters again, and returns once this node knows every filter that was registered before the call. It is for
// a node that was stopped, because its stream of changes may lag behind by as long as it was stopped.
func (m *Meta) CatchUp(ctx context.Context) error {
	before := map[*mirror]int{}
	for _, ns := range []string{NamespaceFilters, NamespaceUpstream} {
		r := m.mirrors[ns]
		before[r] = r.begun()
		r.resync()
	}
	for r, n := range before {
		for !r.hasListed(n) {
			if wait.For(ctx, catchUpLook) != nil {
				return fmt.Errorf("%w: namespace %s was not read again in time: %w", ErrUnavailable, r.namespace, ctx.Err())
			}
		}
	}
	return nil
}

// catchUpLook is the interval between two looks whether a listing has ended.
const catchUpLook = 5 * time.Millisecond

// begun returns how many listings have begun.
func (r *mirror) begun() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.listings
}

// hasListed reports whether a listing after the first n has succeeded.
func (r *mirror) hasListed(n int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.listed > n
}
