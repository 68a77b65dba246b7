package meta

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/lmqgate/lmqgate/internal/wait"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// backoff are the pauses between attempts, ascending; the last one repeats.
var backoff = []time.Duration{50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, time.Second}

// pause waits for the back-off of attempt number try, with jitter of up to a half, or until ctx ends.
func pause(ctx context.Context, try int) error {
	d := backoff[min(try, len(backoff)-1)]
	return wait.For(ctx, d/2+rand.N(d))
}

// link is the plugin in use. A migration replaces it.
type link struct {
	client pluginv1.MetaClient
	traits func() *pluginv1.MetaTraits
	// generation counts the replacements. Revisions of different generations cannot be compared.
	generation int64
}

// backend calls the plugin, with deadlines, retries and counters.
type backend struct {
	link         atomic.Pointer[link]
	gate         *writeGate
	callTimeout  time.Duration
	writeTimeout time.Duration
	metrics      *metrics
	present      *presence
	// cas bounds the concurrent conditional writes; joint groups them.
	cas   chan struct{}
	joint joint
}

func (b *backend) client() pluginv1.MetaClient { return b.link.Load().client }

func (b *backend) generation() int64 { return b.link.Load().generation }

// write is retry for calls that change something. Each attempt waits at the gate, and an attempt that ends too late to be certain counts as
// failed. If the caller's condition is on revisions of another generation (other than 0), it returns errRebased.
func (b *backend) write(ctx context.Context, operation, what string, generation int64, f func(context.Context, int) error) error {
	return b.retry(ctx, operation, what, func(ctx context.Context, try int) error {
		if err := b.gate.enter(ctx); err != nil {
			return err
		}
		err := errRebased
		if generation == 0 || generation == b.generation() {
			err = f(ctx, try)
		}
		if late := b.gate.leave(ctx); err == nil {
			err = late
		}
		return err
	})
}

// errRebased says that the backend was replaced after the revisions of a condition were read.
var errRebased = fmt.Errorf("the metadata was migrated meanwhile: %w", ErrConflict)

// retry calls f until it succeeds, fails permanently, or the write time-out ends.
func (b *backend) retry(ctx context.Context, operation, what string, f func(context.Context, int) error) error {
	ctx, cancel := context.WithTimeout(ctx, b.writeTimeout)
	defer cancel()
	for try := 0; ; try++ {
		callCtx, cancel := context.WithTimeout(ctx, b.callTimeout)
		err := f(callCtx, try)
		cancel()
		if err == nil {
			return nil
		}
		b.metrics.errors.WithLabelValues(operation).Inc()
		if !transient(err) || pause(ctx, try) != nil {
			if errors.Is(ctx.Err(), context.Canceled) {
				return fmt.Errorf("%s: %w", what, ctx.Err())
			}
			return backendError(what, err)
		}
	}
}

// get reads one entry; nil if there is none.
func (b *backend) get(ctx context.Context, ns, key string) (*pluginv1.Entry, error) {
	var out *pluginv1.Entry
	err := b.retry(ctx, "get", fmt.Sprintf("read %s %q", ns, key), func(ctx context.Context, _ int) error {
		resp, err := b.client().Get(ctx, &pluginv1.GetRequest{Namespace: ns, Key: key})
		if err != nil {
			return err
		}
		out = nil
		if resp.GetFound() {
			out = resp.GetEntry()
		}
		return nil
	})
	return out, err
}

// list streams a namespace to page. It does not retry. A page that takes longer than the call time-out ends it with an error.
func (b *backend) list(ctx context.Context, ns, prefix string, page func([]*pluginv1.Entry) error) (revision int64, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	fail := func(err error) (int64, error) {
		b.metrics.errors.WithLabelValues("list").Inc()
		if ctx.Err() != nil && !transient(err) {
			err = context.DeadlineExceeded
		}
		return 0, backendError("list "+ns, err)
	}
	watchdog := time.AfterFunc(b.callTimeout, cancel)
	defer watchdog.Stop()
	stream, err := b.client().List(ctx, &pluginv1.ListRequest{Namespace: ns, Prefix: prefix})
	if err != nil {
		return fail(err)
	}
	for {
		resp, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return revision, nil
		}
		if err != nil {
			return fail(err)
		}
		watchdog.Stop()
		if err := page(resp.GetEntries()); err != nil {
			return 0, err
		}
		revision = resp.GetRevision()
		watchdog.Reset(b.callTimeout)
	}
}

// outcome is the outcome of a conditional write.
type outcome struct {
	done     bool
	revision int64
	current  *pluginv1.Entry
	// generation is the generation of the revisions.
	generation int64
}

