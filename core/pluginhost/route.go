package pluginhost

import (
	"context"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

const (
	// deathNotice is how long after a broken connection to wait for the process's end before the error is returned to the caller.
	deathNotice = time.Second
	// listLimit bounds a listing of one namespace, in bytes: enough for millions of sessions.
	listLimit = 4 << 30
)

// route is the connection of a plugin's stable clients. It routes each call to the live process.
type route struct {
	plugin   *Plugin
	deadline time.Duration
	slots    [pools]chan struct{}
	gate     *callGate
	// listLimit bounds a listing, in bytes.
	listLimit int64
}

var _ grpc.ClientConnInterface = (*route)(nil)

func newRoute(p *Plugin, deadline time.Duration) *route {
	r := &route{plugin: p, deadline: deadline, gate: newCallGate(), listLimit: listLimit}
	for i := range r.slots {
		r.slots[i] = make(chan struct{}, callsUnderWay[i])
	}
	return r
}

// Invoke implements grpc.ClientConnInterface for calls with one answer.
func (r *route) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	began := time.Now()
	err := r.invoke(ctx, method, args, reply, opts)
	r.count(method, err, time.Since(began))
	return err
}

// count records a call that has ended.
func (r *route) count(method string, err error, took time.Duration) {
	r.plugin.calls.Add(1)
	if err != nil {
		r.plugin.errors.Add(1)
	}
	r.plugin.host.metrics.call(r.plugin.Name(), shortName(method), err, took)
}

func (r *route) invoke(ctx context.Context, method string, args, reply any, opts []grpc.CallOption) error {
	if err := r.gate.enter(ctx, writes[method]); err != nil {
		return status.FromContextError(err).Err()
	}
	defer r.gate.leave(writes[method])
	pool := poolOf(method)
	breaker := r.plugin.breakerNow(pool)
	if !breaker.allow() {
		return status.Errorf(codes.Unavailable, "plugin %s does not answer; calls to it are suspended for a moment", r.plugin.Name())
	}
	deadline := r.deadline
	if r.plugin.present().Attach != "" {
		deadline = attachedDeadline
	}
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	select {
	case r.slots[pool] <- struct{}{}:
		defer func() { <-r.slots[pool] }()
	case <-ctx.Done():
		breaker.neutral()
		return status.Errorf(codes.Unavailable, "plugin %s has %d calls under way already", r.plugin.Name(), callsUnderWay[pool])
	}
	began := time.Now()
	err := r.once(ctx, method, args, reply, opts)
	switch {
	case err == nil:
		breaker.success()
	case status.Code(err) == codes.DeadlineExceeded && time.Since(began) >= deadline*9/10:
		// The deadline was this route's, not a shorter one of the caller: the plugin hangs, unless it answered other calls meanwhile and is
		// only busy.
		breaker.failure(began)
	case status.Code(err) == codes.DeadlineExceeded, status.Code(err) == codes.Canceled, status.Code(err) == codes.Unavailable:
		breaker.neutral()
	default:
		breaker.success()
	}
	return err
}

// once makes the call, and retries it if the process died during the call and the call is idempotent.
func (r *route) once(ctx context.Context, method string, args, reply any, opts []grpc.CallOption) error {
	inst, err := r.live(ctx, true)
	if err != nil {
		return err
	}
	// Every answer comes with metadata; a broken connection has none.
	var header, trailer metadata.MD
	told := append(slices.Clone(opts), grpc.Header(&header), grpc.Trailer(&trailer))
	err = settled(ctx, inst.conn.Invoke(ctx, method, args, reply, told...))
	inst.calls.Done()
	broken := status.Code(err) == codes.Unavailable && len(header)+len(trailer) == 0
	if !broken || !repeatable[method] || !r.died(ctx, inst) {
		return err
	}
	if inst, err = r.live(ctx, true); err != nil {
		return err
	}
	defer inst.calls.Done()
	return settled(ctx, inst.conn.Invoke(ctx, method, args, reply, opts...))
}

// NewStream implements grpc.ClientConnInterface. A stream has only the caller's deadline, and ends with the process.
func (r *route) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	if err := r.gate.enter(ctx, false); err != nil {
		return nil, status.FromContextError(err).Err()
	}
	defer r.gate.leave(false)
	inst, err := r.live(ctx, false)
	if err != nil {
		return nil, err
	}
	stream, err := inst.conn.NewStream(ctx, desc, method, opts...)
	if err != nil {
		err = settled(ctx, err)
		r.count(method, err, 0)
		return nil, err
	}
	out := &settledStream{ClientStream: stream, caller: ctx}
	if method == pluginv1.Meta_List_FullMethodName {
		out.limit = r.listLimit
	}
	return out, nil
}

