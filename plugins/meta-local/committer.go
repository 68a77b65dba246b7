package main

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

const (
	maxGroup   = 1000 // requests that share a commit
	sweepEvery = 500 * time.Millisecond
	maxExpire  = 1000 // entries that one sweep removes
)

// result is the outcome of a request.
type result struct {
	done     bool
	failed   int // index of the operation whose expectation did not hold
	revision int64
	current  *pluginv1.Entry
}

// request is operations that are applied atomically. Without operations it removes expired entries.
type request struct {
	ctx    context.Context
	ops    []*pluginv1.Operation
	result result
	err    error
	done   chan struct{}
}

// committer is the only writer of the file: a goroutine that commits all waiting requests together, with one fsync. startCommitter starts
// it and close stops it.
type committer struct {
	file  *file
	log   *slog.Logger
	queue chan *request
	stop  chan struct{}
	ended chan struct{}

	mu  sync.Mutex
	err error // of the last commit
}

var errStopped = errors.New("the metadata file is being closed")

func startCommitter(f *file, log *slog.Logger) *committer {
	c := &committer{file: f, log: log, queue: make(chan *request, maxGroup), stop: make(chan struct{}), ended: make(chan struct{})}
	go c.run()
	return c
}

// close commits the queued requests and stops the goroutine.
func (c *committer) close() {
	close(c.stop)
	<-c.ended
}

func (c *committer) health() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// do applies operations and returns once they are on disk.
func (c *committer) do(ctx context.Context, ops []*pluginv1.Operation) (result, error) {
	r := &request{ctx: ctx, ops: ops, done: make(chan struct{})}
	if len(ops) == 0 {
		return result{done: true, revision: c.file.changes.revision()}, nil
	}
	select {
	case c.queue <- r:
	case <-c.stop:
		return result{}, errStopped
	case <-ctx.Done():
		return result{}, ctx.Err()
	}
	select {
	case <-r.done:
		return r.result, r.err
	case <-c.ended:
		select {
		case <-r.done:
			return r.result, r.err
		default:
			return result{}, errStopped
		}
	}
}

func (c *committer) run() {
	defer close(c.ended)
	sweep := time.NewTicker(sweepEvery)
	defer sweep.Stop()
	for {
		select {
		case r := <-c.queue:
			c.commit(c.collect([]*request{r}))
		case now := <-sweep.C:
			if due, err := c.file.due(now); err == nil && due {
				c.commit([]*request{{ctx: context.Background(), done: make(chan struct{})}})
			}
		case <-c.stop:
			if rest := c.collect(nil); len(rest) > 0 {
				c.commit(rest)
			}
			return
		}
	}
}

// collect adds the waiting requests to group.
func (c *committer) collect(group []*request) []*request {
	for len(group) < maxGroup {
		select {
		case r := <-c.queue:
			group = append(group, r)
		default:
			return group
		}
	}
	return group
}

// commit applies a group in one transaction and answers each request.
func (c *committer) commit(group []*request) {
	var events []*pluginv1.Event
	revision := c.file.changes.revision()
	err := c.file.db.Update(func(tx *bbolt.Tx) error {
		events = events[:0]
		w := &write{tx: tx, now: time.Now(), revision: revision}
		for _, r := range group {
			if r.err = r.ctx.Err(); r.err != nil {
				continue
			}
			if err := w.request(r); err != nil {
				return err
			}
		}
		events = w.events
		revision = w.revision
		return tx.Bucket(bucketFile).Put(keyRevision, binary.BigEndian.AppendUint64(nil, uint64(revision)))
	})
	c.mu.Lock()
	before := c.err
	c.err = err
	c.mu.Unlock()
	if err != nil && before == nil {
		c.log.Error("metadata cannot be written", "path", c.file.path, "error", err)
	}
	if err == nil {
		c.file.changes.add(revision, events)
	}
	for _, r := range group {
		if err != nil {
			r.err = err
		}
		close(r.done)
	}
}

