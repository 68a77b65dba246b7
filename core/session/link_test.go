package session

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// metaLink is a node's way to the metadata. While it hangs, calls wait; while it refuses, they fail. Either way a write may have been applied
// without its answer. After kill nothing passes any more.
type metaLink struct {
	pluginv1.MetaClient
	rand func() uint64
	gate gate

	mu      sync.Mutex
	streams context.Context //nolint:containedctx // ends the streams that were open when the link began to refuse
	end     context.CancelFunc
}

var _ pluginv1.MetaClient = (*metaLink)(nil)

func newMetaLink(c pluginv1.MetaClient, r *rand.Rand) *metaLink {
	l := &metaLink{MetaClient: c, rand: r.Uint64, gate: newGate()}
	l.streams, l.end = context.WithCancel(context.Background())
	return l
}

func (l *metaLink) set(to linkState) {
	if !l.gate.set(to) || to < linkRefuses {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.end()
	l.streams, l.end = context.WithCancel(context.Background())
}

var errLink = status.Error(codes.Unavailable, "the way to the metadata is cut")

// pass waits while the link hangs.
func (l *metaLink) pass(ctx context.Context) error {
	err := l.gate.pass(ctx)
	switch {
	case errors.Is(err, errShut):
		return errLink
	case err != nil:
		return status.FromContextError(err).Err()
	}
	return nil
}

// strays reports whether a write passes the link all the same, and only its answer does not.
func (l *metaLink) strays() bool {
	state := l.gate.at()
	if state == linkWhole || state == linkDead {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rand()%4 == 0
}

// call makes a call through the link.
func call[Q, A any](ctx context.Context, l *metaLink, write bool, f func(context.Context, Q, ...grpc.CallOption) (A, error), q Q) (A, error) {
	var none A
	if write && l.strays() {
		_, _ = f(ctx, q)
		if err := l.pass(ctx); err != nil {
			return none, err
		}
		return none, errLink
	}
	if err := l.pass(ctx); err != nil {
		return none, err
	}
	a, err := f(ctx, q)
	if late := l.pass(ctx); late != nil {
		return none, late
	}
	return a, err
}

func (l *metaLink) Get(ctx context.Context, r *pluginv1.GetRequest, _ ...grpc.CallOption) (*pluginv1.GetResponse, error) {
	return call(ctx, l, false, l.MetaClient.Get, r)
}

func (l *metaLink) Put(ctx context.Context, r *pluginv1.PutRequest, _ ...grpc.CallOption) (*pluginv1.PutResponse, error) {
	return call(ctx, l, true, l.MetaClient.Put, r)
}

func (l *metaLink) Delete(ctx context.Context, r *pluginv1.DeleteRequest, _ ...grpc.CallOption) (*pluginv1.DeleteResponse, error) {
	return call(ctx, l, true, l.MetaClient.Delete, r)
}

func (l *metaLink) Batch(ctx context.Context, r *pluginv1.BatchRequest, _ ...grpc.CallOption) (*pluginv1.BatchResponse, error) {
	return call(ctx, l, true, l.MetaClient.Batch, r)
}

func (l *metaLink) List(
	ctx context.Context,
	r *pluginv1.ListRequest,
	_ ...grpc.CallOption,
) (grpc.ServerStreamingClient[pluginv1.ListResponse], error) {
	return linked(ctx, l, l.MetaClient.List, r)
}

func (l *metaLink) Watch(
	ctx context.Context,
	r *pluginv1.WatchRequest,
	_ ...grpc.CallOption,
) (grpc.ServerStreamingClient[pluginv1.WatchResponse], error) {
	return linked(ctx, l, l.MetaClient.Watch, r)
}

// linkedStream is a stream that waits while the link hangs, and ends when it refuses.
type linkedStream[A any] struct {
	grpc.ServerStreamingClient[A]
	l     *metaLink
	ctx   context.Context //nolint:containedctx // of the call
	ended func()
}

type opens[Q, A any] func(context.Context, Q, ...grpc.CallOption) (grpc.ServerStreamingClient[A], error)

func linked[Q, A any](ctx context.Context, l *metaLink, open opens[Q, A], q Q) (grpc.ServerStreamingClient[A], error) {
	if err := l.pass(ctx); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	l.mu.Lock()
	stop := context.AfterFunc(l.streams, cancel)
	l.mu.Unlock()
	s, err := open(ctx, q)
	if err != nil {
		cancel()
		stop()
		return nil, err
	}
	return &linkedStream[A]{s, l, ctx, func() { cancel(); stop() }}, nil
}

func (s *linkedStream[A]) Recv() (*A, error) {
	a, err := s.ServerStreamingClient.Recv()
	if late := s.l.pass(s.ctx); late != nil {
		a, err = nil, late
	}
	if err != nil {
		s.ended()
	}
	return a, err
}
