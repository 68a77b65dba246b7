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

// RoomForRetained says why a message could not be retained now, for want of room (ErrLimit), or nil.
func (m *Meta) RoomForRetained(msg *store.Message) error {
	end, err := m.retained.take(&Retained{Message: msg})
	if err == nil {
		end()
	}
	return err
}

// take makes room for a value that is to be written, and returns what ends the write.
func (r *retained) take(v *Retained) (end func(), err error) {
	limit := r.room.max.Load()
	if len(v.Message.Payload) == 0 {
		return func() {}, nil
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

// takeKey makes room for a value in the quotas, and returns what ends that. A topic's next value needs room where it is another one's;
// values of earlier releases have no mark.
func (r *retained) takeKey(v *Retained) (give func(), err error) {
	mark, client := v.Message.Identity, v.Message.Publisher
	more := amount{1, v.recordBytes(), v.cost()}
	r.mu.RLock()
	if have := r.index.get(v.Message.Topic); have != nil && have.Message.Publisher == client && (have.mark == mark || have.mark == "") {
		grows := max(0, v.cost()-have.cost())
		more = amount{0, grows, grows}
	}
	r.mu.RUnlock()
	return r.m.ledger.take(countRetained, mark, client, more, false)
}

// recordBytes is what the record of a value takes, about, in bytes.
func (v *Retained) recordBytes() int64 {
	rec := store.Record{Message: *v.Message}
	return int64(rec.Size()+rec.Size()/3) + int64(len(v.Message.Topic))
}

// uncount and recount take what there is of a topic off the ledger and put it back. They are called under mu.
func (r *retained) uncount(key string) { r.inLedger(key, amount.minus) }

func (r *retained) recount(key string) { r.inLedger(key, func(a amount) amount { return a }) }

func (r *retained) inLedger(key string, sign func(amount) amount) {
	if v := r.index.get(key); v != nil {
		r.m.ledger.countRetained(v.mark, v.Message.Publisher, sign(v.takes))
	}
	if g, ok := r.gone[key]; ok {
		r.m.ledger.countRetained(g.mark, "", sign(g.takes))
	}
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
		fills{m, prometheus.NewDesc("lmqgate_meta_fill_ratio",
			"How much of a bound of the metadata is used; at 1 what is new is refused.", []string{"resource"}, nil)},
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
