package auth

import (
	"context"
	"crypto/rand"
	"fmt"
	"math"
	"slices"
	"time"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// Exchange is an enhanced authentication in progress. It is not safe for concurrent use.
type Exchange interface {
	// Step processes the data that the client sent. It returns data for the client, or the outcome: a principal or a *Denied error. No
	// steps may follow an outcome.
	Step(ctx context.Context, data []byte) (Answer, error)
	// Abandon ends an exchange without an outcome.
	Abandon()
}

// Answer is the result of a step of an exchange.
type Answer struct {
	// Data is for the client.
	Data []byte
	// Principal is the admitted client; nil while the exchange continues.
	Principal *Principal
}

// abandonTimeout bounds the call that tells a plugin that an exchange was abandoned.
const abandonTimeout = time.Second

// Begin implements Authority.
func (a *Auth) Begin(req Request, method string, reauthenticate bool) (Exchange, error) {
	if !slices.Contains(a.opts.Traits().GetMethods(), method) {
		a.metrics.refuse(BadMethod)
		a.opts.Log.Warn("client refused", "client", req.ClientID, "user", Shown(req.Username), "remote", req.RemoteAddr,
			"reason", BadMethod.String(), "method", method, "plugin", a.opts.PluginName())
		return nil, &Denied{Reason: BadMethod, Detail: fmt.Sprintf("the auth plugin has no method %.64q", method)}
	}
	return &exchange{a: a, req: req, plugin: a.opts.PluginName(), next: &pluginv1.ExchangeRequest{
		ExchangeId: rand.Text(), Method: method, Connection: connectionOf(req), Reauthenticate: reauthenticate}}, nil
}

// exchange is an Exchange with a plugin. Its state is in the plugin process that executed the first step.
type exchange struct {
	a      *Auth
	req    Request
	plugin string                    // the plugin that answered when the exchange began
	next   *pluginv1.ExchangeRequest // the request of the next step, without its data
	begun  bool                      // the plugin knows the exchange
}

var _ Exchange = (*exchange)(nil)

// Step implements Exchange.
func (x *exchange) Step(ctx context.Context, data []byte) (Answer, error) {
	in := x.next
	in.Data = data
	leave, err := x.a.logins.pass(ctx, x.req)
	if err != nil {
		return Answer{}, x.a.unavailable(x.req, x.plugin, err)
	}
	defer leave()
	x.begun = true
	moment := x.a.epochs.now()
	resp, err := x.a.opts.Client.Exchange(ctx, in)
	if n := len(resp.GetData()); err == nil && n > math.MaxUint16 {
		err = fmt.Errorf("it answered %d bytes of data; a packet takes %d", n, math.MaxUint16)
	}
	if err != nil {
		return Answer{}, x.a.unavailable(x.req, x.plugin, err)
	}
	if resp.GetMore() {
		x.next = &pluginv1.ExchangeRequest{ExchangeId: in.GetExchangeId(), Method: in.GetMethod(), Reauthenticate: in.GetReauthenticate()}
		return Answer{Data: resp.GetData()}, nil
	}
	x.begun = false
	if resp.GetResult() == nil {
		return Answer{}, x.a.unavailable(x.req, x.plugin, fmt.Errorf("it answered neither more nor a result"))
	}
	p, err := x.a.conclude(x.req, resp.GetResult(), x.plugin, moment)
	return Answer{Data: resp.GetData(), Principal: p}, err
}

// Abandon implements Exchange. A plugin that cannot be reached drops the exchange by itself.
func (x *exchange) Abandon() {
	if !x.begun {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), abandonTimeout)
	defer cancel()
	_, _ = x.a.opts.Client.Exchange(ctx, &pluginv1.ExchangeRequest{ExchangeId: x.next.GetExchangeId(), Method: x.next.GetMethod(),
		Abandon: true})
}
