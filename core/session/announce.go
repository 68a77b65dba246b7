package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/lmqgate/lmqgate/internal/wait"
)

// A filter that is new to the cluster is in force on every node before SUBACK: the node that registered it tells the others, and each
// answers once it dispatches to it. Only filters of the last half minute are told; all others are known everywhere. A node that is
// alone tells nobody.

// AskFilters is the question by which nodes tell each other of new filters; LearnFilters answers it.
const AskFilters = "filters"

// errUnconfirmed: another node may not dispatch to a filter.
var errUnconfirmed = errors.New("not every node dispatches to the filter")

// announce makes filters known on every node that lives. With an error it returns those of which that is not sure.
func (m *Manager) announce(ctx context.Context, filters ...string) (failed []string, err error) {
	if !m.o.Cluster.Shared() {
		return nil, nil
	}
	if failed, err = m.filters.Tell(ctx, m.o.Meta.NewFilters(filters...)...); err != nil {
		return failed, fmt.Errorf("%w: %w", errUnconfirmed, err)
	}
	return nil, nil
}

// LearnFilters takes what another node says of new filters, as JSON, and answers with those that the metadata does not have: what this
// node reads may be late. This node dispatches to all others then.
func (m *Manager) LearnFilters(ctx context.Context, body []byte) ([]byte, error) {
	var filters []string
	if err := json.Unmarshal(body, &filters); err != nil {
		return nil, fmt.Errorf("the list of filters cannot be read: %w", err)
	}
	for until := time.Now().Add(learnTime); ; {
		if err := m.o.Meta.LearnFilters(ctx, filters...); err != nil {
			return nil, err
		}
		filters = slices.DeleteFunc(filters, m.o.Meta.HasFilter)
		if len(filters) == 0 || time.Now().After(until) {
			return json.Marshal(filters)
		}
		if err := wait.For(ctx, learnPause); err != nil {
			return nil, err
		}
	}
}

// learnTime is for how long a filter is looked for that the metadata does not show, learnPause is between two looks.
const (
	learnTime  = time.Second
	learnPause = 100 * time.Millisecond
)
