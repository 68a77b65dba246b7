package mqtttest

import (
	"context"
	"sync"

	"github.com/lmqgate/lmqgate/core/auth"
)

// Rules is an Authority that a test writes down. The zero value admits everybody and allows everything.
type Rules struct {
	// Admit refuses a client with an *auth.Denied; nil admits.
	Admit func(auth.Request) error
	// Exchange begins an enhanced authentication; nil: there is no method.
	Exchange func(req auth.Request, method string, reauthenticate bool) (auth.Exchange, error)
	// Allow judges an action of a client.
	Allow func(clientID string, a auth.Action) bool

	mu       sync.Mutex
	requests []auth.Request
}

var _ auth.Authority = (*Rules)(nil)

// Authenticate implements auth.Authority.
func (r *Rules) Authenticate(ctx context.Context, req auth.Request) (*auth.Principal, error) {
	r.mu.Lock()
	r.requests = append(r.requests, req)
	r.mu.Unlock()
	if r.Admit != nil {
		if err := r.Admit(req); err != nil {
			return nil, err
		}
	}
	return auth.Anonymous().Authenticate(ctx, req)
}

// Begin implements auth.Authority.
func (r *Rules) Begin(req auth.Request, method string, reauthenticate bool) (auth.Exchange, error) {
	if r.Exchange == nil {
		return auth.Anonymous().Begin(req, method, reauthenticate)
	}
	return r.Exchange(req, method, reauthenticate)
}

// Authorize implements auth.Authority.
func (r *Rules) Authorize(_ context.Context, p *auth.Principal, a auth.Action) (bool, error) {
	return r.Allow == nil || r.Allow(p.ClientID(), a), nil
}

// AuthorizeAll implements auth.Authority.
func (r *Rules) AuthorizeAll(ctx context.Context, p *auth.Principal, actions []auth.Action) ([]bool, error) {
	out := make([]bool, len(actions))
	for i, a := range actions {
		out[i], _ = r.Authorize(ctx, p, a)
	}
	return out, nil
}

// OnRevoke implements auth.Authority.
func (r *Rules) OnRevoke(func(auth.Revocation)) {}

// Requests are the questions that were asked, in order.
func (r *Rules) Requests() []auth.Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]auth.Request(nil), r.requests...)
}
