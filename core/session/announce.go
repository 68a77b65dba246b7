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

// When a filter is new to the cluster, SUBACK waits until the filter is in force on every node. The node that registers the filter tells
// the other nodes, and each answers once it dispatches to the filter. Only filters registered in the last half minute are announced: every
// node knows the older ones. A node that is alone announces nothing.

// AskFilters is the question with which nodes announce new filters to each other. LearnFilters answers it.
const AskFilters = "filters"

// errUnconfirmed says that at least one node may not dispatch to the filter yet.
var errUnconfirmed = errors.New("not every node dispatches to the filter")

// announce makes filters known on every live node. With an error it also returns the filters that some node may not dispatch to.
func (m *Manager) announce(ctx context.Context, filters ...string) (failed []string, err error) {
	if !m.o.Cluster.Shared() {
		return nil, nil
	}
	if failed, err = m.filters.Tell(ctx, m.o.Meta.NewFilters(filters...)...); err != nil {
		return failed, fmt.Errorf("%w: %w", errUnconfirmed, err)
	}
	return nil, nil
}

// LearnFilters handles an announcement of new filters (a JSON array) from another node. Its answer lists the filters that are still missing
// from this node's metadata, which may lag behind; this node dispatches to all the others.
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

// learnTime bounds the wait for a filter that the metadata does not show yet. learnPause is the interval between two looks.
const (
	learnTime  = time.Second
	learnPause = 100 * time.Millisecond
)
