package mqtttest

import (
	"context"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/store"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// plug is a node's connection to the metadata. A crash pulls it: a dead process writes nothing.
type plug struct {
	next pluginv1.MetaClient
	out  atomic.Bool
	// writes can block writes of retained messages, news the notifications about them.
	writes, news hold
}

var _ pluginv1.MetaClient = (*plug)(nil)

// hold is a place where calls can be blocked.
type hold struct {
	mu sync.Mutex
	up chan struct{} // closed when calls may go on; nil: calls are not blocked
}

func (h *hold) hold() (release func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	up := make(chan struct{})
	h.up = up
	return sync.OnceFunc(func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		close(up)
		h.up = nil
	})
}

func (h *hold) await(ctx context.Context) {
	h.mu.Lock()
	up := h.up
	h.mu.Unlock()
	if up == nil {
		return
	}
	select {
	case <-up:
	case <-ctx.Done():
	}
}

// watched is a stream of changes that can be blocked.
type watched struct {
	grpc.ServerStreamingClient[pluginv1.WatchResponse]
	hold *hold
}

// Recv returns the next changes once they are not blocked.
func (w watched) Recv() (*pluginv1.WatchResponse, error) {
	r, err := w.ServerStreamingClient.Recv()
	if err == nil {
		w.hold.await(w.Context())
	}
	return r, err
}

// pulled returns an error that nobody retries, if the plug is pulled.
func (p *plug) pulled() error {
	if p.out.Load() {
		return status.Error(codes.PermissionDenied, "the node has crashed")
	}
	return nil
}

func (p *plug) Get(ctx context.Context, in *pluginv1.GetRequest, o ...grpc.CallOption) (*pluginv1.GetResponse, error) {
	if err := p.pulled(); err != nil {
		return nil, err
	}
	return p.next.Get(ctx, in, o...)
}

func (p *plug) List(ctx context.Context, in *pluginv1.ListRequest,
	o ...grpc.CallOption) (grpc.ServerStreamingClient[pluginv1.ListResponse], error) {
	if err := p.pulled(); err != nil {
		return nil, err
	}
	return p.next.List(ctx, in, o...)
}

func (p *plug) Put(ctx context.Context, in *pluginv1.PutRequest, o ...grpc.CallOption) (*pluginv1.PutResponse, error) {
	if err := p.pulled(); err != nil {
		return nil, err
	}
	if in.GetNamespace() == meta.NamespaceRetained {
		p.writes.await(ctx)
	}
	return p.next.Put(ctx, in, o...)
}

func (p *plug) Delete(ctx context.Context, in *pluginv1.DeleteRequest, o ...grpc.CallOption) (*pluginv1.DeleteResponse, error) {
	if err := p.pulled(); err != nil {
		return nil, err
	}
	return p.next.Delete(ctx, in, o...)
}

func (p *plug) Batch(ctx context.Context, in *pluginv1.BatchRequest, o ...grpc.CallOption) (*pluginv1.BatchResponse, error) {
	if err := p.pulled(); err != nil {
		return nil, err
	}
	return p.next.Batch(ctx, in, o...)
}

func (p *plug) Watch(ctx context.Context, in *pluginv1.WatchRequest,
	o ...grpc.CallOption) (grpc.ServerStreamingClient[pluginv1.WatchResponse], error) {
	if err := p.pulled(); err != nil {
		return nil, err
	}
	w, err := p.next.Watch(ctx, in, o...)
	if err == nil && in.GetNamespace() == meta.NamespaceRetained {
		w = watched{w, &p.news}
	}
	return w, err
}

// retainer keeps retained messages in the metadata, as package gateway does.
type retainer struct{ m *meta.Meta }

func (r retainer) Room(m *store.Message) error { return r.m.RoomForRetained(m) }

func (r retainer) Retain(ctx context.Context, m *store.Message, at store.Position) error {
	return r.m.SetRetained(ctx, &meta.Retained{Message: m, Position: at})
}
