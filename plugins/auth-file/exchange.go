package main

import (
	"context"

	"github.com/xdg-go/scram"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
	"github.com/lmqgate/lmqgate/plugins/sdk"
)

var _ sdk.Exchanger = (*plugin)(nil)

// Methods implements sdk.Exchanger.
func (p *plugin) Methods() []string { return []string{methodSCRAM} }

// Exchange implements sdk.Exchanger: one SCRAM conversation. The client speaks first; if CONNECT carried no message, the server asks for
// one.
func (p *plugin) Exchange(_ context.Context, start sdk.ExchangeStart) (sdk.ExchangeStep, error) {
	if start.Method != methodSCRAM {
		return nil, status.Errorf(codes.InvalidArgument, "there is no method %q", start.Method)
	}
	var u *user // the user that the client claims to be; nil if no user with a SCRAM key has that name
	server, err := scram.SHA256.NewServer(func(name string) (scram.StoredCredentials, error) {
		now := p.store.now.Load()
		if known := now.byName[name]; known != nil && known.scram != nil {
			u = known
			return *known.scram, nil
		}
		return decoySCRAM(name, now.scram), nil
	})
	if err != nil {
		return nil, err
	}
	c := server.NewConversation()
	return func(_ context.Context, data []byte) (*pluginv1.ExchangeResponse, error) {
		if len(data) == 0 && c.Username() == "" {
			return &pluginv1.ExchangeResponse{More: true}, nil
		}
		answer, err := c.Step(string(data))
		switch {
		case err != nil:
			return refused(pluginv1.Reason_REASON_BAD_CREDENTIALS, whyNot(answer, u)), nil
		case !c.Done():
			return &pluginv1.ExchangeResponse{More: true, Data: []byte(answer)}, nil
		}
		return p.judge(c, u, start.Connection, answer), nil
	}, nil
}

// judge decides about a client that has proven that it knows the password.
func (p *plugin) judge(c *scram.ServerConversation, u *user, conn *pluginv1.Connection, answer string) *pluginv1.ExchangeResponse {
	switch {
	case !c.Valid() || u == nil:
		return refused(pluginv1.Reason_REASON_BAD_CREDENTIALS, "wrong password")
	case c.AuthzID() != "" && c.AuthzID() != u.Username:
		return refused(pluginv1.Reason_REASON_NOT_AUTHORIZED, "the user wants to act for another")
	case conn.GetHasUsername() && conn.GetUsername() != u.Username:
		return refused(pluginv1.Reason_REASON_BAD_CREDENTIALS, "the user name of CONNECT is another than that of "+methodSCRAM)
	}
	result := p.admit(u, conn)
	if result.GetReason() != pluginv1.Reason_REASON_OK {
		return &pluginv1.ExchangeResponse{Result: result}
	}
	return &pluginv1.ExchangeResponse{Data: []byte(answer), Result: result}
}

// whyNot explains, for the log, why a client's message was rejected.
func whyNot(answer string, u *user) string {
	switch {
	case answer == scram.ErrInvalidProof && u == nil:
		return "unknown user, or one without a stored key for " + methodSCRAM
	case answer == scram.ErrInvalidProof:
		return "wrong password"
	case answer == scram.ErrChannelBindingNotSupported:
		return "the client insists on channel binding, which there is none of"
	}
	return "no message of " + methodSCRAM
}

func refused(reason pluginv1.Reason, detail string) *pluginv1.ExchangeResponse {
	return &pluginv1.ExchangeResponse{Result: &pluginv1.AuthenticateResponse{Reason: reason, Detail: detail}}
}
