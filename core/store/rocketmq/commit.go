package rocketmq

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"
	"unicode"

	"golang.org/x/sync/errgroup"

	"github.com/lmqgate/lmqgate/core/store"
)

// parallel bounds the concurrent requests of one call.
const parallel = 128

// maxGroup is the longest client id that is used unchanged in a consumer group's name, in bytes.
const maxGroup = 250

// forgotten is the offset that brokers treat as no offset.
const forgotten = -1

// consumerGroup returns the group that holds a client's offsets. If the client id is printable, not too long and does not look like the
// digest of another one, it is the name that Apache RocketMQ MQTT uses.
func consumerGroup(client string) string {
	plain := len(client) <= maxGroup && !strings.HasPrefix(client, shareName) &&
		(len(client) != len(ownPrefix)+2*sha256.Size || !strings.HasPrefix(client, ownPrefix))
	for _, r := range client {
		plain = plain && r != unicode.ReplacementChar && !unicode.IsControl(r)
	}
	if plain {
		return lmqPrefix + client
	}
	sum := sha256.Sum256([]byte(client))
	return lmqPrefix + ownPrefix + hex.EncodeToString(sum[:])
}

// Commit implements store.Store.
func (s *Store) Commit(ctx context.Context, client string, epoch int64, offsets []store.Offset) error {
	if err := s.begin(); err != nil {
		return err
	}
	defer s.end()
	if last, ok := s.epochs.see(client, epoch); !ok {
		return fmt.Errorf("commit of client %q with epoch %d after %d: %w", clip(client), epoch, last, store.ErrStaleEpoch)
	}
	group := consumerGroup(client)
	return s.each(ctx, len(offsets), func(ctx context.Context, i int) error {
		o := offsets[i]
		if err := s.update(ctx, group, o.QueueRef, o.Next); err != nil {
			return fmt.Errorf("commit of client %q to queue %q: %w", clip(client), clip(o.Queue), err)
		}
		return nil
	})
}

func (s *Store) update(ctx context.Context, group string, q store.QueueRef, offset int64) error {
	return s.atQueue(ctx, q.Broker, func(addr string) error {
		return s.client.UpdateConsumerOffset(ctx, addr, group, lmqPrefix+q.Queue, 0, offset)
	})
}

// Committed implements store.Store.
func (s *Store) Committed(ctx context.Context, client string, queues []store.QueueRef) ([]store.Offset, error) {
	if err := s.begin(); err != nil {
		return nil, err
	}
	defer s.end()
	group := consumerGroup(client)
	offsets := make([]int64, len(queues))
	err := s.each(ctx, len(queues), func(ctx context.Context, i int) error {
		q := queues[i]
		err := s.atQueue(ctx, q.Broker, func(addr string) error {
			offset, found, err := s.client.QueryConsumerOffset(ctx, addr, group, lmqPrefix+q.Queue, 0)
			offsets[i] = offset
			if !found {
				offsets[i] = forgotten
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("committed offset of client %q in queue %q: %w", clip(client), clip(q.Queue), err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := make([]store.Offset, 0, len(queues))
	for i, q := range queues {
		if offsets[i] >= 0 {
			out = append(out, store.Offset{QueueRef: q, Next: offsets[i]})
		}
	}
	return out, nil
}

// Forget implements store.Store. Brokers have no command to remove a single offset of a group, so a small entry remains that says that
// there is none.
func (s *Store) Forget(ctx context.Context, client string, queues []store.QueueRef) error {
	if err := s.begin(); err != nil {
		return err
	}
	defer s.end()
	group := consumerGroup(client)
	return s.each(ctx, len(queues), func(ctx context.Context, i int) error {
		if err := s.update(ctx, group, queues[i], forgotten); err != nil {
			return fmt.Errorf("forget client %q in queue %q: %w", clip(client), clip(queues[i].Queue), err)
		}
		return nil
	})
}

// each calls f for 0 to n-1, up to parallel calls at a time, and returns the first error.
func (s *Store) each(ctx context.Context, n int, f func(ctx context.Context, i int) error) error {
	if n == 1 {
		return f(ctx, 0)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for i := range n {
		g.Go(func() error { return f(ctx, i) })
	}
	return g.Wait()
}

// epochs holds the newest epoch seen of each client. It covers only this process: RocketMQ cannot check epochs. It is bounded to two
// generations of maxEpochs clients; clients not seen for long are dropped.
type epochs struct {
	mu       sync.Mutex
	now, old map[string]int64
}

const maxEpochs = 1 << 19

// see records an epoch. If the epoch is too old, it returns the newer one and false.
func (e *epochs) see(client string, epoch int64) (last int64, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	last, known := e.now[client]
	if !known {
		last, known = e.old[client]
	}
	if known && epoch < last {
		return last, false
	}
	if e.now == nil || len(e.now) >= maxEpochs {
		e.now, e.old = make(map[string]int64), e.now
	}
	e.now[client] = epoch
	return epoch, true
}
