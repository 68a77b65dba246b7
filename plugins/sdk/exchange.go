package sdk

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// Exchanger is implemented by an AuthPlugin that serves MQTT 5 enhanced authentication (MQTT 5, section 4.12): the client names a method,
// and plugin and client exchange data until the plugin decides. The SDK keeps the exchanges apart and drops those that the gateway
// abandons.
type Exchanger interface {
	// Methods lists the authentication methods, for instance "SCRAM-SHA-256". It is called before Configure.
	Methods() []string
	// Exchange begins an exchange and returns the function that executes its steps. State shared by the steps lives in the closure. Nothing
	// is called when an exchange is abandoned, so the closure must hold nothing that needs closing.
	Exchange(ctx context.Context, start ExchangeStart) (ExchangeStep, error)
}

// ExchangeStart describes the client when an exchange begins.
type ExchangeStart struct {
	// Method is one of Methods.
	Method string
	// Connection describes the client's connection.
	Connection *pluginv1.Connection
	// Reauthenticate is true if the client is already connected and authenticates again.
	Reauthenticate bool
}

// ExchangeStep takes the data that the client sent (empty if none). It returns either more, with data for the client, or the outcome in
// result, with data for the client if it was admitted. Steps are called one at a time, and never after an outcome or an error. A denial is
// an outcome; an error means that no decision was possible.
type ExchangeStep func(ctx context.Context, data []byte) (*pluginv1.ExchangeResponse, error)

const (
	// maxExchanges bounds the exchanges in progress in one plugin.
	maxExchanges = 10_000
	// exchangeLife is how long an exchange is kept without a further step. The gateway gives up sooner.
	exchangeLife = 2 * time.Minute
)

// exchanges holds the exchanges in progress, by the id that the gateway chose.
type exchanges struct {
	mu    sync.Mutex
	byID  map[string]*exchange
	swept time.Time
}

type exchange struct {
	step ExchangeStep
	last time.Time
	busy bool
}

// serve executes one step of one exchange.
func (e *exchanges) serve(ctx context.Context, p Exchanger, req *pluginv1.ExchangeRequest) (*pluginv1.ExchangeResponse, error) {
	id := req.GetExchangeId()
	if req.GetAbandon() {
		e.drop(id)
		return &pluginv1.ExchangeResponse{}, nil
	}
	if req.GetConnection() != nil {
		if err := e.begin(ctx, p, req); err != nil {
			return nil, err
		}
	}
	x, err := e.take(id)
	if err != nil {
		return nil, err
	}
	resp, err := x.step(ctx, req.GetData())
	if err == nil && !resp.GetMore() && resp.GetResult() == nil {
		err = status.Error(codes.Internal, "the plugin answered neither more nor a result")
	}
	if err != nil || !resp.GetMore() {
		e.drop(id)
		return resp, err
	}
	e.mu.Lock()
	x.busy, x.last = false, time.Now()
	e.mu.Unlock()
	return resp, nil
}

// begin creates a new exchange.
func (e *exchanges) begin(ctx context.Context, p Exchanger, req *pluginv1.ExchangeRequest) error {
	e.mu.Lock()
	now := time.Now()
	if now.Sub(e.swept) > exchangeLife/4 || len(e.byID) >= maxExchanges {
		e.swept = now
		for id, x := range e.byID {
			if now.Sub(x.last) > exchangeLife {
				delete(e.byID, id)
			}
		}
	}
	full, known := len(e.byID) >= maxExchanges, e.byID[req.GetExchangeId()] != nil
	e.mu.Unlock()
	switch {
	case req.GetExchangeId() == "" || known:
		return status.Error(codes.InvalidArgument, "a new exchange wants an id of its own")
	case full:
		return status.Error(codes.ResourceExhausted, "too many exchanges are under way")
	}
	step, err := p.Exchange(
		ctx,
		ExchangeStart{Method: req.GetMethod(), Connection: req.GetConnection(), Reauthenticate: req.GetReauthenticate()},
	)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.byID == nil {
		e.byID = make(map[string]*exchange)
	}
	e.byID[req.GetExchangeId()] = &exchange{step: step, last: now}
	return nil
}

// take finds an exchange for its next step.
func (e *exchanges) take(id string) (*exchange, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	x := e.byID[id]
	switch {
	case x == nil:
		return nil, status.Error(codes.NotFound, "no such exchange: it ended, or began in another process of the plugin")
	case x.busy:
		return nil, status.Error(codes.FailedPrecondition, "a step of this exchange is under way already")
	}
	x.busy = true
	return x, nil
}

func (e *exchanges) drop(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.byID, id)
}
