package e2e

import (
	"context"
	"fmt"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/autopaho/queue/memory"
	"github.com/eclipse/paho.golang/paho"
	"github.com/stretchr/testify/require"
	"github.com/xdg-go/scram"

	"github.com/lmqgate/lmqgate/internal/freeport"
)

// everyProperty are the properties of a message, as paho.golang has them.
func everyProperty(responseTopic string) *paho.PublishProperties {
	return &paho.PublishProperties{
		PayloadFormat: new(byte(1)),
		MessageExpiry: new(uint32(600)),
		ContentType:   "text/plain",
		ResponseTopic: responseTopic,
		CorrelationData: []byte{
			0,
			1,
			0xff,
		},
		User: paho.UserProperties{{Key: "b", Value: "1"}, {Key: "a", Value: "ü"}, {Key: "b", Value: "1"}},
	}
}

// requireEveryProperty requires these properties of a received message, with the remaining expiry.
func requireEveryProperty(t *testing.T, responseTopic string, got *paho.PublishProperties) {
	t.Helper()
	want := everyProperty(responseTopic)
	require.NotNil(t, got.MessageExpiry)
	require.LessOrEqual(t, *got.MessageExpiry, uint32(600))
	require.Greater(t, *got.MessageExpiry, uint32(300))
	require.Equal(t, want.PayloadFormat, got.PayloadFormat)
	require.Equal(t, want.CorrelationData, got.CorrelationData)
	require.Equal(t, [2]string{want.ContentType, want.ResponseTopic}, [2]string{got.ContentType, got.ResponseTopic})
	require.Equal(t, want.User, got.User)
}

func TestPahoForGoWithMQTT5(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, p profile) {
		g := start(t, p, settings{"mqtt": settings{"response_information": "answers/%c"}})
		topic := g.Topic("five")
		pub := g.connect5(t, g.Name("publisher"), func(_ *paho.ClientConfig, c *paho.Connect) { c.Properties.RequestProblemInfo = true })
		sub := g.connect5(
			t,
			g.Name("subscriber"),
			keep5,
			func(_ *paho.ClientConfig, c *paho.Connect) { c.Properties.RequestResponseInfo = true },
		)
		require.Equal(t, "answers/"+g.Name("subscriber"), sub.connack.Properties.ResponseInfo)
		sub.subscribe(paho.SubscribeOptions{Topic: topic + "/#", QoS: 2, RetainAsPublished: true}, 7)
		sub.subscribe(paho.SubscribeOptions{Topic: topic + "/+/x", QoS: 1}, 300)
		for qos := range byte(3) {
			pub.publish(
				&paho.Publish{Topic: topic + "/a/x", QoS: qos, Payload: []byte("text"), Properties: everyProperty(topic + "/answers")},
			)
			m := sub.await(1)[0]
			require.Equal(t, qos, m.QoS)
			requireEveryProperty(t, topic+"/answers", m.Properties)
			require.NotNil(t, m.Properties.SubscriptionIdentifier)
		}
		// While the subscriber is away; the kept message arrives as published.
		g.awaitAcks(sub.id)
		sub.leave()
		pub.publish(
			&paho.Publish{
				Topic:      topic + "/kept",
				QoS:        1,
				Retain:     true,
				Payload:    []byte("text"),
				Properties: everyProperty(topic + "/answers"),
			},
		)
		sub = g.connect5(t, g.Name("subscriber"), keep5)
		require.True(t, sub.connack.SessionPresent)
		m := sub.await(1)[0]
		require.True(t, m.Retain)
		requireEveryProperty(t, topic+"/answers", m.Properties)
		late := g.connect5(t, g.Name("late"))
		late.subscribe(paho.SubscribeOptions{Topic: topic + "/kept", QoS: 1, RetainHandling: 2})
		late.subscribe(paho.SubscribeOptions{Topic: topic + "/kept", QoS: 1})
		requireEveryProperty(t, topic+"/answers", late.await(1)[0].Properties)
		// A refusal is an answer, with a reason.
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		resp, err := pub.Publish(
			ctx,
			&paho.Publish{
				Topic:      topic + "/a/x",
				QoS:        1,
				Payload:    []byte{0xff},
				Properties: &paho.PublishProperties{PayloadFormat: new(byte(1))},
			},
		)
		require.Error(t, err)
		require.Equal(t, byte(0x99), resp.ReasonCode)
		require.Contains(t, resp.Properties.ReasonString, "UTF-8")
	})
}

// fixedPort returns a listener on a port that stays the same across restarts.
func fixedPort(t *testing.T) settings {
	t.Helper()
	address, err := freeport.Address()
	require.NoError(t, err)
	return settings{"listeners": []settings{{"type": "tcp", "address": address}}}
}

