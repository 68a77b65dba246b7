package auth

import (
	"context"
	"fmt"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

const (
	// loginCalls is how many calls about logins are under way before further logins wait and share a call.
	loginCalls = 2
	// loginsShared bounds the logins of a call. A CONNECT has less than 192 KiB, so they fit into a message.
	loginsShared = 32
)

// together asks the plugin about logins. Those that come while loginCalls calls are under way share the next one, if the plugin takes
// several at a time. While there are few, each has a call of its own, so sharing costs a lone login nothing.
type together struct {
	client Client
	traits func() *pluginv1.AuthTraits

	mu      sync.Mutex
	waiting []*sharer
	calls   int
}

// sharer is a login that waits for a shared call.
type sharer struct {
	ctx    context.Context
	req    *pluginv1.AuthenticateRequest
	answer chan sharedAnswer // buffered
}

type sharedAnswer struct {
	resp *pluginv1.AuthenticateResponse
	err  error
}

// authenticate asks about one login.
func (t *together) authenticate(ctx context.Context, req *pluginv1.AuthenticateRequest) (*pluginv1.AuthenticateResponse, error) {
	// A certificate may be large.
	if !t.traits().GetAuthenticateAll() || req.GetConnection().GetPeerCertificate() != nil {
		return t.client.Authenticate(ctx, req)
	}
	t.mu.Lock()
	if t.calls < loginCalls {
		t.calls++
		t.mu.Unlock()
		defer t.next()
		return t.client.Authenticate(ctx, req)
	}
	s := &sharer{ctx: ctx, req: req, answer: make(chan sharedAnswer, 1)}
	t.waiting = append(t.waiting, s)
	t.mu.Unlock()
	select {
	case a := <-s.answer:
		if status.Code(a.err) == codes.Unimplemented { // another plugin has taken over
			return t.client.Authenticate(ctx, req)
		}
		return a.resp, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// next ends a call, and makes those for the logins that wait.
func (t *together) next() {
	group := t.take()
	if len(group) == 0 {
		return
	}
	go func() { // ends with the calls, which have deadlines
		for ; len(group) > 0; group = t.take() {
			t.send(group)
		}
	}()
}

// take returns the logins of the next call. If none wait, the call's turn ends.
func (t *together) take() []*sharer {
	t.mu.Lock()
	defer t.mu.Unlock()
	var group []*sharer
	for len(t.waiting) > 0 && len(group) < loginsShared {
		s := t.waiting[0]
		t.waiting[0], t.waiting = nil, t.waiting[1:]
		if s.ctx.Err() == nil {
			group = append(group, s)
		}
	}
	if len(group) == 0 {
		t.calls--
		t.waiting = nil
	}
	return group
}

// send asks about a group.
func (t *together) send(group []*sharer) {
	req := &pluginv1.AuthenticateAllRequest{Requests: make([]*pluginv1.AuthenticateRequest, len(group))}
	for i, s := range group {
		req.Requests[i] = s.req
	}
	resp, err := t.client.AuthenticateAll(context.Background(), req)
	if n := len(resp.GetResponses()); err == nil && n != len(group) {
		err = fmt.Errorf("it answered %d responses to %d requests", n, len(group))
	}
	for i, s := range group {
		if err != nil {
			s.answer <- sharedAnswer{err: err}
		} else {
			s.answer <- sharedAnswer{resp: resp.GetResponses()[i]}
		}
	}
}
