package meta

import (
	"context"
	"fmt"
	"time"

	"github.com/lmqgate/lmqgate/internal/wait"
)

// CatchUp reads again which filters are registered, and returns once this node knows all that were registered before the call. It is for a
// node that was stopped: the stream of changes may be behind by as long as that.
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

// catchUpLook is how often CatchUp looks whether a listing has ended.
const catchUpLook = 5 * time.Millisecond

// begun is how many listings have begun.
func (r *mirror) begun() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.listings
}

// hasListed reports whether a listing behind the first n has ended well.
func (r *mirror) hasListed(n int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.listed > n
}
