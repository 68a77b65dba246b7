package sdk

import (
	"context"
	"log/slog"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// counting is a plugin whose exchanges count their steps and end with the third.
type counting struct {
	*recorder
	begun atomic.Int64
	gate  chan struct{} // if not nil, steps wait for it
}

var _ Exchanger = (*counting)(nil)

func (*counting) Methods() []string { return []string{"COUNT"} }

func (c *counting) Exchange(_ context.Context, start ExchangeStart) (ExchangeStep, error) {
	c.begun.Add(1)
	if start.Method != "COUNT" {
		return nil, status.Error(codes.InvalidArgument, "no such method")
	}
	n := 0
	return func(_ context.Context, data []byte) (*pluginv1.ExchangeResponse, error) {
		if c.gate != nil {
			<-c.gate
		}
		n++
		switch {
		case string(data) == "nothing":
			return &pluginv1.ExchangeResponse{}, nil
		case n < 3:
			return &pluginv1.ExchangeResponse{More: true, Data: []byte(strconv.Itoa(n))}, nil
		}
		return &pluginv1.ExchangeResponse{Result: &pluginv1.AuthenticateResponse{Identity: start.Connection.GetClientId()}}, nil
	}, nil
}

func first(id, method string) *pluginv1.ExchangeRequest {
	return &pluginv1.ExchangeRequest{ExchangeId: id, Method: method, Connection: &pluginv1.Connection{ClientId: id}}
}

func TestTheStepsOfEachExchangeComeToItsOwnFunction(t *testing.T) {
	c := &counting{recorder: newRecorder()}
	conn := dial(t, newAuthServer(c, slog.New(slog.DiscardHandler)))
	life, auth := pluginv1.NewPluginClient(conn), pluginv1.NewAuthClient(conn)
	ctx := t.Context()
	d, err := life.Describe(ctx, &pluginv1.DescribeRequest{})
	require.NoError(t, err)
	require.Equal(t, []string{"COUNT"}, d.GetAuth().GetMethods())
	_, err = life.Configure(ctx, &pluginv1.ConfigureRequest{})
	require.NoError(t, err)
	_, err = life.Activate(ctx, &pluginv1.ActivateRequest{})
	require.NoError(t, err)

	for _, id := range []string{"a", "b"} {
		resp, err := auth.Exchange(ctx, first(id, "COUNT"))
		require.NoError(t, err)
		require.True(t, resp.GetMore())
		require.Equal(t, "1", string(resp.GetData()))
	}
	for _, id := range []string{"b", "a"} {
		resp, err := auth.Exchange(ctx, &pluginv1.ExchangeRequest{ExchangeId: id, Method: "COUNT"})
		require.NoError(t, err)
		require.Equal(t, "2", string(resp.GetData()))
		resp, err = auth.Exchange(ctx, &pluginv1.ExchangeRequest{ExchangeId: id, Method: "COUNT"})
		require.NoError(t, err)
		require.False(t, resp.GetMore())
		require.Equal(t, id, resp.GetResult().GetIdentity())
		_, err = auth.Exchange(ctx, &pluginv1.ExchangeRequest{ExchangeId: id, Method: "COUNT"})
		require.Equal(t, codes.NotFound, status.Code(err), "it has ended")
	}

	_, err = auth.Exchange(ctx, first("c", "COUNT"))
	require.NoError(t, err)
	_, err = auth.Exchange(ctx, first("c", "COUNT"))
	require.Equal(t, codes.InvalidArgument, status.Code(err), "the id is taken")
	_, err = auth.Exchange(ctx, &pluginv1.ExchangeRequest{ExchangeId: "c", Method: "COUNT", Abandon: true})
	require.NoError(t, err)
	_, err = auth.Exchange(ctx, &pluginv1.ExchangeRequest{ExchangeId: "c", Method: "COUNT"})
	require.Equal(t, codes.NotFound, status.Code(err), "it was given up")

	_, err = auth.Exchange(ctx, first("", "COUNT"))
	require.Equal(t, codes.InvalidArgument, status.Code(err))
	_, err = auth.Exchange(ctx, first("d", "OTHER"))
	require.Equal(t, codes.InvalidArgument, status.Code(err))
	nothing := first("e", "COUNT")
	nothing.Data = []byte("nothing")
	_, err = auth.Exchange(ctx, nothing)
	require.Equal(t, codes.Internal, status.Code(err), "neither more nor a result")
}

func TestExchangesAreBoundedInNumberAndTimeAndTakeOneStepAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &counting{recorder: newRecorder()}
		var e exchanges
		for i := range maxExchanges {
			_, err := e.serve(t.Context(), c, first(strconv.Itoa(i), "COUNT"))
			require.NoError(t, err)
		}
		_, err := e.serve(t.Context(), c, first("one more", "COUNT"))
		require.Equal(t, codes.ResourceExhausted, status.Code(err))
		time.Sleep(exchangeLife + time.Second)
		_, err = e.serve(t.Context(), c, first("one more", "COUNT"))
		require.NoError(t, err, "the forgotten ones have made room")
		require.Len(t, e.byID, 1)

		c.gate = make(chan struct{})
		next := &pluginv1.ExchangeRequest{ExchangeId: "one more", Method: "COUNT"}
		done := make(chan error)
		go func() { _, err := e.serve(t.Context(), c, next); done <- err }()
		synctest.Wait()
		_, err = e.serve(t.Context(), c, next)
		require.Equal(t, codes.FailedPrecondition, status.Code(err))
		close(c.gate)
		require.NoError(t, <-done)
	})
}
