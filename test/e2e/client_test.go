package e2e

import (
	"fmt"
	"sync"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/require"
)

// patience bounds every single wait of a client.
const patience = 2 * time.Minute

// client is an MQTT 3.1.1 client that records what it receives.
type client struct {
	paho.Client
	t  *testing.T
	g  *Gateway
	id string
	// present is the session present flag of CONNACK.
	present bool

	mu   sync.Mutex
	got  []paho.Message
	more chan struct{} // has an element after each message
	lost chan error
}

type clientOptions = paho.ClientOptions

type option func(*clientOptions)

// persistent makes the gateway keep the session.
func persistent(o *paho.ClientOptions) { o.SetCleanSession(false) }

// connect connects a client of the demo user. It disconnects when the test ends.
func (g *Gateway) connect(t *testing.T, id string, options ...option) *client {
	t.Helper()
	c, err := g.tryConnect(t, id, options...)
	require.NoError(t, err, "connecting %q", id)
	return c
}

func (g *Gateway) tryConnect(t *testing.T, id string, options ...option) (*client, error) {
	t.Helper()
	c := &client{t: t, g: g, id: id, more: make(chan struct{}, 1), lost: make(chan error, 1)}
	o := paho.NewClientOptions().AddBroker("tcp://" + g.TCP).SetClientID(id).SetUsername(user).SetPassword(g.password(id)).
		SetCleanSession(true).SetAutoReconnect(false).SetConnectRetry(false).SetConnectTimeout(patience).SetOrderMatters(true).
		SetProtocolVersion(4).SetKeepAlive(time.Minute).SetPingTimeout(patience).SetDefaultPublishHandler(c.receive).
		SetConnectionLostHandler(func(_ paho.Client, err error) {
			select {
			case c.lost <- err:
			default:
			}
		})
	for _, f := range options {
		f(o)
	}
	c.Client = paho.NewClient(o)
	token := c.Connect()
	if !token.WaitTimeout(patience) {
		return nil, fmt.Errorf("CONNECT of %q is not answered", id)
	}
	if err := token.Error(); err != nil {
		return nil, err
	}
	if ct, ok := token.(*paho.ConnectToken); ok {
		c.present = ct.SessionPresent()
	}
	t.Cleanup(func() { c.Disconnect(0) })
	return c, nil
}

func (c *client) receive(_ paho.Client, m paho.Message) {
	c.mu.Lock()
	c.got = append(c.got, m)
	c.mu.Unlock()
	select {
	case c.more <- struct{}{}:
	default:
	}
}

// subscribe subscribes and requires the granted QoS.
func (c *client) subscribe(filter string, qos byte) {
	c.t.Helper()
	require.Equal(c.t, qos, c.trySubscribe(filter, qos)[filter], "SUBACK for %q", filter)
}

// trySubscribe returns the codes of SUBACK.
func (c *client) trySubscribe(filter string, qos byte) map[string]byte {
	c.t.Helper()
	token := c.Subscribe(filter, qos, nil)
	require.True(c.t, token.WaitTimeout(patience), "SUBSCRIBE to %q is not answered", filter)
	return token.(*paho.SubscribeToken).Result()
}

// publish publishes and waits for the acknowledgement.
func (c *client) publish(topic string, qos byte, payload string) {
	c.t.Helper()
	c.publishRetain(topic, qos, false, payload)
}

func (c *client) publishRetain(topic string, qos byte, retain bool, payload string) {
	c.t.Helper()
	token := c.Publish(topic, qos, retain, payload)
	require.True(c.t, token.WaitTimeout(patience), "PUBLISH to %q is not acknowledged", topic)
	require.NoError(c.t, token.Error(), "PUBLISH to %q", topic)
}

// messages returns the received messages.
func (c *client) messages() []paho.Message {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]paho.Message(nil), c.got...)
}

func (c *client) payloads() []string {
	var out []string
	for _, m := range c.messages() {
		out = append(out, string(m.Payload()))
	}
	return out
}

// await waits for n messages in total; the time limit applies to each next one.
func (c *client) await(n int) []paho.Message {
	c.t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		if got := c.messages(); len(got) >= n {
			return got
		}
		select {
		case <-c.more:
			timer.Reset(patience)
		case err := <-c.lost:
			c.t.Fatalf("client %q lost its connection with %d of %d messages: %v", c.id, len(c.messages()), n, err)
		case <-timer.C:
			c.t.Fatalf("client %q has %d of %d messages: %q", c.id, len(c.messages()), n, tailOf(c.payloads(), 20))
		}
	}
}

// only waits for the payloads, in this order, and requires that nothing else arrives. A marker message after them proves that: it is
// published to the topic last, which one of the client's filters must match.
func (c *client) only(publisher *client, last string, payloads ...string) {
	c.t.Helper()
	const end = "the end of what was published"
	publisher.publish(last, 1, end)
	want := append(append([]string(nil), payloads...), end)
	c.await(len(want))
	eventually(c.t, patience, func() error {
		if got := c.payloads(); got[len(got)-1] != end {
			return fmt.Errorf("client %q has %q, and the last message is missing", c.id, tailOf(got, 20))
		}
		return nil
	})
	require.Equal(c.t, want, c.payloads(), "client %q", c.id)
	c.forget()
}

// forget drops the received messages.
func (c *client) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.got = nil
}

// leave disconnects once the gateway has received the acknowledgements of everything that it sent.
func (c *client) leave() {
	c.t.Helper()
	c.settle()
	c.Disconnect(250)
	eventually(c.t, patience, func() error {
		if _, online := c.g.inFlight(c.id); online {
			return fmt.Errorf("client %q is still connected", c.id)
		}
		return nil
	})
}

// settle waits until nothing is in flight to the client.
func (c *client) settle() {
	c.t.Helper()
	c.g.awaitAcks(c.id)
}

// awaitAcks waits until the gateway has the acknowledgements of everything that it sent to a client.
func (g *Gateway) awaitAcks(id string) {
	g.t.Helper()
	eventually(g.t, patience, func() error {
		if n, _ := g.inFlight(id); n > 0 {
			return fmt.Errorf("client %q has not acknowledged %d messages", id, n)
		}
		return nil
	})
}

func tailOf(s []string, n int) []string { return s[max(0, len(s)-n):] }
