package local

import (
	"fmt"
	"time"

	"github.com/lmqgate/lmqgate/core/store"
)

// publishLoop waits until each batch is durable, makes its records visible to readers, and calls back.
func (s *Store) publishLoop() {
	for b := range s.sealed {
		s.publish(b)
	}
}

func (s *Store) publish(b *sealedBatch) {
	err := b.err
	if b.batch != nil && err == nil {
		if b.synced {
			err = s.writableAfter(b.batch.SyncWait())
		}
		if err == nil {
			_ = b.batch.Close()
			s.metrics.batches.Inc()
			s.show(b.shown)
		}
	}
	s.flight.remove(b)
	if b.heavy {
		s.append.landed()
	}
	s.answer(b, err)
}

// show makes durable records visible to readers, the recent cache and tails.
func (s *Store) show(list []shown) {
	s.tails.mu.Lock()
	defer s.tails.mu.Unlock()
	for i := range list {
		t, r := list[i].topic, list[i].record
		s.recent.add(r)
		s.visible.Store(r.Position.Log + 1)
		t.end = r.Position.Offset + 1
		s.tails.offer(t.name, r)
		s.groups.offer(r)
	}
}

// syncLoop syncs the log periodically in SyncInterval mode.
func (s *Store) syncLoop() {
	tick := time.NewTicker(s.opts.SyncInterval)
	defer tick.Stop()
	synced := s.visible.Load()
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
		}
		if end := s.visible.Load(); end != synced && s.failure.Load() == nil {
			if s.sync(end, synced) == nil {
				synced = end
			}
		}
	}
}

func unknownTopic(name string) error {
	return fmt.Errorf("local store: topic %q: %w", name, store.ErrUnknownTopic)
}
