package meta

import (
	"fmt"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lmqgate/lmqgate/core/store"
)

// Every node holds all retained messages in memory, from its start on. So a node takes no message that would bring them over what it may
// hold: a topic's next value is taken as long as it is not larger than the one before, and a removal always is.

// retainedRoom is how much retained messages may take of the node's memory.
type retainedRoom struct {
	max     atomic.Int64 // bytes; 0 is no limit
	writing int64        // for values on their way to the backend; guarded by retained.mu
	warned  bool         // guarded by retained.mu
}

// retainedCost is what a retained message costs besides its topic, payload and properties, about, in bytes.
const retainedCost = 512

// An operator is told once retained messages take over nine tenths of what they may, and again only after they have taken less than eight.
const (
	roomWarn  = 9
	roomQuiet = 8
)

// cost is what a retained message takes of memory, about, in bytes.
func (v *Retained) cost() int64 {
	if v == nil {
		return 0
	}
	r := store.Record{Message: *v.Message}
	return int64(r.Size() + len(v.Message.Topic) + retainedCost)
}

// SetRetainedMemory bounds what retained messages take of this node's memory, in bytes; 0 is no limit. What is there already stays.
func (m *Meta) SetRetainedMemory(bytes int64) { m.retained.room.max.Store(bytes) }

// RetainedMemory is what retained messages take of this node's memory, about, in bytes.
func (m *Meta) RetainedMemory() int64 {
	m.retained.mu.RLock()
	defer m.retained.mu.RUnlock()
	return m.retained.index.bytes
}

// take makes room for a value that is to be written, and returns what ends the write.
func (r *retained) take(v *Retained) (end func(), err error) {
	limit := r.room.max.Load()
	if limit == 0 || len(v.Message.Payload) == 0 {
		return func() {}, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	more := v.cost() - r.index.get(v.Message.Topic).cost()
	if more <= 0 {
		return func() {}, nil
	}
	used := r.index.bytes + r.room.writing
	r.warn(used+more, limit)
	if used+more > limit {
		r.m.metrics.retainedRefused.Inc()
		return nil, fmt.Errorf("retain on topic %q: %w: retained messages take %d of %d bytes of memory, limits.node.retained_memory allows no more",
			v.Message.Topic, ErrLimit, used, limit)
	}
	r.room.writing += more
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.room.writing -= more
	}, nil
}

// warn tells an operator that there is little room. It is called under mu.
func (r *retained) warn(used, limit int64) {
	switch tenths := used / max(limit/10, 1); {
	case tenths < roomQuiet:
		r.room.warned = false
	case tenths >= roomWarn && !r.room.warned:
		r.room.warned = true
		r.m.log.Warn("retained messages take nearly all the memory that they may; remove some, or raise limits.node.retained_memory on every node",
			"bytes", used, "limit", limit, "messages", r.index.len())
	}
}

// registerRetained registers the metrics of what retained messages take.
func (m *Meta) registerRetained(r prometheus.Registerer) error {
	if r == nil {
		return nil
	}
	for _, c := range []prometheus.Collector{
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "lmqgate_meta_retained_bytes", Help: "What retained messages take of this node's memory, about.",
		}, func() float64 { return float64(m.RetainedMemory()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "lmqgate_meta_retained_limit_bytes", Help: "What retained messages may take of this node's memory; 0 is no limit.",
		}, func() float64 { return float64(m.retained.room.max.Load()) }),
	} {
		if err := r.Register(c); err != nil {
			return err
		}
	}
	return nil
}