func TestAutopahoGoesOnWithItsSessionAfterARestartOfTheGateway(t *testing.T) {
	t.Parallel()
	onOneNode(t, "its address stays the same")
	everywhere(t, func(t *testing.T, p profile) {
		g := start(t, p, fixedPort(t))
		topic := g.Topic("auto")
		server := &url.URL{Scheme: "mqtt", Host: g.TCP}
		ctx, cancel := context.WithTimeout(context.Background(), 4*patience)
		defer cancel()
		var mu sync.Mutex
		got := map[string]bool{}
		present := make(chan bool, 10)
		run := func(id string, change func(*autopaho.ClientConfig)) *autopaho.ConnectionManager {
			t.Helper()
			config := autopaho.ClientConfig{
				ServerUrls:            []*url.URL{server},
				KeepAlive:             20,
				SessionExpiryInterval: 3600,
				ConnectUsername:       user,
				Queue:                 memory.New(),
				ConnectPassword: []byte(
					Password(id),
				),
				ReconnectBackoff: autopaho.NewConstantBackoff(100 * time.Millisecond),
				ClientConfig:     paho.ClientConfig{ClientID: id},
			}
			change(&config)
			cm, err := autopaho.NewConnection(ctx, config)
			require.NoError(t, err)
			require.NoError(t, cm.AwaitConnection(ctx))
			return cm
		}
		sub := run(g.Name("subscriber"), func(c *autopaho.ClientConfig) {
			c.OnConnectionUp = func(_ *autopaho.ConnectionManager, a *paho.Connack) { present <- a.SessionPresent }
			c.OnPublishReceived = []func(paho.PublishReceived) (bool, error){func(m paho.PublishReceived) (bool, error) {
				mu.Lock()
				defer mu.Unlock()
				got[string(m.Packet.Payload)] = true
				return true, nil
			}}
		})
		require.False(t, <-present)
		_, err := sub.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: topic + "/#", QoS: 1}}})
		require.NoError(t, err)
		pub := run(g.Name("publisher"), func(*autopaho.ClientConfig) {})
		publish := func(from, to int) {
			t.Helper()
			for i := from; i < to; i++ {
				require.NoError(
					t,
					pub.PublishViaQueue(
						ctx,
						&autopaho.QueuePublish{Publish: &paho.Publish{Topic: topic + "/x", QoS: 1, Payload: []byte(strconv.Itoa(i))}},
					),
				)
			}
		}
		arrived := func(n int) {
			t.Helper()
			eventually(t, patience, func() error {
				mu.Lock()
				defer mu.Unlock()
				if len(got) != n {
					return fmt.Errorf("%d of %d messages arrived", len(got), n)
				}
				return nil
			})
		}
		publish(0, 20)
		arrived(20)
		g.Stop()
		publish(20, 40) // nobody is there
		g.Start()
		require.True(t, <-present, "the session is there after the restart")
		publish(40, 60)
		arrived(60)
		require.NoError(t, sub.Disconnect(ctx))
		require.NoError(t, pub.Disconnect(ctx))
	})
}

// scramAuther is the client's side of SCRAM-SHA-256 for paho.golang.
type scramAuther struct {
	client *scram.Client
	mu     sync.Mutex
	c      *scram.ClientConversation
}

// begin returns the first message of a conversation.
func (s *scramAuther) begin() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.c = s.client.NewConversation()
	said, _ := s.c.Step("")
	return []byte(said)
}

// Authenticate answers a step of the server.
func (s *scramAuther) Authenticate(a *paho.Auth) *paho.Auth {
	s.mu.Lock()
	defer s.mu.Unlock()
	said, _ := s.c.Step(string(a.Properties.AuthData))
	return &paho.Auth{ReasonCode: 0x18, Properties: &paho.AuthProperties{AuthMethod: "SCRAM-SHA-256", AuthData: []byte(said)}}
}

// Authenticated does nothing; see verified.
func (*scramAuther) Authenticated() {}

// verified checks the server's last message, which proves that it knows the key.
func (s *scramAuther) verified(data []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.c.Step(string(data))
	return err == nil && s.c.Valid()
}

