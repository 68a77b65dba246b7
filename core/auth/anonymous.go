package auth

import (
	"context"
	"time"
)

// Anonymous returns the Authority for `auth.plugin: none`: it admits everybody and allows everything.
func Anonymous() Authority { return anonymous{} }

type anonymous struct{}

var _ Authority = anonymous{}

func (anonymous) Authenticate(_ context.Context, req Request) (*Principal, error) {
	return newPrincipal(req, nil, ""), nil
}

func (anonymous) Begin(Request, string, bool) (Exchange, error) {
	return nil, &Denied{Reason: BadMethod, Detail: "everybody is admitted without"}
}

func (anonymous) Authorize(context.Context, *Principal, Action) (bool, error) { return true, nil }

func (anonymous) AuthorizeAll(_ context.Context, _ *Principal, actions []Action) ([]bool, time.Time, error) {
	allowed := make([]bool, len(actions))
	for i := range allowed {
		allowed[i] = true
	}
	return allowed, time.Time{}, nil
}

func (anonymous) OnRevoke(func(Revocation)) {}

func (anonymous) OnDoubt(func(Revocation)) {}
