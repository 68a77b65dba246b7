package meta

import (
	"context"
	"fmt"
	"slices"
	"strings"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// Keys of the namespace LMQ that are not first-level topics.
const (
	keyFirstTopics   = "ALL_FIRST_TOPICS"
	keyUpstreamNodes = "LMQ_CONNECT_NODES"
)

// splitList splits a comma list as an operator may have written it: it ignores spaces around items, empty items and duplicates.
func splitList(value string) []string {
	var items []string
	for item := range strings.SplitSeq(value, ",") {
		if item = strings.TrimSpace(item); item != "" && !slices.Contains(items, item) {
			items = append(items, item)
		}
	}
	return items
}

// applyUpstream applies one key of the namespace LMQ.
func (m *Meta) applyUpstream(key string, e *pluginv1.Entry) {
	items := splitList(string(e.GetValue()))
	switch key {
	case keyFirstTopics:
		m.topics.setListed(items)
	case keyUpstreamNodes:
		m.topics.setUpstreamNodes(items)
	default:
		m.filters.setListed(key, items)
	}
}

// editList changes a comma list of the namespace LMQ. Other gateways and mqadmin write it as well, so every attempt reads it again, and
// edit gets the present items. An empty result removes the key.
func (m *Meta) editList(ctx context.Context, key string, edit func(items []string) []string) error {
	select {
	case m.lists.editing <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("wait for another change of the lists: %w", ctx.Err())
	}
	defer func() { <-m.lists.editing }()
	for try := 0; ; try++ {
		e, at, err := m.find(ctx, NamespaceUpstream, key)
		if err != nil {
			return err
		}
		before := splitList(string(e.GetValue()))
		after := edit(slices.Clone(before))
		if slices.Equal(before, after) {
			return nil
		}
		done := true
		switch cas := m.traits().GetCompareAndSet(); {
		case len(after) > 0 && cas:
			var out outcome
			value := []byte(strings.Join(after, ","))
			if out, err = m.backend.putIf(ctx, NamespaceUpstream, key, value, at, 0); err == nil && out.done {
				op := put(NamespaceUpstream, key, value, 0)
				m.applied(op, out.revision, out.generation)
				err = m.announce(ctx, op)
			}
			if done = out.done; rebased(err) {
				err = nil
			}
		case len(after) > 0:
			_, err = m.writer.write(ctx, put(NamespaceUpstream, key, []byte(strings.Join(after, ",")), 0))
		default:
			done, err = m.removeIf(ctx, NamespaceUpstream, key, at)
		}
		if err != nil || done {
			return err
		}
		if err := pause(ctx, 0); err != nil {
			return err
		}
	}
}