func TestPahoForGoAuthenticatesBySCRAM(t *testing.T) {
	t.Parallel()
	key := func(password string) string {
		cmd := execute(
			t,
			time.Minute,
			"sh",
			"-c",
			"printf '%s' '"+password+"' | '"+filepath.Join(bin, "plugins", "auth-file")+"' hash --scram",
		)
		return strings.TrimSpace(cmd.OK())
	}
	file := filepath.Join(t.TempDir(), "users.yaml")
	write := func(rules string) {
		text := `users: [{username: alice, scram: "` + key("alice-password") + `", rules: ` + rules + `}]`
		require.NoError(t, os.WriteFile(file+".new", []byte(text), 0o600))
		require.NoError(t, os.Rename(file+".new", file))
	}
	write(`[{effect: allow, action: all, topic: "mine/%u/#"}]`)
	g := start(
		t,
		localProfile,
		settings{"auth": settings{"plugin": "auth-file", "config": settings{"file": file, "reload_interval": "100ms"}}},
	)
	connect := func(password string) (*client5, *scramAuther, error) {
		client, err := scram.SHA256.NewClient("alice", password, "")
		require.NoError(t, err)
		s := &scramAuther{client: client}
		c, err := g.tryConnect5(t, "c", func(config *paho.ClientConfig, c *paho.Connect) {
			config.AuthHandler = s
			c.UsernameFlag, c.PasswordFlag, c.Username, c.Password = false, false, "", nil
			c.Properties.AuthMethod, c.Properties.AuthData = "SCRAM-SHA-256", s.begin()
		})
		return c, s, err
	}
	refused, _, err := connect("wrong-password")
	require.Error(t, err)
	require.Equal(t, byte(0x86), refused.connack.ReasonCode)

	c, s, err := connect("alice-password")
	require.NoError(t, err)
	require.True(t, s.verified(c.connack.Properties.AuthData), "the server has shown that it knows the key")
	c.subscribe(paho.SubscribeOptions{Topic: "mine/alice/#", QoS: 1})
	c.publish(&paho.Publish{Topic: "mine/alice/x", QoS: 1, Payload: []byte("1")})
	require.Equal(t, "1", string(c.await(1)[0].Payload))
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	resp, err := c.Publish(ctx, &paho.Publish{Topic: "mine/bob/x", QoS: 1})
	require.Error(t, err)
	require.Equal(t, byte(0x87), resp.ReasonCode)

	again, err := c.Client.Authenticate(
		ctx,
		&paho.Auth{ReasonCode: 0x19, Properties: &paho.AuthProperties{AuthMethod: "SCRAM-SHA-256", AuthData: s.begin()}},
	)
	require.NoError(t, err)
	require.True(t, again.Success) // paho.golang does not show what the server said
	c.publish(&paho.Publish{Topic: "mine/alice/x", QoS: 1, Payload: []byte("2")})
	require.Equal(t, "2", string(c.await(1)[0].Payload))

	// A new key ends connections that were admitted with the old one.
	write(`[{effect: allow, action: all, topic: "#"}]`)
	select {
	case d := <-c.lost:
		require.Equal(t, byte(0x98), d.ReasonCode)
	case <-time.After(patience):
		t.Fatal("the client stayed connected after its key was changed")
	}
}

func TestMQTT5PropertiesTravelThroughRocketMQBothWays(t *testing.T) {
	t.Parallel()
	g := start(t, rocketmqProfile)
	app := newApplication(t)
	topic := g.Topic("props")
	sub := g.connect5(t, g.Name("subscriber"))
	sub.subscribe(paho.SubscribeOptions{Topic: topic + "/#", QoS: 1})
	pub := g.connect5(t, g.Name("publisher"))
	published := time.Now()
	pub.publish(&paho.Publish{Topic: topic + "/out", QoS: 1, Payload: []byte("from MQTT"), Properties: everyProperty(topic + "/answers")})
	requireEveryProperty(t, topic+"/answers", sub.await(1)[0].Properties)

	app.consume(topic, "MQTT_COMMON")
	m := app.await(1)[0]
	properties := map[string]string{}
	for _, name := range []string{"mqttPayloadFormat", "mqttContentType", "mqttResponseTopic", "mqttCorrelationData", "mqttUserProperties", "mqttExpires"} {
		properties[name] = m.GetProperty(name)
	}
	expires, err := strconv.ParseInt(properties["mqttExpires"], 10, 64)
	require.NoError(t, err)
	require.WithinDuration(t, published.Add(600*time.Second), time.UnixMilli(expires), time.Minute)
	delete(properties, "mqttExpires")
	require.Equal(t, map[string]string{"mqttPayloadFormat": "1", "mqttContentType": "text/plain", "mqttResponseTopic": topic + "/answers",
		"mqttCorrelationData": "AAH/", "mqttUserProperties": `[["b","1"],["a","ü"],["b","1"]]`}, properties)

	// The application answers to the request's response topic, with its correlation data and the same properties.
	send := []string{
		"originMqttTopic",
		properties["mqttResponseTopic"],
		"mqttExpires",
		strconv.FormatInt(time.Now().Add(590*time.Second).UnixMilli(), 10),
	}
	for name, v := range properties {
		send = append(send, name, v)
	}
	app.send(topic, "from RocketMQ", send...)
	got := sub.await(1)[0]
	require.Equal(t, [2]string{topic + "/answers", "from RocketMQ"}, [2]string{got.Topic, string(got.Payload)})
	requireEveryProperty(t, topic+"/answers", got.Properties)

	// An expired message is not delivered.
	app.send(
		topic,
		"too late",
		"originMqttTopic",
		topic+"/late",
		"mqttExpires",
		strconv.FormatInt(time.Now().Add(-time.Second).UnixMilli(), 10),
	)
	app.send(topic, "in time", "originMqttTopic", topic+"/late")
	require.Equal(t, "in time", string(sub.await(1)[0].Payload))

	// What expires later than an interval can say has the longest one.
	for _, at := range []time.Time{time.Now().Add((1<<32 + 100) * time.Second), time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)} {
		app.send(topic, at.String(), "originMqttTopic", topic+"/far", "mqttExpires", strconv.FormatInt(at.UnixMilli(), 10))
		got := sub.await(1)[0]
		require.Equal(t, at.String(), string(got.Payload))
		require.NotNil(t, got.Properties.MessageExpiry)
		require.EqualValues(t, math.MaxUint32, *got.Properties.MessageExpiry)
	}
}
