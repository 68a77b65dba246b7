package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// client5 is a connected MQTT 5 client that does not reconnect. Its errors say why the gateway refused a request.
type client5 struct {
	*paho.Client
	server string
	acks   *ackCounter
	lost   chan error

	mu     sync.Mutex
	closed bool
}

func connect5(ctx context.Context, opts *mqtt.ClientOptions, server string, cleanSession bool, received mqtt.MessageHandler) (*client5,
	error) {
	ctx, cancel := context.WithTimeout(ctx, clientTimeout)
	defer cancel()
	conn, err := dialMQTT(ctx, server, opts.TLSConfig)
	if err != nil {
		return nil, err
	}
	acks := newAckCounter(conn)
	c := &client5{server: server, acks: acks, lost: make(chan error, 1)}
	conf := paho.ClientConfig{
		Conn: packets.NewThreadSafeConn(acks), PacketTimeout: clientTimeout,
		EnableManualAcknowledgment: true, SendAcksInterval: 10 * time.Millisecond,
		OnClientError: func(err error) { c.lose(err) },
		OnServerDisconnect: func(d *paho.Disconnect) {
			text := ""
			if d.Properties != nil {
				text = d.Properties.ReasonString
			}
			c.lose(refusal("DISCONNECT", d.ReasonCode, text))
		},
	}
	if received != nil {
		conf.OnPublishReceived = []func(paho.PublishReceived) (bool, error){func(p paho.PublishReceived) (bool, error) {
			received(nil, message5{p, acks})
			return true, nil
		}}
	}
	c.Client = paho.NewClient(conf)
	connect := &paho.Connect{ClientID: opts.ClientID, CleanStart: cleanSession, KeepAlive: 30,
		Username: opts.Username, UsernameFlag: opts.Username != "", Password: []byte(opts.Password), PasswordFlag: opts.Password != ""}
	if !cleanSession {
		forever := uint32(math.MaxUint32) // the gateway bounds it
		connect.Properties = &paho.ConnectProperties{SessionExpiryInterval: &forever}
	}
	ack, err := c.Connect(ctx, connect)
	if err != nil && ack != nil && ack.ReasonCode >= packets.ConnackUnspecifiedError {
		text := ""
		if ack.Properties != nil {
			text = ack.Properties.ReasonString
		}
		err = refusal("CONNACK", ack.ReasonCode, text)
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return c, nil
}

func (c *client5) publish(ctx context.Context, topic string, qos byte, retain bool, payload []byte) error {
	ctx, cancel := context.WithTimeout(ctx, clientTimeout)
	defer cancel()
	answer, err := c.Publish(ctx, &paho.Publish{Topic: topic, QoS: qos, Retain: retain, Payload: payload})
	if answer != nil && answer.ReasonCode >= packets.PubackUnspecifiedError {
		text := ""
		if answer.Properties != nil {
			text = answer.Properties.ReasonString
		}
		err = refusal("the gateway answers", answer.ReasonCode, text)
	}
	if err != nil {
		return fmt.Errorf("publish to %q: %w", topic, c.why(err))
	}
	return nil
}

func (c *client5) subscribe(ctx context.Context, filters []string, qos byte) error {
	ctx, cancel := context.WithTimeout(ctx, clientTimeout)
	defer cancel()
	var options []paho.SubscribeOptions
	for _, f := range filters {
		options = append(options, paho.SubscribeOptions{Topic: f, QoS: qos})
	}
	ack, err := c.Subscribe(ctx, &paho.Subscribe{Subscriptions: options})
	if ack != nil {
		text := ""
		if ack.Properties != nil {
			text = ack.Properties.ReasonString
		}
		for i, code := range ack.Reasons {
			if code >= subRefused && i < len(filters) {
				return fmt.Errorf("subscription to %q refused: %w; lmqgate topic create makes a first-level topic, and the gateway's log says more", filters[i], refusal("SUBACK", code, text))
			}
		}
	}
	if err != nil {
		return fmt.Errorf("subscribe to %q: %w", strings.Join(filters, " "), c.why(err))
	}
	return nil
}

// why returns the reason of the connection's end if that is why an exchange failed, otherwise err.
func (c *client5) why(err error) error {
	select {
	case lost := <-c.lost:
		return fmt.Errorf("the gateway closed the connection (%w)", lost)
	default:
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no answer within %s", clientTimeout)
	}
	if errors.Is(err, context.Canceled) {
		return errors.New("interrupted")
	}
	return err
}

// lose records why the connection ended; only the first call has an effect.
func (c *client5) lose(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.closed = true
		c.lost <- err
	}
}

func (c *client5) ended() <-chan error { return c.lost }
func (c *client5) address() string     { return c.server }

func (c *client5) close() {
	c.acks.await(time.Second) // they are sent a moment later
	c.mu.Lock()
	over := c.closed
	c.closed = true
	c.mu.Unlock()
	if over {
		return
	}
	_ = c.Disconnect(&paho.Disconnect{})
	select {
	case <-c.Done():
	case <-time.After(time.Second):
	}
}

// message5 adapts a message for the printer.
type message5 struct {
	paho.PublishReceived
	acks *ackCounter
}

var _ mqtt.Message = message5{}

func (m message5) Duplicate() bool   { return m.Packet.Duplicate() }
func (m message5) Qos() byte         { return m.Packet.QoS }
func (m message5) Retained() bool    { return m.Packet.Retain }
func (m message5) Topic() string     { return m.Packet.Topic }
func (m message5) MessageID() uint16 { return m.Packet.PacketID }
func (m message5) Payload() []byte   { return m.Packet.Payload }

// Ack acknowledges the message; the acknowledgement is sent a moment later.
func (m message5) Ack() {
	if m.Packet.QoS == 0 {
		return
	}
	m.acks.owe()
	_ = m.Client.Ack(m.Packet)
}