// putIf writes key if its revision is still expect (0: if the key is absent). An attempt whose answer was lost may have been applied. The
// next attempt then finds the same value, and that counts as done.
func (b *backend) putIf(ctx context.Context, ns, key string, value []byte, expect stored, ttl time.Duration) (outcome, error) {
	op := put(ns, key, value, ttl)
	op.GetPut().Expect = &pluginv1.Expect{Revision: expect.revision}
	return b.writeIf(ctx, []*pluginv1.Operation{op}, "put", fmt.Sprintf("write %s %q", ns, key), expect.generation,
		func(ctx context.Context, again bool) (outcome, error) {
			resp, err := b.client().Put(ctx, op.GetPut())
			out := outcome{resp.GetDone(), resp.GetRevision(), resp.GetCurrent(), b.generation()}
			if again && !out.done && out.current != nil && bytes.Equal(out.current.GetValue(), value) {
				out = outcome{true, out.current.GetRevision(), nil, out.generation}
			}
			return out, err
		})
}

// deleteIf removes key if its revision is still expect. As in putIf, finding the key absent after a lost answer counts as done.
func (b *backend) deleteIf(ctx context.Context, ns, key string, expect stored) (outcome, error) {
	op := remove(ns, key)
	op.GetDelete().Expect = &pluginv1.Expect{Revision: expect.revision}
	return b.writeIf(ctx, []*pluginv1.Operation{op}, "delete", fmt.Sprintf("remove %s %q", ns, key), expect.generation,
		func(ctx context.Context, again bool) (outcome, error) {
			resp, err := b.client().Delete(ctx, op.GetDelete())
			out := outcome{resp.GetDone(), resp.GetRevision(), resp.GetCurrent(), b.generation()}
			out.done = out.done || again && err == nil && out.current == nil
			return out, err
		})
}

// batchIf writes key and performs further operations if the revision of key is still expect. It treats lost answers like putIf.
func (b *backend) batchIf(ctx context.Context, ns, key string, value []byte, expect stored, with []*pluginv1.Operation) (outcome, error) {
	main := put(ns, key, value, 0)
	main.GetPut().Expect = &pluginv1.Expect{Revision: expect.revision}
	ops := append([]*pluginv1.Operation{main}, with...)
	return b.writeIf(ctx, ops, "batch", fmt.Sprintf("write %s %q and %d items", ns, key, len(with)), expect.generation,
		func(ctx context.Context, again bool) (outcome, error) {
			resp, err := b.client().Batch(ctx, &pluginv1.BatchRequest{Operations: ops})
			out := outcome{done: resp.GetDone(), revision: resp.GetRevision(), generation: b.generation()}
			if err != nil || out.done || !again {
				return out, err
			}
			have, err := b.client().Get(ctx, &pluginv1.GetRequest{Namespace: ns, Key: key})
			if err == nil && have.GetFound() && bytes.Equal(have.GetEntry().GetValue(), value) {
				out.done, out.revision = true, have.GetEntry().GetRevision()
			}
			return out, err
		})
}

// writeIf performs operations with a condition: one operation in a batch with those of other callers, or all of them by call. again tells
// call that an earlier attempt may have been applied.
func (b *backend) writeIf(ctx context.Context, ops []*pluginv1.Operation, operation, what string, generation int64,
	call func(ctx context.Context, again bool) (outcome, error)) (outcome, error) {
	if err := b.enter(ctx); err != nil {
		return outcome{}, err
	}
	defer b.leave()
	var out outcome
	tries := 0
	noted := b.present.begin(ops...)
	err := b.write(ctx, operation, what, generation, func(ctx context.Context, _ int) (err error) {
		if tries == 0 && len(ops) == 1 && b.groups() {
			group, alone := b.joint.write(ctx, ops[0])
			switch {
			case alone:
				defer b.joint.next()
			case group.done:
				tries++
				out = outcome{done: true, revision: group.revision, generation: b.generation()}
				return nil
			case group.uncertain:
				tries++
			}
		}
		tries++
		out, err = call(ctx, tries > 1)
		return err
	})
	noted(err == nil && tries == 1 && (out.done || operation == "put"))
	return out, err
}

// groups reports whether conditional writes may share a Batch.
func (b *backend) groups() bool {
	t := b.link.Load().traits()
	return t.GetCompareAndSet() && t.GetAtomicBatch()
}

func (b *backend) enter(ctx context.Context) error {
	select {
	case b.cas <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (b *backend) leave() { <-b.cas }