// settledStream maps a stream's errors as settled maps a call's. The stream's own context ends with the stream, whoever ended it, so the
// caller's context tells whether the caller did. Listings, which may be held in memory as a whole, are bounded.
type settledStream struct {
	grpc.ClientStream
	caller context.Context
	// limit bounds the total size of the stream's messages, in bytes; 0: no limit.
	limit, size int64
}

func (s *settledStream) RecvMsg(m any) error {
	if err := s.ClientStream.RecvMsg(m); err != nil {
		return settled(s.caller, err)
	}
	if page, ok := m.(proto.Message); ok && s.limit > 0 {
		if s.size += int64(proto.Size(page)); s.size > s.limit {
			return status.Errorf(codes.Internal, "the plugin's listing is larger than %d MiB", s.limit>>20)
		}
	}
	return nil
}

func (s *settledStream) Header() (metadata.MD, error) {
	md, err := s.ClientStream.Header()
	return md, settled(s.caller, err)
}

// live returns the process to call. If there is none, it waits for one, for a short time after the last one went down. With count it also
// counts a call on the process; the caller must undo that.
func (r *route) live(ctx context.Context, count bool) (*instance, error) {
	var timer <-chan time.Time
	for {
		inst, changed, state, until := r.plugin.current(count)
		if inst != nil {
			return inst, nil
		}
		if state == StateStopped {
			return nil, status.Errorf(codes.Unavailable, "plugin %s is stopped", r.plugin.Name())
		}
		if timer == nil {
			timer = time.After(time.Until(until))
		}
		select {
		case <-changed:
		case <-timer:
			return nil, status.Errorf(codes.Unavailable, "plugin %s is down and being started again", r.plugin.Name())
		case <-ctx.Done():
			return nil, status.FromContextError(ctx.Err()).Err()
		}
	}
}

// current returns the live process; changed is closed when that changes; until is when calls stop waiting for one. With count it also
// counts a call on the process, before a swap can consider it idle.
func (p *Plugin) current(count bool) (inst *instance, changed <-chan struct{}, state State, until time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if count && p.live != nil {
		p.live.calls.Add(1)
	}
	return p.live, p.changed, p.state, p.downSince.Add(p.host.opts.timing.waitLive)
}

// breakerNow returns the breaker of a pool for the live process: calls that hang on a replaced process say nothing about its successor.
func (p *Plugin) breakerNow(of pool) *breaker {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.breakers[of]
}

// died reports whether a call broke because the process ended. It waits until that process is no longer live.
func (r *route) died(ctx context.Context, inst *instance) bool {
	timer := time.NewTimer(deathNotice)
	defer timer.Stop()
	for {
		now, changed, _, _ := r.plugin.current(false)
		if now != inst {
			return true
		}
		select {
		case <-changed:
		case <-timer.C:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// repeatable are the idempotent calls, which may be retried.
var repeatable = map[string]bool{
	pluginv1.Auth_Authenticate_FullMethodName:    true,
	pluginv1.Auth_AuthenticateAll_FullMethodName: true,
	pluginv1.Auth_Authorize_FullMethodName:       true,
	pluginv1.Meta_Get_FullMethodName:             true,
}

// writes are the calls that change the plugin's data.
var writes = map[string]bool{
	pluginv1.Meta_Put_FullMethodName:    true,
	pluginv1.Meta_Delete_FullMethodName: true,
	pluginv1.Meta_Batch_FullMethodName:  true,
}

// settled maps gRPC's own errors to the codes that callers of a plugin expect. RESOURCE_EXHAUSTED means a backend's limit, not an answer
// over the size limit. A connection that the host closed during a call, because the process is gone, is not a cancellation by the caller.
func settled(ctx context.Context, err error) error {
	s, ok := status.FromError(err)
	switch {
	case !ok || err == nil:
		return err
	case s.Code() == codes.ResourceExhausted && (strings.HasPrefix(s.Message(), "grpc: received message") ||
		strings.HasPrefix(s.Message(), "trying to send message larger than max")): // refused here or by the SDK in the plugin
		return status.Error(codes.Internal, "the plugin's answer is too large: "+s.Message())
	case s.Code() == codes.Canceled && ctx.Err() == nil:
		return status.Error(codes.Unavailable, "the plugin is gone: "+s.Message())
	}
	return err
}

// shortName returns the method without its service, for the metrics' label.
func shortName(method string) string { return method[strings.LastIndexByte(method, '/')+1:] }
