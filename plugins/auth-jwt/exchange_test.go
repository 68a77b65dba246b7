package main

import (
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
	"github.com/lmqgate/lmqgate/plugins/sdk"
)

func TestATokenMayComeByEnhancedAuthentication(t *testing.T) {
	p, _ := activate(t, "", secretOnly(block{"client_id_claim": "sub"}))
	begin := func(clientID string) sdk.ExchangeStep {
		step, err := p.Exchange(
			t.Context(),
			sdk.ExchangeStart{Method: methodJWT, Connection: &pluginv1.Connection{ClientId: clientID, MqttVersion: 5}},
		)
		require.NoError(t, err)
		return step
	}
	at := time.Now().Add(time.Hour).Truncate(time.Second)
	token := signed(t, jwt.MapClaims{"exp": at.Unix()})
	resp, err := begin("dev1")(t.Context(), []byte(token))
	require.NoError(t, err)
	require.False(t, resp.GetMore())
	require.Equal(t, ok, resp.GetResult().GetReason(), resp.GetResult().GetDetail())
	require.Equal(t, "dev1", resp.GetResult().GetIdentity())
	require.Equal(t, at.Add(5*time.Second).UnixMilli(), resp.GetResult().GetExpiresAtMs())
	resp, err = begin("dev2")(t.Context(), []byte(token))
	require.NoError(t, err)
	require.Equal(t, badID, resp.GetResult().GetReason())

	asks := begin("dev1")
	resp, err = asks(t.Context(), nil)
	require.NoError(t, err)
	require.True(t, resp.GetMore(), "a client that begins without a token is asked for it")
	resp, err = asks(t.Context(), nil)
	require.NoError(t, err)
	require.Equal(t, bad, resp.GetResult().GetReason(), "once")
	_, err = p.Exchange(t.Context(), sdk.ExchangeStart{Method: "SCRAM-SHA-256"})
	require.Equal(t, codes.InvalidArgument, status.Code(err))
}
