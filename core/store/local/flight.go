package local

import (
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/lmqgate/lmqgate/core/store"
)

// sealedBatch is a group of appends on its way through pebble.
type sealedBatch struct {
	batch *pebble.Batch // nil: nothing was written
	shown []shown
	err   error
	// synced: the batch is acknowledged once it is on stable storage.
	synced bool
	ahead  int64 // up to where the batch reserves places in the log; 0: it reserves none
	heavy  bool  // the queue waits until it is stored; see appendQueue.landed

	mu       sync.Mutex // held while the batch is built and while answered is checked
	ops      []*appendOp
	answered bool // the callbacks have been or are being called
}

// shown is what the publisher needs from an append, even if its callback was called already.
type shown struct {
	topic  *topicState
	record *store.Record
}

// inFlight holds the groups that the committer has taken and the publisher has not answered.
type inFlight struct {
	mu   sync.Mutex
	list []*sealedBatch
}

func (f *inFlight) add(groups []*sealedBatch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.list = append(f.list, groups...)
}

func (f *inFlight) remove(b *sealedBatch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if i := slices.Index(f.list, b); i >= 0 {
		f.list = slices.Delete(f.list, i, i+1)
	}
}

func (f *inFlight) all() []*sealedBatch {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.list)
}

// answer calls the callbacks of a group, unless that was done already.
func (s *Store) answer(b *sealedBatch, err error) {
	b.mu.Lock()
	answered := b.answered
	b.answered = true
	b.mu.Unlock()
	if answered {
		return
	}
	for _, op := range b.ops {
		switch {
		case op.topic == nil || err != nil:
			s.finish(op, store.Position{}, err)
		case op.record == nil:
			s.finish(op, store.Position{}, unknownTopic(op.topic.name))
		default:
			s.metrics.appends.Inc()
			s.finish(op, op.record.Position, nil)
		}
	}
	b.ops = nil
}

// failInFlight fails every append in flight, because the disk does not answer. An append that was passed to pebble may still be stored
// later. Callbacks keep their order.
func (s *Store) failInFlight(err error) {
	for _, b := range s.flight.all() {
		s.answer(b, err)
	}
	s.append.drain(s, err)
}
