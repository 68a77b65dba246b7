package meta

import (
	"fmt"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lmqgate/lmqgate/core/store"
)

// Every node holds all retained messages in memory, from its start. So a node refuses a message that would exceed the memory bound. The
// next value of a topic is always accepted if it is not larger than the one before, and so is a removal.

// retainedRoom is the bound on the memory of retained messages.
type retainedRoom struct {
	max     atomic.Int64 // bytes; 0: no limit
	writing int64        // bytes of values on their way to the backend; guarded by retained.mu
	warned  bool         // guarded by retained.mu
}

// retainedCost is the approximate memory of a retained message besides its topic, payload and properties, in bytes.
const retainedCost = 512

// An operator is warned once retained messages use more than nine tenths of the bound, and again only after their use has fallen below
// eight tenths.
const (
	roomWarn  = 9
	roomQuiet = 8
)

// cost returns the approximate memory of a retained message, in bytes.
func (v *Retained) cost() int64 {
	if v == nil {
		return 0
	}
	r := store.Record{Message: *v.Message}
	return int64(r.Size() + len(v.Message.Topic) + retainedCost)
}

// SetRetainedMemory bounds the memory of retained messages on this node, in bytes; 0: no limit. Existing messages stay.
func (m *Meta) SetRetainedMemory(bytes int64) { m.retained.room.max.Store(bytes) }

// RetainedMemory returns the approximate memory of retained messages on this node, in bytes.
func (m *Meta) RetainedMemory() int64 {
	m.retained.mu.RLock()
	defer m.retained.mu.RUnlock()
	return m.retained.index.bytes
}

// RoomForRetained returns nil if there is room to retain a message now; otherwise an error that wraps ErrLimit.
func (m *Meta) RoomForRetained(msg *store.Message) error {
	if len(msg.Payload) == 0 {
		return nil
	}
	end, err := m.retained.take(&Retained{Message: msg})
	if err == nil {
		end()
	}
	return err
}

// take makes room for a value that is about to be written. The caller calls end after the write. A removal needs room only if its topic
// has no value and no recent removal: otherwise it replaces what is there.
func (r *retained) take(v *Retained) (end func(), err error) {
	limit := r.room.max.Load()
	if len(v.Message.Payload) == 0 {
		if _, known := r.holds(v.Message.Topic); known {
			return func() {}, nil
		}
		more := amount{1, v.recordBytes(), 0}
		return r.m.ledger.take(countRetained, v.Message.Identity, clientKey(v.Message.Publisher), more, more, false)
	}
	give, err := r.takeKey(v)
	if err != nil {
		return nil, fmt.Errorf("retain on topic %q: %w", v.Message.Topic, err)
	}
	defer func() {
		if err != nil {
			give()
		}
	}()
	r.mu.Lock()
	defer r.mu.Unlock()
	more := v.cost() - r.index.get(v.Message.Topic).cost()
	if more <= 0 {
		return give, nil
	}
	used := r.index.bytes + r.room.writing
	if limit > 0 {
		r.warn(used+more, limit)
	}
	if limit > 0 && used+more > limit {
		r.m.metrics.retainedRefused.Inc()
		return nil, fmt.Errorf("retain on topic %q: %w: retained messages take %d of %d bytes of memory, limits.node.retained_memory allows no more",
			v.Message.Topic, ErrLimit, used, limit)
	}
	r.room.writing += more
	return func() {
		give()
		r.mu.Lock()
		defer r.mu.Unlock()
		r.room.writing -= more
	}, nil
}

// takeKey makes room for a value in the quotas. The caller calls give after the write. In the cluster, the next value of a topic needs only
// the room by which it is larger. The same holds for the shares of its owner and its publisher if they are those of the value before.
// Values from earlier releases have no mark.
func (r *retained) takeKey(v *Retained) (give func(), err error) {
	mark, client := v.Message.Identity, clientKey(v.Message.Publisher)
	more := amount{1, v.recordBytes(), v.cost()}
	net := more
	r.mu.RLock()
	if have := r.index.get(v.Message.Topic); have != nil {
		grows := max(0, v.cost()-have.cost())
		net = amount{0, grows, grows}
		if have.Message.Publisher == v.Message.Publisher && (have.mark == mark || have.mark == "") {
			more = net
		}
	}
	r.mu.RUnlock()
	return r.m.ledger.take(countRetained, mark, client, more, net, false)
}

// recordBytes returns the approximate size of a value's record, in bytes.
func (v *Retained) recordBytes() int64 {
	rec := store.Record{Message: *v.Message}
	return int64(rec.Size()+rec.Size()/3) + int64(len(v.Message.Topic))
}

// uncount subtracts a topic's amounts from the ledger, and recount adds them again. Called with mu held.
func (r *retained) uncount(key string) { r.inLedger(key, amount.minus) }

func (r *retained) recount(key string) { r.inLedger(key, func(a amount) amount { return a }) }

func (r *retained) inLedger(key string, sign func(amount) amount) {
	if v := r.index.get(key); v != nil {
		r.m.ledger.countOf(countRetained, v.mark, clientKey(v.Message.Publisher), sign(v.takes))
	}
	if g, ok := r.gone[key]; ok {
		r.m.ledger.countOf(countRetained, g.mark, g.client, sign(g.takes))
	}
}

// warn warns the operator that little room is left. Called with mu held.
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

// registerRetained registers the metrics about the memory of retained messages.
func (m *Meta) registerRetained(r prometheus.Registerer) error {
	if r == nil {
		return nil
	}
	for _, c := range []prometheus.Collector{
		fills{m, prometheus.NewDesc("lmqgate_meta_fill_ratio",
			"How much of a bound of the metadata is used; at 1 what is new is refused.", []string{"resource"}, nil)},
		itemCounts{m, prometheus.NewDesc("lmqgate_meta_items",
			"Sessions that outlive their connections, their filters and shared groups, and retained messages of the cluster.", []string{"resource"}, nil)},
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
