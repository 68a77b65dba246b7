package coordinator

import (
	"context"
	"encoding/json"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lmqgate/lmqgate/core/meta/migration"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// link controls the calls of a client. It can stop them before or after they reach the backend, temporarily or for good.
type link struct {
	mu sync.Mutex
	// left is how many more calls and answers pass, if limited is set.
	limited bool
	left    int
	// frozen holds answers back until it is closed.
	frozen chan struct{}
}

// errCut is an error after which no call is retried.
var errCut = status.Error(codes.Canceled, "cut off")

func (l *link) pass(ctx context.Context) error {
	l.mu.Lock()
	if l.limited {
		if l.left--; l.left < 0 {
			l.mu.Unlock()
			return errCut
		}
	}
	frozen := l.frozen
	l.mu.Unlock()
	if frozen != nil {
		select {
		case <-frozen:
		case <-ctx.Done():
			<-frozen // a paused process does not notice that its time is over
		}
	}
	return nil
}

// limit lets n more calls and answers pass.
func (l *link) limit(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.limited, l.left = true, n
}

func (l *link) freeze() (thaw func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ch := make(chan struct{})
	l.frozen = ch
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.frozen = nil
		close(ch)
	}
}

// planned is a client that calls do before it writes a plan of the given phase.
type planned struct {
	pluginv1.MetaClient
	phase migration.Phase
	do    func()
}

func (c *planned) Put(ctx context.Context, r *pluginv1.PutRequest, o ...grpc.CallOption) (*pluginv1.PutResponse, error) {
	var p migration.Plan
	if json.Unmarshal(r.GetValue(), &p) == nil && p.Phase == c.phase {
		c.do()
	}
	return c.MetaClient.Put(ctx, r, o...)
}

// client is a client whose calls pass through a link.
type client struct {
	pluginv1.MetaClient
	link *link
}

func (l *link) on(c pluginv1.MetaClient) pluginv1.MetaClient { return &client{c, l} }

func (c *client) Get(ctx context.Context, r *pluginv1.GetRequest, o ...grpc.CallOption) (*pluginv1.GetResponse, error) {
	if err := c.link.pass(ctx); err != nil {
		return nil, err
	}
	resp, err := c.MetaClient.Get(ctx, r, o...)
	if late := c.link.pass(ctx); late != nil {
		return nil, late
	}
	return resp, err
}

func (c *client) Put(ctx context.Context, r *pluginv1.PutRequest, o ...grpc.CallOption) (*pluginv1.PutResponse, error) {
	if err := c.link.pass(ctx); err != nil {
		return nil, err
	}
	resp, err := c.MetaClient.Put(ctx, r, o...)
	if late := c.link.pass(ctx); late != nil {
		return nil, late
	}
	return resp, err
}

func (c *client) Delete(ctx context.Context, r *pluginv1.DeleteRequest, o ...grpc.CallOption) (*pluginv1.DeleteResponse, error) {
	if err := c.link.pass(ctx); err != nil {
		return nil, err
	}
	resp, err := c.MetaClient.Delete(ctx, r, o...)
	if late := c.link.pass(ctx); late != nil {
		return nil, late
	}
	return resp, err
}

func (c *client) Batch(ctx context.Context, r *pluginv1.BatchRequest, o ...grpc.CallOption) (*pluginv1.BatchResponse, error) {
	if err := c.link.pass(ctx); err != nil {
		return nil, err
	}
	resp, err := c.MetaClient.Batch(ctx, r, o...)
	if late := c.link.pass(ctx); late != nil {
		return nil, late
	}
	return resp, err
}

func (c *client) List(
	ctx context.Context,
	r *pluginv1.ListRequest,
	o ...grpc.CallOption,
) (grpc.ServerStreamingClient[pluginv1.ListResponse], error) {
	if err := c.link.pass(ctx); err != nil {
		return nil, err
	}
	return c.MetaClient.List(ctx, r, o...)
}
