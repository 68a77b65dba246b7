package metatest

import (
	"context"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// client calls the backend like a gRPC client: each side has its own copies of messages, a call ends with its context although the backend
// continues, and errors are statuses. It leaves out the connection, which costs most of the time under the race detector.
type client struct{ b *Backend }

// Client returns a client of the backend. Its calls end when the backend closes.
func (b *Backend) Client() pluginv1.MetaClient { return client{b} }

// enter begins a call. Closing the backend waits for its end.
func (b *Backend) enter(ctx context.Context) (context.Context, context.CancelFunc, error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, status.FromContextError(err).Err()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, nil, status.Error(codes.Unavailable, "the backend is closed")
	}
	b.serving.Add(1)
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(b.open, cancel)
	return ctx, func() { stop(); cancel(); b.serving.Done() }, nil
}

// ended returns the error of a call whose context has ended.
func (b *Backend) ended(ctx context.Context) error {
	if b.open.Err() != nil {
		return status.Error(codes.Unavailable, "the backend is closed")
	}
	return status.FromContextError(ctx.Err()).Err()
}

// unary makes a call with one answer.
func unary[Q, A proto.Message](ctx context.Context, b *Backend, call func(context.Context, Q) (A, error), request Q) (A, error) {
	var none A
	served, leave, err := b.enter(ctx)
	if err != nil {
		return none, err
	}
	type result struct {
		answer A
		err    error
	}
	request, done := clone(request), make(chan result, 1)
	go func() {
		defer leave()
		answer, err := call(served, request)
		done <- result{answer, err}
	}()
	select {
	case r := <-done:
		// As with a real connection, a caller that has given up does not learn the outcome.
		if ctx.Err() == nil {
			return answered(r.answer, r.err)
		}
	case <-ctx.Done():
	case <-b.open.Done():
	}
	return none, b.ended(ctx)
}

// answered returns what the caller gets.
func answered[A proto.Message](answer A, err error) (A, error) {
	if err != nil {
		var none A
		return none, err
	}
	return clone(answer), nil
}

func clone[M proto.Message](m M) M { return proto.Clone(m).(M) }

// Get implements pluginv1.MetaClient, like the methods below.
func (c client) Get(ctx context.Context, r *pluginv1.GetRequest, _ ...grpc.CallOption) (*pluginv1.GetResponse, error) {
	return unary(ctx, c.b, c.b.Get, r)
}

// Put implements pluginv1.MetaClient.
func (c client) Put(ctx context.Context, r *pluginv1.PutRequest, _ ...grpc.CallOption) (*pluginv1.PutResponse, error) {
	return unary(ctx, c.b, c.b.Put, r)
}

// Delete implements pluginv1.MetaClient.
func (c client) Delete(ctx context.Context, r *pluginv1.DeleteRequest, _ ...grpc.CallOption) (*pluginv1.DeleteResponse, error) {
	return unary(ctx, c.b, c.b.Delete, r)
}

// Batch implements pluginv1.MetaClient.
func (c client) Batch(ctx context.Context, r *pluginv1.BatchRequest, _ ...grpc.CallOption) (*pluginv1.BatchResponse, error) {
	return unary(ctx, c.b, c.b.Batch, r)
}

// List implements pluginv1.MetaClient.
func (c client) List(
	ctx context.Context,
	r *pluginv1.ListRequest,
	_ ...grpc.CallOption,
) (grpc.ServerStreamingClient[pluginv1.ListResponse], error) {
	return streaming(ctx, c.b, c.b.List, r)
}

// Watch implements pluginv1.MetaClient.
func (c client) Watch(
	ctx context.Context,
	r *pluginv1.WatchRequest,
	_ ...grpc.CallOption,
) (grpc.ServerStreamingClient[pluginv1.WatchResponse], error) {
	return streaming(ctx, c.b, c.b.Watch, r)
}

// message is a pointer to A that is a protobuf message.
type message[A any] interface {
	*A
	proto.Message
}

// stream is both ends of a call with many answers.
type stream[A any, P message[A]] struct {
	grpc.ClientStream
	b *Backend
	// asked is the client's context. served is the context of the call, which also ends with the call.
	asked, served context.Context
	answers       chan P
	// err is the error of the call; valid once answers is closed.
	err error
}

// streaming makes a call with many answers.
func streaming[A any, P message[A], Q proto.Message](
	ctx context.Context,
	b *Backend,
	call func(Q, grpc.ServerStreamingServer[A]) error,
	request Q,
) (grpc.ServerStreamingClient[A], error) {
	served, leave, err := b.enter(ctx)
	if err != nil {
		return nil, err
	}
	s := &stream[A, P]{b: b, asked: ctx, served: served, answers: make(chan P, 16)}
	request = clone(request)
	go func() {
		defer leave()
		s.err = call(request, serverEnd[A, P]{s: s})
		close(s.answers)
	}()
	return s, nil
}

// Recv implements the client's end.
func (s *stream[A, P]) Recv() (*A, error) {
	select {
	case a, ok := <-s.answers:
		return s.received(a, ok)
	case <-s.served.Done():
		select {
		case a, ok := <-s.answers:
			return s.received(a, ok)
		default:
			return nil, s.b.ended(s.asked)
		}
	}
}

// Context implements the client's end.
func (s *stream[A, P]) Context() context.Context { return s.asked }

func (s *stream[A, P]) received(a P, ok bool) (*A, error) {
	switch {
	case ok:
		return a, nil
	case s.err != nil:
		return nil, s.err
	case s.b.open.Err() != nil || s.asked.Err() != nil:
		return nil, s.b.ended(s.asked)
	default:
		return nil, io.EOF
	}
}

// serverEnd is the end to which the backend writes.
type serverEnd[A any, P message[A]] struct {
	grpc.ServerStream
	s *stream[A, P]
}

// Send implements the server's end.
func (e serverEnd[A, P]) Send(a *A) error {
	select {
	case e.s.answers <- clone(P(a)):
		return nil
	case <-e.s.served.Done():
		return status.FromContextError(e.s.served.Err()).Err()
	}
}

// Context implements the server's end.
func (e serverEnd[A, P]) Context() context.Context { return e.s.served }

var _ pluginv1.MetaClient = client{}
