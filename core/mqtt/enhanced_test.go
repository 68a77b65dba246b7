package mqtt_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/lmqgate/lmqgate/core/auth"
	"github.com/lmqgate/lmqgate/core/limits"
	"github.com/lmqgate/lmqgate/core/mqtt"
	"github.com/lmqgate/lmqgate/core/mqtt/mqtttest"
	"github.com/lmqgate/lmqgate/core/packet"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// riddles is an authority whose method RIDDLE asks for a password until it hears one. It answers the data of each step:
//   - "wrong" is refused.
//   - "down" gets no answer.
//   - Data that begins with "more", or none, is asked again.
//   - Anything else becomes the client's identity, which decides what the client may do.
type riddles struct {
	mu        sync.Mutex
	begun     []bool // whether each exchange was a re-authentication
	abandoned int
	asked     int // calls of Authorize
	expires   time.Duration
}

type riddleClient struct {
	pluginv1.AuthClient
	r *riddles
}

func (r *riddles) authority() *auth.Auth {
	return auth.New(auth.Options{Client: riddleClient{r: r}, PluginName: func() string { return "riddles" },
		Traits: func() *pluginv1.AuthTraits { return &pluginv1.AuthTraits{Methods: []string{"RIDDLE"}} }})
}

func (r *riddles) counts() (begun []bool, abandoned, asked int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]bool(nil), r.begun...), r.abandoned, r.asked
}

func (c riddleClient) Exchange(_ context.Context, in *pluginv1.ExchangeRequest, _ ...grpc.CallOption) (*pluginv1.ExchangeResponse, error) {
	c.r.mu.Lock()
	defer c.r.mu.Unlock()
	if in.GetAbandon() {
		c.r.abandoned++
		return &pluginv1.ExchangeResponse{}, nil
	}
	if in.GetConnection() != nil {
		c.r.begun = append(c.r.begun, in.GetReauthenticate())
	}
	said := string(in.GetData())
	switch {
	case said == "" || strings.HasPrefix(said, "more"):
		return &pluginv1.ExchangeResponse{More: true, Data: []byte("password? " + said)}, nil
	case said == "down":
		return nil, context.DeadlineExceeded
	case said == "wrong":
		return &pluginv1.ExchangeResponse{Result: &pluginv1.AuthenticateResponse{Reason: pluginv1.Reason_REASON_BAD_CREDENTIALS}}, nil
	}
	result := &pluginv1.AuthenticateResponse{Identity: said}
	if c.r.expires > 0 {
		result.ExpiresAtMs = time.Now().Add(c.r.expires).UnixMilli()
	}
	return &pluginv1.ExchangeResponse{Data: []byte("welcome " + said), Result: result}, nil
}

func (c riddleClient) Authenticate(context.Context, *pluginv1.AuthenticateRequest, ...grpc.CallOption) (*pluginv1.AuthenticateResponse, error) {
	return &pluginv1.AuthenticateResponse{}, nil
}

// Authorize lets an identity publish to topics that begin with its name. A decision is valid for an hour.
func (c riddleClient) Authorize(_ context.Context, in *pluginv1.AuthorizeRequest, _ ...grpc.CallOption) (*pluginv1.AuthorizeResponse, error) {
	c.r.mu.Lock()
	defer c.r.mu.Unlock()
	c.r.asked++
	out := &pluginv1.AuthorizeResponse{}
	for _, a := range in.GetActions() {
		out.Decisions = append(out.Decisions, &pluginv1.Decision{Allow: strings.HasPrefix(a.GetTopic(), in.GetClient().GetIdentity()), CacheMs: 3_600_000})
	}
	return out, nil
}

func startRiddles(t *testing.T, change ...func(*mqtttest.Config)) (*mqtttest.Node, *riddles) {
	t.Helper()
	r := &riddles{}
	return mqtttest.Start(t, append(change, func(c *mqtttest.Config) { c.Authority = r.authority() })...), r
}

