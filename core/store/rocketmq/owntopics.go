package rocketmq

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// ownTopics are the gateway's own topics that this process has made or found, with their numbers of queues. A slave copies its master's
// topics every few seconds only. So one that becomes the master may lack a topic that everybody knows, and a broker that joins lacks them
// all.
type ownTopics struct {
	mu     sync.Mutex
	queues map[string]int
}

func (o *ownTopics) put(name string, queues int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.queues == nil {
		o.queues = make(map[string]int)
	}
	o.queues[name] = queues
}

func (o *ownTopics) drop(name string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.queues, name)
}

func (o *ownTopics) all() map[string]int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return maps.Clone(o.queues)
}

// keepOwn remembers a topic if it is one of the gateway's own, and reports whether it is.
func (s *Store) keepOwn(name string, queues int) (own bool) {
	if own = strings.HasPrefix(name, ownPrefix); own {
		s.ownTopics.put(name, queues)
	}
	return own
}

// spreadFor bounds the making of topics on brokers that lack them.
const spreadFor = 30 * time.Second

// spread makes the gateway's own topics on a broker that lacks them, or on each one if broker is empty. It does not wait.
func (s *Store) spread(broker string) {
	topics := s.ownTopics.all()
	if len(topics) == 0 || s.begin() != nil {
		return
	}
	go func() {
		defer s.end()
		ctx, cancel := context.WithTimeout(s.base, spreadFor)
		defer cancel()
		for _, name := range slices.Sorted(maps.Keys(topics)) {
			s.complete(ctx, name, topics[name], broker)
		}
	}()
}

// complete makes one topic on a broker that lacks it. A failure is met again by the next append, or by the next broker that joins.
func (s *Store) complete(ctx context.Context, name string, queues int, broker string) {
	st, err := s.routes.current(ctx, routeAge)
	if err != nil {
		return
	}
	on := make(map[string]bool)
	if rt, err := s.routes.refreshTopic(ctx, name); err == nil {
		for _, p := range rt.writable {
			on[p.Broker] = true
		}
	}
	made := false
	for _, b := range st.names {
		if on[b] || broker != "" && b != broker {
			continue
		}
		if err := s.createAt(ctx, st, b, name, queues); err != nil {
			s.log.Debug("a broker lacks one of the gateway's topics and does not make it", "topic", name, "broker", b, "error", err)
			continue
		}
		s.log.Info("made one of the gateway's topics on a broker that lacked it", "topic", name, "broker", b)
		made = true
	}
	if made {
		_ = s.awaitWritable(ctx, name, nil)
	}
}

// remade makes one of the gateway's own topics again that no broker has any more. It reports whether the topic is one of those.
func (s *Store) remade(ctx context.Context, name string) bool {
	queues, ours := s.ownTopics.all()[name]
	if ours {
		ctx, cancel := context.WithTimeout(ctx, spreadFor)
		defer cancel()
		s.complete(ctx, name, queues, "")
	}
	return ours
}
