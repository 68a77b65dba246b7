package coordinator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/meta/migration"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// watch tracks the nodes and their answers.
type watch struct {
	board   migration.Board
	client  pluginv1.MetaClient
	silence time.Duration
	seen    map[string]sight
}

// sight is a node's record, and since when it has been unchanged.
type sight struct {
	record  string
	since   time.Time
	changed bool // since it was first seen
}

// records reads the records of the nodes that have not left.
func (w *watch) records(ctx context.Context) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	stream, err := w.client.List(ctx, &pluginv1.ListRequest{Namespace: meta.NamespaceNodes})
	records := map[string]string{}
	for err == nil {
		var page *pluginv1.ListResponse
		if page, err = stream.Recv(); err == nil {
			for _, e := range page.GetEntries() {
				if !meta.NodeLeft(e.GetValue()) {
					records[e.GetKey()] = string(e.GetValue())
				}
			}
		}
	}
	if !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("list the nodes: %w", err)
	}
	return records, nil
}

// look records which node records have changed.
func (w *watch) look(records map[string]string) {
	for node, record := range records {
		if s, ok := w.seen[node]; !ok || s.record != record {
			w.seen[node] = sight{record, time.Now(), ok}
		}
	}
}

// living returns the nodes that may be alive, because their records have not been unchanged for long enough, and the nodes whose records
// have changed, which are certainly alive.
func (w *watch) living(ctx context.Context) (living, changed []string, err error) {
	records, err := w.records(ctx)
	if err != nil {
		return nil, nil, err
	}
	w.look(records)
	for _, node := range slices.Sorted(maps.Keys(records)) {
		s := w.seen[node]
		if s.changed {
			changed = append(changed, node)
		}
		if time.Since(s.since) <= w.silence {
			living = append(living, node)
		}
	}
	return living, changed, nil
}

// missing returns the nodes that should answer a plan but have not: live nodes without an answer, and nodes whose answer has not reached
// the state. silent are the nodes considered lost. If a node cannot follow, missing returns that as an error.
func (w *watch) missing(ctx context.Context, id string, state migration.State) (missing, silent []string, err error) {
	records, err := w.records(ctx)
	if err != nil {
		return nil, nil, err
	}
	answers, err := w.board.Answers(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	if err := failed(answers, id); err != nil {
		return nil, nil, err
	}
	w.look(records)
	now := time.Now()
	for node := range records {
		if _, ok := answers[node]; ok {
			continue
		}
		if now.Sub(w.seen[node].since) > w.silence {
			silent = append(silent, node)
		} else {
			missing = append(missing, node)
		}
	}
	for node, a := range answers {
		if a.State != state {
			missing = append(missing, node)
		}
	}
	slices.Sort(missing)
	slices.Sort(silent)
	return missing, silent, nil
}

// failed returns an error for the first node that cannot follow.
func failed(answers map[string]migration.Answer, id string) error {
	for _, node := range slices.Sorted(maps.Keys(answers)) {
		if a := answers[node]; a.ID == id && a.State == migration.Failed {
			return &cannotFollow{node, a.Reason}
		}
	}
	return nil
}

// cannotFollow is a node's answer that ends a migration.
type cannotFollow struct{ node, reason string }

func (c *cannotFollow) Error() string {
	return fmt.Sprintf("node %q cannot follow: %s", c.node, c.reason)
}

func names(nodes map[string]string) string { return list(slices.Sorted(maps.Keys(nodes))) }

func list(items []string) string { return strings.Join(items, ", ") }