// by returns a CONNECT option that sets the authentication method and, unless it is empty, the authentication data.
func by(method, data string) mqtttest.Option {
	return mqtttest.Props(func(p *packet.Properties) {
		p.AuthenticationMethod = &method
		if data != "" {
			p.AuthenticationData = []byte(data)
		}
	})
}

func step(code packet.Code, method, data string) *packet.Auth {
	return &packet.Auth{Code: code, Properties: &packet.Properties{AuthenticationMethod: &method, AuthenticationData: []byte(data)}}
}

// expectAuth expects an AUTH of the method RIDDLE.
func expectAuth(t *testing.T, c *mqtttest.Client, code packet.Code, data string) {
	t.Helper()
	a := mqtttest.Expect[*packet.Auth](c)
	require.Equal(t, code, a.Code)
	require.Equal(t, "RIDDLE", *a.Properties.AuthenticationMethod)
	require.Equal(t, data, string(a.Properties.AuthenticationData))
}

// begin sends a CONNECT with the method RIDDLE and expects the server's question.
func begin(t *testing.T, n *mqtttest.Node, options ...mqtttest.Option) *mqtttest.Client {
	t.Helper()
	c := n.Dial(packet.V5)
	cn := &packet.Connect{Version: packet.V5, CleanStart: true, ClientID: "c"}
	for _, f := range append(options, by("RIDDLE", "")) {
		f(cn)
	}
	c.Send(cn)
	expectAuth(t, c, packet.ContinueAuthentication, "password? ")
	return c
}

// Proves 5.0: [MQTT-4.12.0-1] [MQTT-4.12.0-6]
func TestAnUnknownAuthenticationMethodIsRefused(t *testing.T) {
	t.Parallel()
	anonymous := mqtttest.Start(t)
	withRiddles, _ := startRiddles(t)
	for _, n := range []*mqtttest.Node{anonymous, withRiddles} {
		c := n.Dial(packet.V5)
		require.Equal(t, packet.BadAuthenticationMethod, c.TryConnect("c", by("SCRAM-SHA-1", "x")).Code)
		c.ExpectClosed()
	}
	plain := withRiddles.Connect(packet.V5, "plain")
	require.Nil(t, plain.Connack.Properties.AuthenticationMethod)
}

// Proves 5.0: [MQTT-4.12.0-2] [MQTT-4.12.0-3] [MQTT-4.12.0-5] [MQTT-3.2.0-1] [MQTT-3.15.2-1]
func TestAnExchangeOfSeveralStepsAdmitsTheClient(t *testing.T) {
	t.Parallel()
	n, r := startRiddles(t)
	c := begin(t, n)
	c.Send(step(packet.ContinueAuthentication, "RIDDLE", "more, please"))
	expectAuth(t, c, packet.ContinueAuthentication, "password? more, please")
	c.Send(step(packet.ContinueAuthentication, "RIDDLE", "alice"))
	ack := mqtttest.Expect[*packet.Connack](c)
	require.Equal(t, packet.Success, ack.Code)
	require.Equal(t, "RIDDLE", *ack.Properties.AuthenticationMethod)
	require.Equal(t, "welcome alice", string(ack.Properties.AuthenticationData))
	c.Publish(1, "alice/x", "1")
	// The data in CONNECT can be enough.
	quick := n.Connect(packet.V5, "quick", by("RIDDLE", "bob"))
	require.Equal(t, "welcome bob", string(quick.Connack.Properties.AuthenticationData))
	begun, abandoned, _ := r.counts()
	require.Equal(t, []bool{false, false}, begun)
	require.Zero(t, abandoned)
}