// write is one transaction in progress.
type write struct {
	tx       *bbolt.Tx
	now      time.Time
	revision int64
	events   []*pluginv1.Event
}

// target of an operation.
func target(op *pluginv1.Operation) (ns, key string, expect *pluginv1.Expect) {
	if p := op.GetPut(); p != nil {
		return p.GetNamespace(), p.GetKey(), p.GetExpect()
	}
	d := op.GetDelete()
	return d.GetNamespace(), d.GetKey(), d.GetExpect()
}

// request applies one request if all its expectations hold. All its changes share one revision.
func (w *write) request(r *request) error {
	if len(r.ops) == 0 {
		return w.expire()
	}
	next := w.revision + 1
	type itemID struct{ ns, key string }
	touched := map[itemID]int64{} // revision of each key after the earlier operations
	for i, op := range r.ops {
		ns, key, expect := target(op)
		id := itemID{ns, key}
		have, ok := touched[id]
		var s stored
		if !ok {
			s, _ = lookup(w.tx.Bucket(bucketName(ns)), key, w.now)
			have = s.revision
		}
		if expect != nil && expect.GetRevision() != have {
			r.result = result{failed: i, revision: w.revision}
			if s.revision != 0 {
				r.result.current = s.entry(ns, key)
			}
			return nil
		}
		if touched[id] = 0; op.GetPut() != nil {
			touched[id] = next
		}
	}
	changed := false
	for _, op := range r.ops {
		ns, key, _ := target(op)
		did, err := w.apply(ns, key, op.GetPut(), next)
		if err != nil {
			return err
		}
		changed = changed || did
	}
	if changed {
		w.revision = next
	}
	r.result = result{done: true, revision: w.revision}
	return nil
}

// apply writes (put not nil) or removes one key and reports whether that changed anything.
func (w *write) apply(ns, key string, put *pluginv1.PutRequest, revision int64) (bool, error) {
	b, err := w.tx.CreateBucketIfNotExists(bucketName(ns))
	if err != nil {
		return false, err
	}
	before, had := read(b.Get(itemKey(key)))
	if had && before.expires != 0 {
		if err := w.tx.Bucket(bucketExpiry).Delete(expiryKey(before.expires, ns, key)); err != nil {
			return false, err
		}
	}
	ev := &pluginv1.Event{Type: pluginv1.Event_TYPE_DELETE, Entry: &pluginv1.Entry{Namespace: ns, Key: key, Revision: revision}}
	if put == nil {
		if !had {
			return false, nil
		}
		w.events = append(w.events, ev)
		return true, b.Delete(itemKey(key))
	}
	s := stored{revision: revision, value: put.GetValue()}
	if put.GetTtlMs() > 0 {
		s.expires = w.now.UnixMilli() + 1 + put.GetTtlMs() // the millisecond that has begun does not count
		if err := w.tx.Bucket(bucketExpiry).Put(expiryKey(s.expires, ns, key), []byte{}); err != nil {
			return false, err
		}
	}
	ev.Type, ev.Entry.Value = pluginv1.Event_TYPE_PUT, s.value
	w.events = append(w.events, ev)
	return true, b.Put(itemKey(key), s.bytes())
}

// expire removes expired entries.
func (w *write) expire() error {
	var due [][]byte
	c := w.tx.Bucket(bucketExpiry).Cursor()
	for k, _ := c.First(); k != nil && len(due) < maxExpire; k, _ = c.Next() {
		expires, _, _, ok := readExpiryKey(k)
		if ok && expires > w.now.UnixMilli() {
			break
		}
		due = append(due, k)
	}
	for _, k := range due {
		expires, ns, key, ok := readExpiryKey(k)
		if ok {
			if s, found := read(w.tx.Bucket(bucketName(ns)).Get(itemKey(key))); found && s.expires == expires {
				if _, err := w.apply(ns, key, nil, w.revision+1); err != nil {
					return err
				}
				w.revision++
				continue
			}
		}
		if err := w.tx.Bucket(bucketExpiry).Delete(k); err != nil {
			return err
		}
	}
	return nil
}
