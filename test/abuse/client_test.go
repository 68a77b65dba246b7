package abuse

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/lmqgate/lmqgate/core/packet"
)

// patience bounds each exchange of an honest client.
const patience = time.Minute

// client is a connection of an honest or a hostile client.
type client struct {
	net.Conn
	r *packet.Reader
}

// dial opens a connection that ends with ctx.
func (g *gateway) dial(ctx context.Context) (*client, error) {
	var d net.Dialer
	nc, err := d.DialContext(ctx, "tcp", g.addr)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { _ = nc.Close() })
	c := &client{Conn: nc, r: packet.NewReader(nc, 0)}
	c.r.Client = true
	c.r.SetVersion(packet.V5)
	return c, nil
}

// connect opens a connection and waits for CONNACK. With keep, its session is kept for ten minutes.
func (g *gateway) connect(ctx context.Context, user, id string, keep bool, change ...func(*packet.Connect)) (*client, error) {
	c, err := g.dial(ctx)
	if err != nil {
		return nil, err
	}
	cn := &packet.Connect{Version: packet.V5, ClientID: id, HasUsername: true, Username: user, HasPassword: true, Password: password(id)}
	if keep {
		cn.Properties = &packet.Properties{SessionExpiryInterval: new(uint32(600))}
	}
	for _, f := range change {
		f(cn)
	}
	answer, err := c.ask(cn)
	if err == nil {
		if ack, ok := answer.(*packet.Connack); !ok || ack.Code != packet.Success {
			err = fmt.Errorf("CONNECT of %q was answered with %+v", id, answer)
		}
	}
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

func (c *client) send(p packet.Packet) error {
	b, err := packet.Append(nil, p, packet.V5)
	if err == nil {
		_, err = c.Write(b)
	}
	return err
}

// ask sends a packet and reads the next.
func (c *client) ask(p packet.Packet) (packet.Packet, error) {
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	if err := c.send(p); err != nil {
		return nil, err
	}
	answer, err := c.r.ReadPacket()
	return answer, errors.Join(err, c.SetDeadline(time.Time{}))
}

// subscribe subscribes to filters, and returns the codes.
func (c *client) subscribe(qos byte, filters ...string) ([]packet.Code, error) {
	s := &packet.Subscribe{PacketID: 1}
	for _, f := range filters {
		s.Filters = append(s.Filters, packet.Subscription{Filter: f, QoS: qos})
	}
	answer, err := c.ask(s)
	if err != nil {
		return nil, err
	}
	ack, ok := answer.(*packet.Suback)
	if !ok {
		return nil, fmt.Errorf("SUBSCRIBE was answered with %+v", answer)
	}
	return ack.Codes, nil
}

// publish publishes at QoS 1 and waits for PUBACK.
func (c *client) publish(id uint16, topic string, retain bool, payload []byte) error {
	answer, err := c.ask(&packet.Publish{PacketID: id, QoS: 1, Topic: topic, Retain: retain, Payload: payload})
	if err != nil {
		return err
	}
	if ack, ok := answer.(*packet.Ack); !ok || ack.Code.Failed() {
		return fmt.Errorf("PUBLISH to %q was answered with %+v", topic, answer)
	}
	return nil
}