// Proves 5.0: [MQTT-4.12.0-4] [MQTT-3.1.2-30] [MQTT-3.1.4-6] [MQTT-3.14.0-1] [MQTT-3.15.1-1] [MQTT-4.12.0-5]
func TestAnExchangeThatGoesWrongIsRefusedWithoutActingOnAnythingElse(t *testing.T) {
	t.Parallel()
	n, r := startRiddles(t)
	spy := n.Connect(packet.V5, "spy", by("RIDDLE", "s"))
	spy.Subscribe(1, "s/#")
	for name, c := range map[string]struct {
		send packet.Packet
		code packet.Code
	}{
		"denied":                {step(packet.ContinueAuthentication, "RIDDLE", "wrong"), packet.BadUserNameOrPassword},
		"no answer":             {step(packet.ContinueAuthentication, "RIDDLE", "down"), packet.ServerUnavailable},
		"another method":        {step(packet.ContinueAuthentication, "OTHER", "alice"), packet.ProtocolError},
		"too early":             {step(packet.ReAuthenticate, "RIDDLE", "alice"), packet.ProtocolError},
		"PUBLISH":               {&packet.Publish{Topic: "s/a", QoS: 1, PacketID: 1}, packet.ProtocolError},
		"SUBSCRIBE":             {&packet.Subscribe{PacketID: 1, Filters: []packet.Subscription{{Filter: "s/#"}}}, packet.ProtocolError},
		"PINGREQ":               {&packet.Pingreq{}, packet.ProtocolError},
		"a second CONNECT":      {&packet.Connect{Version: packet.V5, ClientID: "c"}, packet.ProtocolError},
		"DISCONNECT":            {&packet.Disconnect{}, 0},
		"the client's goodbyes": {&packet.Disconnect{Code: packet.UnspecifiedError}, 0},
	} {
		t.Log(name)
		client := begin(t, n)
		client.Send(c.send, &packet.Publish{Topic: "s/b", QoS: 1, PacketID: 2})
		if c.code != 0 {
			require.Equal(t, c.code, mqtttest.Expect[*packet.Connack](client).Code)
		}
		client.ExpectClosed()
	}
	malformed := begin(t, n)
	malformed.SendRaw(0xF1, 0)
	require.Equal(t, packet.MalformedPacket, mqtttest.Expect[*packet.Connack](malformed).Code)
	malformed.ExpectClosed()
	gone := begin(t, n)
	gone.Close()
	mqtttest.Eventually(t, "the plugin is told of what was given up", func() bool {
		_, abandoned, _ := r.counts()
		return abandoned >= 10 // all but the answered ones
	})
	require.Empty(t, spy.Ping())
	require.Len(t, n.Sessions.Clients(), 1)
}

// Proves 5.0: [MQTT-4.12.0-4]
func TestAnExchangeIsBoundedInStepsAndTime(t *testing.T) {
	t.Parallel()
	patient, _ := startRiddles(t, func(c *mqtttest.Config) { c.MQTT.ConnectTimeout = mqtttest.Patience })
	c := begin(t, patient)
	for i := range 100 {
		c.Send(step(packet.ContinueAuthentication, "RIDDLE", "more"))
		p := c.Next()
		if a, ok := p.(*packet.Connack); ok {
			require.Equal(t, packet.NotAuthorized, a.Code)
			require.Equal(t, 15, i)
			break
		}
	}
	c.ExpectClosed()
	n, _ := startRiddles(t, func(c *mqtttest.Config) { c.MQTT.ConnectTimeout = 3 * time.Second })
	silent := begin(t, n)
	require.Equal(t, packet.NotAuthorized, mqtttest.Expect[*packet.Connack](silent).Code)
	silent.ExpectClosed()

	c = n.Connect(packet.V5, "c", by("RIDDLE", "alice"))
	c.Send(step(packet.ReAuthenticate, "RIDDLE", "more"))
	expectAuth(t, c, packet.ContinueAuthentication, "password? more")
	c.ExpectDisconnect(packet.NotAuthorized)
}

