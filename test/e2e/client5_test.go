package e2e

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"

	"github.com/eclipse/paho.golang/paho"
	"github.com/stretchr/testify/require"
)

// client5 is an MQTT 5 client that records what it receives.
type client5 struct {
	*paho.Client
	t       *testing.T
	id      string
	conn    net.Conn
	connack *paho.Connack

	mu   sync.Mutex
	got  []*paho.Publish
	lost chan *paho.Disconnect
}

// option5 changes a client before it connects.
type option5 func(*paho.ClientConfig, *paho.Connect)

// keep5 makes the gateway keep the session.
func keep5(_ *paho.ClientConfig, c *paho.Connect) {
	c.CleanStart = false
	c.Properties.SessionExpiryInterval = new(uint32(3600))
}

// connect5 connects an MQTT 5 client of the demo user. It disconnects when the test ends.
func (g *Gateway) connect5(t *testing.T, id string, options ...option5) *client5 {
	t.Helper()
	c, err := g.tryConnect5(t, id, options...)
	require.NoError(t, err, "connecting %q", id)
	return c
}

func (g *Gateway) tryConnect5(t *testing.T, id string, options ...option5) (*client5, error) {
	t.Helper()
	c := &client5{t: t, id: id, lost: make(chan *paho.Disconnect, 1)}
	nc, err := net.DialTimeout("tcp", g.TCP, patience)
	require.NoError(t, err)
	c.conn = nc
	config := paho.ClientConfig{ClientID: id, Conn: nc, OnPublishReceived: []func(paho.PublishReceived) (bool, error){c.receive},
		OnServerDisconnect: func(d *paho.Disconnect) {
			select {
			case c.lost <- d:
			default:
			}
		}}
	connect := &paho.Connect{
		ClientID:     id,
		CleanStart:   true,
		KeepAlive:    60,
		Username:     user,
		UsernameFlag: true,
		Password:     []byte(g.password(id)),
		PasswordFlag: true,
		Properties:   &paho.ConnectProperties{},
	}
	for _, f := range options {
		f(&config, connect)
	}
	c.Client = paho.NewClient(config)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if c.connack, err = c.Connect(ctx, connect); err != nil {
		_ = nc.Close()
		return c, err
	}
	t.Cleanup(c.leave)
	return c, nil
}

// leave disconnects.
func (c *client5) leave() { _ = c.Disconnect(&paho.Disconnect{}) }

func (c *client5) receive(p paho.PublishReceived) (bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.got = append(c.got, p.Packet)
	return true, nil
}

func (c *client5) subscribe(s paho.SubscribeOptions, id ...int) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	packet := &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{s}}
	if len(id) > 0 {
		packet.Properties = &paho.SubscribeProperties{SubscriptionIdentifier: &id[0]}
	}
	ack, err := c.Subscribe(ctx, packet)
	require.NoError(c.t, err, "SUBSCRIBE to %q", s.Topic)
	require.Equal(c.t, []byte{s.QoS}, ack.Reasons)
}

func (c *client5) publish(p *paho.Publish) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err := c.Publish(ctx, p)
	require.NoError(c.t, err, "PUBLISH to %q", p.Topic)
}

// await waits for n messages in total, and removes them.
func (c *client5) await(n int) []*paho.Publish {
	c.t.Helper()
	var out []*paho.Publish
	eventually(c.t, patience, func() error {
		c.mu.Lock()
		defer c.mu.Unlock()
		if len(c.got) < n {
			return fmt.Errorf("client %q has %d of %d messages", c.id, len(c.got), n)
		}
		out, c.got = c.got, nil
		return nil
	})
	return out
}
