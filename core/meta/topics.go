package meta

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// maxListedTopics is the number of topics up to which we add to ALL_FIRST_TOPICS. Later topics, and those whose name a comma list cannot
// hold, get a key of their own in NamespaceTopics. A topic is in one of the two places.
const maxListedTopics = 5000

// topics holds the registered first-level topics.
type topics struct {
	m *Meta
	// names lets HasTopic work without a lock: name -> struct{}{}.
	names sync.Map

	mu       sync.Mutex
	listed   map[string]struct{} // the topics in ALL_FIRST_TOPICS
	keyed    map[string]struct{} // the keys of NamespaceTopics
	sorted   []string            // all names; nil if it must be rebuilt
	upstream []string
	changed  bool
}

func newTopics(m *Meta) *topics {
	return &topics{m: m, listed: map[string]struct{}{}, keyed: map[string]struct{}{}}
}

// listableTopic reports whether RocketMQ and the gateways of Apache RocketMQ MQTT accept the topic's name in a comma list: RocketMQ's rule
// for names.
func listableTopic(name string) bool {
	if name == "" || len(name) > 127 || name == keyFirstTopics || name == keyUpstreamNodes {
		return false
	}
	for i := range len(name) {
		c := name[i]
		if c != '%' && c != '|' && c != '_' && c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return true
}

func (t *topics) setListed(items []string) {
	next := map[string]struct{}{}
	for _, name := range items {
		if strings.ContainsAny(name, "/+#") {
			t.m.invalid(NamespaceUpstream, keyFirstTopics, fmt.Errorf(
				"%s lists %q, which is no first-level topic; correct it with mqadmin updateKvConfig", keyFirstTopics, name))
			continue
		}
		next[name] = struct{}{}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.listed = next
	t.update()
}

func (t *topics) applyKey(key string, e *pluginv1.Entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, had := t.keyed[key]
	if e == nil {
		delete(t.keyed, key)
	} else {
		t.keyed[key] = struct{}{}
	}
	if had != (e != nil) {
		if _, listed := t.listed[key]; !listed { // one topic more or less, without looking at all the others
			if e == nil {
				t.names.Delete(key)
			} else {
				t.names.Store(key, struct{}{})
			}
			t.sorted, t.changed = nil, true
		}
	}
}

// update makes names agree with listed and keyed. Called with mu held.
func (t *topics) update() {
	t.names.Range(func(k, _ any) bool {
		name := k.(string)
		_, a := t.listed[name]
		_, b := t.keyed[name]
		if !a && !b {
			t.names.Delete(name)
			t.changed = true
		}
		return true
	})
	for name := range t.listed {
		if _, had := t.names.LoadOrStore(name, struct{}{}); !had {
			t.changed = true
		}
	}
	t.sorted = nil
}

func (t *topics) setUpstreamNodes(nodes []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !slices.Equal(t.upstream, nodes) {
		t.upstream, t.changed = nodes, true
	}
}

func (t *topics) takeChanged() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.changed
	t.changed = false
	return c
}

// Topics returns the registered first-level topics, sorted. The caller must not change the slice.
func (m *Meta) Topics() []string {
	t := m.topics
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sorted == nil {
		all := make(map[string]struct{}, len(t.listed)+len(t.keyed))
		maps.Copy(all, t.listed)
		maps.Copy(all, t.keyed)
		t.sorted = slices.AppendSeq(make([]string, 0, len(all)), maps.Keys(all))
		slices.Sort(t.sorted)
	}
	return t.sorted
}

// HasTopic reports whether a first-level topic is registered. It takes no lock.
func (m *Meta) HasTopic(name string) bool {
	_, ok := m.topics.names.Load(name)
	return ok
}

// UpstreamNodes returns the gateways of Apache RocketMQ MQTT that are registered in LMQ_CONNECT_NODES. The caller must not change the
// slice.
func (m *Meta) UpstreamNodes() []string {
	m.topics.mu.Lock()
	defer m.topics.mu.Unlock()
	return m.topics.upstream
}

type topicRecord struct {
	header
	Node string `json:"node,omitempty"`
}

// AddTopic registers a first-level topic. The registration is durable when it returns. A registered topic is left as it is.
func (m *Meta) AddTopic(ctx context.Context, name string) error {
	if strings.ContainsAny(name, "/+#") {
		return fmt.Errorf("register topic %q: a first-level topic has no '/', '+' or '#'", name)
	}
	if err := errors.Join(m.loaded(NamespaceUpstream), m.loaded(NamespaceTopics)); err != nil {
		return err
	}
	if m.HasTopic(name) {
		return nil
	}
	m.topics.mu.Lock()
	full := len(m.topics.listed) >= maxListedTopics
	m.topics.mu.Unlock()
	if full || !listableTopic(name) {
		_, err := m.writer.write(ctx, put(NamespaceTopics, name, encode(&topicRecord{header{recordVersion}, m.opts.NodeID}), 0))
		return err
	}
	return m.editList(ctx, keyFirstTopics, func(items []string) []string {
		if slices.Contains(items, name) {
			return items
		}
		return append(items, name)
	})
}

// RemoveTopic removes a first-level topic from the register. Its filters and retained messages stay.
func (m *Meta) RemoveTopic(ctx context.Context, name string) error {
	if err := errors.Join(m.loaded(NamespaceUpstream), m.loaded(NamespaceTopics)); err != nil {
		return err
	}
	m.topics.mu.Lock()
	_, keyed := m.topics.keyed[name]
	m.topics.mu.Unlock()
	if keyed {
		if _, err := m.writer.write(ctx, remove(NamespaceTopics, name)); err != nil {
			return err
		}
	}
	return m.editList(ctx, keyFirstTopics, func(items []string) []string {
		return slices.DeleteFunc(items, func(s string) bool { return s == name })
	})
}
