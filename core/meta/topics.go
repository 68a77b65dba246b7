package meta

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/lmqgate/lmqgate/core/topic"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// maxListedTopics is the number of topics up to which we add to ALL_FIRST_TOPICS. Later topics, and those whose name a comma list cannot
// hold, get a key of their own in NamespaceTopics. A topic is registered in one of the two places. For a listed topic that a client made,
// a key in NamespaceTopics notes who made it; this key registers nothing.
const maxListedTopics = 5000

// topics holds the registered first-level topics.
type topics struct {
	m *Meta
	// names lets HasTopic work without a lock: name -> struct{}{}.
	names sync.Map

	mu       sync.Mutex
	listed   map[string]struct{}   // the topics in ALL_FIRST_TOPICS
	keyed    map[string]struct{}   // the keys of NamespaceTopics that register a topic
	counted  map[string]topicCount // all keys of NamespaceTopics
	sorted   []string              // all names; nil if it must be rebuilt
	upstream []string
	changed  bool
}

func newTopics(m *Meta) *topics {
	return &topics{m: m, listed: map[string]struct{}{}, keyed: map[string]struct{}{}, counted: map[string]topicCount{}}
}

// topicCount is under whom a key of NamespaceTopics is counted, and what it takes.
type topicCount struct {
	mark   string
	client uint64
	takes  amount
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
	t.countListed()
}

// countListed tells the ledger about the topics in ALL_FIRST_TOPICS. Called with mu held.
func (t *topics) countListed() {
	var bare int
	var bytes int64
	for name := range t.listed {
		bytes += int64(len(name)) + 1
		if _, ok := t.counted[name]; !ok {
			bare++
		}
	}
	t.m.ledger.setListed(bare, bytes)
}

func (t *topics) applyKey(key string, e *pluginv1.Entry) {
	var r topicRecord
	if e != nil && decode(NamespaceTopics, key, e.GetValue(), &r) != nil {
		r = topicRecord{} // the key registers the topic, whatever it holds
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	_, listed := t.listed[key]
	t.count(key, e, &r, listed)
	_, had := t.keyed[key]
	has := e != nil && !r.Listed
	if has {
		t.keyed[key] = struct{}{}
	} else {
		delete(t.keyed, key)
	}
	if had != has {
		if !listed { // one topic more or less, without looking at all the others
			if !has {
				t.names.Delete(key)
			} else {
				t.names.Store(key, struct{}{})
			}
			t.sorted, t.changed = nil, true
		}
	}
}

// count counts a key of NamespaceTopics anew. Called with mu held.
func (t *topics) count(key string, e *pluginv1.Entry, r *topicRecord, listed bool) {
	before, had := t.counted[key]
	if had {
		t.m.ledger.countOf(countTopics, before.mark, before.client, before.takes.minus())
	}
	bare := 0
	switch {
	case e != nil:
		now := topicCount{r.By, r.Client, sized(key, e.GetValue())}
		t.m.ledger.countOf(countTopics, now.mark, now.client, now.takes)
		if t.counted[key] = now; !had {
			bare = -1
		}
	case had:
		delete(t.counted, key)
		bare = 1
	}
	if listed {
		t.m.ledger.addListed(bare)
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
	// By is who made the topic by using it; see Owner.Mark. Client is the client that did; see clientKey.
	By     string `json:"by,omitempty"`
	Client uint64 `json:"client,omitempty"`
	// Listed: ALL_FIRST_TOPICS registers the topic, and the record only says who made it.
	Listed bool `json:"listed,omitempty"`
}

// topicPut returns the record that is written for a new topic, or nil, and whether ALL_FIRST_TOPICS is to register it.
func (m *Meta) topicPut(name string, by topic.Maker) (record *pluginv1.Operation, listed bool) {
	m.topics.mu.Lock()
	listed = len(m.topics.listed) < maxListedTopics && listableTopic(name)
	m.topics.mu.Unlock()
	if listed && by.Operator {
		return nil, true
	}
	r := &topicRecord{header: header{recordVersion}, Node: m.opts.NodeID, Listed: listed}
	if !by.Operator {
		r.By, r.Client = by.Identity, clientKey(by.Client)
	}
	return put(NamespaceTopics, name, encode(r), 0), listed
}

// ClaimTopic makes room for a first-level topic, and counts it until release is called: by then MakeTopic has registered it, or it is not
// made. A registered topic needs no room. ErrLimit: there is none. Quotas.Topics and the shares bound what clients make; an operator is
// bounded by what the backend declares only.
func (m *Meta) ClaimTopic(name string, by topic.Maker) (release func(), err error) {
	if m.HasTopic(name) {
		return func() {}, nil
	}
	record, listed := m.topicPut(name, by)
	var a amount
	if record != nil {
		a = sized(name, record.GetPut().GetValue())
	}
	if listed {
		a.bytes += int64(len(name)) + 1
	}
	var mark string
	var client uint64
	if !by.Operator {
		mark, client = by.Identity, clientKey(by.Client)
	}
	return m.ledger.take(countTopics, mark, client, a, a, false)
}

// AddTopic is MakeTopic for an operator.
func (m *Meta) AddTopic(ctx context.Context, name string) error {
	return m.MakeTopic(ctx, name, topic.Maker{Operator: true})
}

// MakeTopic registers a first-level topic, and records which client made it. The registration is durable when it returns. A registered
// topic is left as it is. MakeTopic does not look for room: see ClaimTopic.
func (m *Meta) MakeTopic(ctx context.Context, name string, by topic.Maker) error {
	if strings.ContainsAny(name, "/+#") {
		return fmt.Errorf("register topic %q: a first-level topic has no '/', '+' or '#'", name)
	}
	if err := errors.Join(m.loaded(NamespaceUpstream), m.loaded(NamespaceTopics)); err != nil {
		return err
	}
	if m.HasTopic(name) {
		return nil
	}
	record, listed := m.topicPut(name, by)
	if record != nil {
		if _, err := m.writer.write(ctx, record); err != nil || !listed {
			return err
		}
	}
	err := m.editList(ctx, keyFirstTopics, func(items []string) []string {
		if slices.Contains(items, name) {
			return items
		}
		return append(items, name)
	})
	if err != nil && record != nil {
		if _, undo := m.writer.write(context.WithoutCancel(ctx), remove(NamespaceTopics, name)); undo != nil {
			m.log.Debug("the note about who made a first-level topic stays, although the topic was not made", "topic", name, "error", undo)
		}
	}
	return err
}

// RemoveTopic removes a first-level topic from the register. Its filters and retained messages stay.
func (m *Meta) RemoveTopic(ctx context.Context, name string) error {
	if err := errors.Join(m.loaded(NamespaceUpstream), m.loaded(NamespaceTopics)); err != nil {
		return err
	}
	m.topics.mu.Lock()
	_, keyed := m.topics.counted[name]
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