// Proves 5.0: [MQTT-4.12.1-1]
func TestAReAuthenticationRenewsIdentityDecisionsAndExpiry(t *testing.T) {
	t.Parallel()
	n, r := startRiddles(t)
	r.expires = 6 * time.Second
	c := n.Connect(packet.V5, "c", by("RIDDLE", "alice"))
	connected := time.Now()
	denied := func(topic string) {
		t.Helper()
		p := &packet.Publish{Topic: topic, QoS: 1, PacketID: c.NextID()}
		c.Send(p)
		c.ExpectAck(packet.PUBACK, p.PacketID, packet.NotAuthorized)
	}
	c.Publish(1, "alice/x", "1")
	denied("bob/x")
	_, _, asked := r.counts()
	c.Publish(1, "alice/x", "2")
	_, _, again := r.counts()
	require.Equal(t, asked, again, "decisions are kept")

	r.mu.Lock()
	r.expires = 0
	r.mu.Unlock()
	c.Send(step(packet.ReAuthenticate, "RIDDLE", "more"))
	expectAuth(t, c, packet.ContinueAuthentication, "password? more")
	c.Publish(1, "alice/x", "3") // other packets are still judged under the old authentication
	require.Empty(t, c.Ping())
	c.Send(step(packet.ContinueAuthentication, "RIDDLE", "bob"))
	expectAuth(t, c, packet.Success, "welcome bob")
	c.Publish(1, "bob/x", "4")
	denied("alice/x")
	for time.Since(connected) < 6500*time.Millisecond { // beyond the expiry of the first authentication
		c.ExpectNothing()
	}
	c.Publish(1, "bob/x", "5")
	begun, _, _ := r.counts()
	require.Equal(t, []bool{false, true}, begun)

	// The expiry of the new authentication is enforced too.
	r.mu.Lock()
	r.expires = time.Second
	r.mu.Unlock()
	c.Send(step(packet.ReAuthenticate, "RIDDLE", "bob"))
	expectAuth(t, c, packet.Success, "welcome bob")
	c.ExpectDisconnect(packet.MaximumConnectTime)
}

// Proves 5.0: [MQTT-4.12.1-2] [MQTT-4.12.0-7] [MQTT-4.12.1-1] [MQTT-4.13.1-1]
func TestAReAuthenticationThatFailsOrComesOutOfTurnClosesTheConnection(t *testing.T) {
	t.Parallel()
	n, _ := startRiddles(t)
	for name, c := range map[string]struct {
		send []packet.Packet
		code packet.Code
	}{
		"denied":         {[]packet.Packet{step(packet.ReAuthenticate, "RIDDLE", "wrong")}, packet.NotAuthorized},
		"no answer":      {[]packet.Packet{step(packet.ReAuthenticate, "RIDDLE", "down")}, packet.NotAuthorized},
		"another method": {[]packet.Packet{step(packet.ReAuthenticate, "OTHER", "alice")}, packet.ProtocolError},
		"not begun":      {[]packet.Packet{step(packet.ContinueAuthentication, "RIDDLE", "alice")}, packet.ProtocolError},
		"begun twice": {[]packet.Packet{step(packet.ReAuthenticate, "RIDDLE", "more"),
			step(packet.ReAuthenticate, "RIDDLE", "more")}, packet.ProtocolError},
	} {
		t.Log(name)
		client := n.Connect(packet.V5, "c", by("RIDDLE", "alice"))
		client.Send(c.send...)
		if len(c.send) > 1 {
			expectAuth(t, client, packet.ContinueAuthentication, "password? more")
		}
		client.ExpectDisconnect(c.code)
	}
	plain := n.Connect(packet.V5, "plain")
	plain.Send(step(packet.ReAuthenticate, "RIDDLE", "alice"))
	plain.ExpectDisconnect(packet.ProtocolError)
	server := n.Connect(packet.V5, "c", by("RIDDLE", "alice"))
	server.SendRaw(0xF0, 0) // a packet type that only a server sends
	server.ExpectDisconnect(packet.ProtocolError)
}

