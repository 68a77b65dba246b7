package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// connection is what pub and sub need from an MQTT client of any protocol version.
type connection interface {
	// publish returns when the message is acknowledged (QoS 1 and 2) or sent (QoS 0).
	publish(ctx context.Context, topic string, qos byte, retain bool, payload []byte) error
	// subscribe subscribes to all filters and fails when one is refused.
	subscribe(ctx context.Context, filters []string, qos byte) error
	// ended returns a channel that receives once, when the connection ends by itself.
	ended() <-chan error
	// address returns the server's address.
	address() string
	// close sends pending acknowledgements and disconnects.
	close()
}

var (
	_ connection = (*client)(nil)
	_ connection = (*client5)(nil)
)

// protocolVersion is the -V flag.
type protocolVersion string

const (
	version311 protocolVersion = "3.1.1"
	version5   protocolVersion = "5"
)

// protocol parses the flag, which may also have the form of Mosquitto's clients.
func (v protocolVersion) protocol() (protocolVersion, error) {
	switch v {
	case "5", "mqttv5":
		return version5, nil
	case "3.1.1", "311", "mqttv311":
		return version311, nil
	}
	return "", usagef("-V wants 5 or 3.1.1, not %q", string(v))
}

// connect connects with the flags' address, credentials and version. received, which may be nil, is called for each message, sequentially.
func (f *clientFlags) connect(ctx context.Context, role string, cleanSession bool, received mqtt.MessageHandler) (connection, error) {
	v, err := f.version.protocol()
	if err != nil {
		return nil, err
	}
	opts, server, err := f.options(role)
	if err != nil {
		return nil, err
	}
	var c connection
	if v == version5 {
		c, err = connect5(ctx, opts, server, cleanSession, received)
	} else {
		c, err = connect311(ctx, opts, server, cleanSession, received)
	}
	if err != nil {
		return nil, fmt.Errorf("connect to %s as %q: %w%s", server, opts.ClientID, connectCause(err), connectHint(err))
	}
	return c, nil
}

// client is a connected MQTT 3.1.1 client that does not reconnect.
type client struct {
	mqtt.Client
	server string
	lost   chan error // receives once, when the connection ends by itself
}

func connect311(ctx context.Context, opts *mqtt.ClientOptions, server string, cleanSession bool, received mqtt.MessageHandler) (*client,
	error) {
	c := &client{server: server, lost: make(chan error, 1)}
	opts.SetCleanSession(cleanSession).
		SetAutoAckDisabled(true).
		SetConnectionLostHandler(func(_ mqtt.Client, err error) { c.lost <- err })
	if received != nil {
		opts.SetDefaultPublishHandler(received)
	}
	c.Client = mqtt.NewClient(opts)
	if err := c.wait(ctx, c.Connect()); err != nil {
		c.Disconnect(0)
		return nil, err
	}
	return c, nil
}

// wait waits for an exchange with the gateway.
func (c *client) wait(ctx context.Context, token mqtt.Token) error {
	timeout := time.NewTimer(clientTimeout)
	defer timeout.Stop()
	select {
	case <-token.Done():
		return token.Error()
	case err := <-c.lost:
		return fmt.Errorf("the gateway closed the connection (%w)", err)
	case <-ctx.Done():
		return errors.New("interrupted")
	case <-timeout.C:
		return fmt.Errorf("no answer within %s", clientTimeout)
	}
}

func (c *client) publish(ctx context.Context, topic string, qos byte, retain bool, payload []byte) error {
	if err := c.wait(ctx, c.Publish(topic, qos, retain, payload)); err != nil {
		return fmt.Errorf("publish to %q: %w; the gateway's log says why it refused, if it did", topic, err)
	}
	return nil
}

func (c *client) ended() <-chan error { return c.lost }
func (c *client) address() string     { return c.server }
func (c *client) close()              { c.Disconnect(250) }
