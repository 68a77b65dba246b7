package auth

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lmqgate/lmqgate/internal/testlog"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// exchanging answers the steps of exchanges, and records its requests.
type exchanging struct {
	scripted
	answer func(*pluginv1.ExchangeRequest) (*pluginv1.ExchangeResponse, error)
	steps  []*pluginv1.ExchangeRequest
}

func (e *exchanging) Exchange(_ context.Context, req *pluginv1.ExchangeRequest, _ ...grpc.CallOption) (*pluginv1.ExchangeResponse, error) {
	e.steps = append(e.steps, req)
	return e.answer(req)
}

func newExchanging(answer func(*pluginv1.ExchangeRequest) (*pluginv1.ExchangeResponse, error)) (*exchanging, *Auth, *testlog.Buffer) {
	e := &exchanging{answer: answer}
	a, logs := newAuth(&e.scripted, func(o *Options) {
		o.Client = e
		o.Traits = func() *pluginv1.AuthTraits { return &pluginv1.AuthTraits{Methods: []string{"M"}} }
	})
	return e, a, logs
}

var request = Request{ClientID: "dev1", Username: "demo", HasUsername: true, Version: 5, Listener: "tcp", RemoteAddr: "127.0.0.1:4711"}

func TestAnExchangeIsOneToThePluginAndEndsWithAPrincipal(t *testing.T) {
	e, a, _ := newExchanging(func(req *pluginv1.ExchangeRequest) (*pluginv1.ExchangeResponse, error) {
		if string(req.GetData()) != "last" {
			return &pluginv1.ExchangeResponse{More: true, Data: []byte("go on")}, nil
		}
		return &pluginv1.ExchangeResponse{Data: []byte("done"), Result: &pluginv1.AuthenticateResponse{
			Identity: "alice", Attributes: map[string]string{"k": "v"}, ExpiresAtMs: time.Now().Add(time.Hour).UnixMilli()}}, nil
	})
	x, err := a.Begin(request, "M", true)
	require.NoError(t, err)
	for _, data := range []string{"first", "second"} {
		got, err := x.Step(t.Context(), []byte(data))
		require.NoError(t, err)
		require.Equal(t, Answer{Data: []byte("go on")}, got)
	}
	got, err := x.Step(t.Context(), []byte("last"))
	require.NoError(t, err)
	require.Equal(t, "done", string(got.Data))
	require.Equal(t, [4]string{"dev1", "demo", "alice", "scripted"},
		[4]string{got.Principal.ClientID(), got.Principal.Username(), got.Principal.Identity(), got.Principal.AdmittedBy()})
	require.False(t, got.Principal.ExpiresAt().IsZero())
	x.Abandon()
	require.Len(t, e.steps, 3, "an exchange with an outcome is not given up")
	for i, s := range e.steps {
		require.Equal(t, e.steps[0].GetExchangeId(), s.GetExchangeId())
		require.Equal(t, i == 0, s.GetConnection() != nil, "the connection is told once")
		require.True(t, s.GetReauthenticate())
		require.False(t, s.GetAbandon())
	}
	other, err := a.Begin(request, "M", false)
	require.NoError(t, err)
	_, _ = other.Step(t.Context(), nil)
	require.NotEqual(t, e.steps[0].GetExchangeId(), e.steps[3].GetExchangeId())
	other.Abandon()
	require.True(t, e.steps[4].GetAbandon())
	require.Equal(t, e.steps[3].GetExchangeId(), e.steps[4].GetExchangeId())
}

func TestAnExchangeThatCannotGoOnIsADenial(t *testing.T) {
	for name, c := range map[string]struct {
		answer *pluginv1.ExchangeResponse
		err    error
		want   Reason
	}{
		"denied":               {&pluginv1.ExchangeResponse{Result: &pluginv1.AuthenticateResponse{Reason: pluginv1.Reason_REASON_BANNED}}, nil, Banned},
		"the plugin is away":   {nil, status.Error(codes.Unavailable, "away"), Unavailable},
		"another process":      {nil, status.Error(codes.NotFound, "no such exchange"), Unavailable},
		"neither more nor end": {&pluginv1.ExchangeResponse{}, nil, Unavailable},
		"too much data":        {&pluginv1.ExchangeResponse{More: true, Data: make([]byte, 65536)}, nil, Unavailable},
		"expired already": {&pluginv1.ExchangeResponse{Result: &pluginv1.AuthenticateResponse{
			ExpiresAtMs: time.Now().Add(-time.Second).UnixMilli()}}, nil, NotAuthorized},
	} {
		_, a, logs := newExchanging(func(*pluginv1.ExchangeRequest) (*pluginv1.ExchangeResponse, error) { return c.answer, c.err })
		x, err := a.Begin(request, "M", false)
		require.NoError(t, err)
		_, err = x.Step(t.Context(), []byte("the client's proof"))
		var denied *Denied
		require.ErrorAs(t, err, &denied, name)
		require.Equal(t, c.want, denied.Reason, name)
		require.Contains(t, logs.String(), "client refused")
		require.NotContains(t, logs.String(), "proof")
	}
	_, a, _ := newExchanging(nil)
	for _, authority := range []Authority{a, Anonymous()} {
		_, err := authority.Begin(request, "SCRAM-SHA-1", false)
		denied, ok := errors.AsType[*Denied](err)
		require.True(t, ok)
		require.Equal(t, BadMethod, denied.Reason)
	}
}