func TestAConnectionAuthenticatesAnewNoMoreOftenThanItMay(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	n, r := startRiddles(t, registered(registry))
	c := n.Connect(packet.V5, "c", by("RIDDLE", "alice"))
	for range mqtt.MaxAgain {
		c.Send(step(packet.ReAuthenticate, "RIDDLE", "alice"))
		expectAuth(t, c, packet.Success, "welcome alice")
	}
	c.Send(step(packet.ReAuthenticate, "RIDDLE", "alice"))
	c.ExpectDisconnect(packet.QuotaExceeded)
	begun, _, _ := r.counts()
	require.Len(t, begun, 1+mqtt.MaxAgain)
	require.Equal(t, 1.0, gauge(t, registry, "lmqgate_mqtt_refused_reauthentications_total"))
	n.Connect(packet.V5, "c", by("RIDDLE", "alice"))
}

// Who can log in itself tries the passwords of others, by re-authentications or by new connections.
func TestReAuthenticationsThatFailCountAsFailedLogins(t *testing.T) {
	t.Parallel()
	for name, attempt := range map[string]func(n *mqtttest.Node, id string) (mine, guessed bool){
		"anew": func(n *mqtttest.Node, id string) (mine, guessed bool) {
			c := n.Dial(packet.V5)
			if c.TryConnect(id, by("RIDDLE", "mine"), ofUser("mine")).Code != packet.Success {
				return false, false
			}
			c.Send(step(packet.ReAuthenticate, "RIDDLE", "wrong"))
			c.ExpectDisconnect(packet.NotAuthorized)
			return true, true
		},
		"at CONNECT": func(n *mqtttest.Node, id string) (mine, guessed bool) {
			if n.Dial(packet.V5).TryConnect(id, by("RIDDLE", "mine"), ofUser("mine")).Code != packet.Success {
				return false, false
			}
			code := n.Dial(packet.V5).TryConnect(id, by("RIDDLE", "wrong"), ofUser("mine")).Code
			return true, code == packet.BadUserNameOrPassword
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bans := limits.NewBans()
			const allowed = 4
			n, r := startRiddles(t, func(c *mqtttest.Config) {
				c.MQTT.Bans, c.MQTT.FailedLogins, c.MQTT.BoundLoopback = bans, allowed, true
			})
			open := n.Connect(packet.V5, "", by("RIDDLE", "mine"), ofUser("mine"))
			for range allowed {
				mine, guessed := attempt(n, "")
				require.True(t, mine)
				require.True(t, guessed)
			}
			begun, _, _ := r.counts()
			mine, _ := attempt(n, "")
			require.False(t, mine)
			open.Send(step(packet.ReAuthenticate, "RIDDLE", "wrong"))
			open.ExpectDisconnect(packet.NotAuthorized)
			now, _, _ := r.counts()
			require.Equal(t, begun, now, "the plugin is not asked")
			list := bans.List()
			require.Len(t, list, 1)
			require.Equal(t, limits.ByLogin, list[0].Kind)
			n.Connect(packet.V5, "other", by("RIDDLE", "somebody"))
		})
	}
}

// Proves 5.0: [MQTT-3.1.2-24]
func TestAStepThatIsLargerThanTheClientTakesIsNotSent(t *testing.T) {
	t.Parallel()
	n, _ := startRiddles(t)
	small := mqtttest.Props(func(p *packet.Properties) { p.MaximumPacketSize = new(uint32(80)) })
	c := n.Dial(packet.V5)
	require.Equal(t, packet.PacketTooLarge, c.TryConnect("c", small, by("RIDDLE", "more"+strings.Repeat("x", 80))).Code)
	c.ExpectClosed()
	c = n.Connect(packet.V5, "c", small, by("RIDDLE", "alice"))
	c.Send(step(packet.ReAuthenticate, "RIDDLE", "more"+strings.Repeat("x", 80)))
	c.ExpectDisconnect(packet.PacketTooLarge)
}
