package mqtttest

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/lmqgate/lmqgate/core/auth"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// Rules is an Authority configured by a test. The zero value admits everybody and allows everything.
type Rules struct {
	// Admit refuses a client with an *auth.Denied; nil admits everybody.
	Admit func(auth.Request) error
	// Exchange begins an enhanced authentication; nil: no method is supported.
	Exchange func(req auth.Request, method string, reauthenticate bool) (auth.Exchange, error)
	// Allow decides about an action of a client; nil: everything is allowed.
	Allow func(clientID string, a auth.Action) bool
	// Unavailable reports that no decision about actions is possible now; nil: decisions are always possible.
	Unavailable func() bool
	// Name is the plugin that admits clients; empty: clients are anonymous.
	Name string
	// GoodFor is how long answers about several actions stay valid; nil, or 0: for ever.
	GoodFor func() time.Duration

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
	if r.Name == "" {
		return auth.Anonymous().Authenticate(ctx, req)
	}
	return auth.New(auth.Options{Client: admitAll{}, PluginName: func() string { return r.Name }}).Authenticate(ctx, req)
}

// admitAll is a plugin that admits everybody.
type admitAll struct{ auth.Client }

func (admitAll) Authenticate(context.Context, *pluginv1.AuthenticateRequest, ...grpc.CallOption) (*pluginv1.AuthenticateResponse, error) {
	return &pluginv1.AuthenticateResponse{}, nil
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
	if r.Unavailable != nil && r.Unavailable() {
		return false, auth.ErrUnavailable
	}
	return r.Allow == nil || r.Allow(p.ClientID(), a), nil
}

// AuthorizeAll implements auth.Authority.
func (r *Rules) AuthorizeAll(ctx context.Context, p *auth.Principal, actions []auth.Action) ([]bool, time.Time, error) {
	out := make([]bool, len(actions))
	var err error
	for i, a := range actions {
		if out[i], err = r.Authorize(ctx, p, a); err != nil {
			return make([]bool, len(actions)), time.Time{}, err
		}
	}
	if r.GoodFor == nil || r.GoodFor() == 0 {
		return out, time.Time{}, nil
	}
	return out, time.Now().Add(r.GoodFor()), nil
}

// OnRevoke implements auth.Authority.
func (r *Rules) OnRevoke(func(auth.Revocation)) {}

// OnDoubt implements auth.Authority.
func (r *Rules) OnDoubt(func(auth.Revocation)) {}

// Requests returns the authentication requests received, in order.
func (r *Rules) Requests() []auth.Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]auth.Request(nil), r.requests...)
}
