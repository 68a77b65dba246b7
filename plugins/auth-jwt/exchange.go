package main

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
	"github.com/lmqgate/lmqgate/plugins/sdk"
)

var _ sdk.Exchanger = (*plugin)(nil)

// methodJWT is the authentication method of MQTT 5 whose data is a token. A connected client uses it to present a new token before the old
// one expires.
const methodJWT = "JWT"

// Methods implements sdk.Exchanger.
func (p *plugin) Methods() []string { return []string{methodJWT} }

// Exchange implements sdk.Exchanger: one token decides. If CONNECT or AUTH carried none, the client is asked for it.
func (p *plugin) Exchange(_ context.Context, start sdk.ExchangeStart) (sdk.ExchangeStep, error) {
	if start.Method != methodJWT {
		return nil, status.Errorf(codes.InvalidArgument, "there is no method %q", start.Method)
	}
	asked := false
	return func(ctx context.Context, data []byte) (*pluginv1.ExchangeResponse, error) {
		if len(data) == 0 && !asked {
			asked = true
			return &pluginv1.ExchangeResponse{More: true}, nil
		}
		return &pluginv1.ExchangeResponse{Result: p.judge(ctx, start.Connection, string(data))}, nil
	}, nil
}
