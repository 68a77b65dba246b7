package mqttload

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"time"

	"github.com/lmqgate/lmqgate/core/packet"
)

// patience bounds each exchange with the broker.
const patience = 30 * time.Second

// client is one connection. It is not safe for concurrent use, except as publisher describes.
type client struct {
	nc net.Conn
	r  *packet.Reader
	v  packet.Version
	// receiveMaximum is how many unacknowledged messages the broker accepts (MQTT 5, 3.2.2.3.3).
	receiveMaximum int
}

// login holds the options of a connect.
type login struct {
	id string
	// keep resumes an existing session and makes the session outlive the connection; otherwise an existing session ends.
	keep bool
}

// connect opens a connection and waits for CONNACK. session says whether the broker had the session.
func (t *Target) connect(ctx context.Context, l login) (c *client, session bool, err error) {
	dialCtx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	nc, err := t.Dial(dialCtx)
	if err != nil {
		return nil, false, err
	}
	c = &client{nc: nc, r: packet.NewReader(nc, 0), v: t.Version}
	c.r.Client = true
	c.r.SetVersion(t.Version)
	cn := &packet.Connect{Version: t.Version, CleanStart: !l.keep, ClientID: l.id, KeepAlive: 0}
	if t.Version == packet.V5 && l.keep {
		expiry := uint32(sessionExpiry / time.Second)
		cn.Properties = &packet.Properties{SessionExpiryInterval: &expiry}
	}
	if t.Login != nil {
		user, password, err := t.Login(l.id)
		if err != nil {
			c.drop()
			return nil, false, err
		}
		cn.HasUsername, cn.Username = true, user
		cn.HasPassword, cn.Password = true, []byte(password)
	}
	a, err := ask[*packet.Connack](c, cn)
	if err != nil {
		c.drop()
		return nil, false, fmt.Errorf("CONNECT of %q: %w", l.id, err)
	}
	if a.Code != packet.Success {
		c.drop()
		return nil, false, fmt.Errorf("CONNECT of %q was refused: code 0x%02x", l.id, byte(a.Code))
	}
	c.receiveMaximum = maxWindow
	if p := a.Properties; p != nil && p.ReceiveMaximum != nil {
		c.receiveMaximum = min(maxWindow, int(*p.ReceiveMaximum))
	}
	return c, a.SessionPresent, nil
}

// sessionExpiry is the session expiry of MQTT 5 clients: longer than any run, but bounded.
const sessionExpiry = time.Hour

// ask sends a packet and waits for the answer, which is the next packet.
func ask[T packet.Packet](c *client, p packet.Packet) (T, error) {
	var none T
	if err := c.nc.SetDeadline(time.Now().Add(patience)); err != nil {
		return none, err
	}
	if err := c.write(p); err != nil {
		return none, err
	}
	answer, err := c.r.ReadPacket()
	if err != nil {
		return none, err
	}
	a, ok := answer.(T)
	if !ok {
		return none, fmt.Errorf("%s was answered with %s", p.Type(), answer.Type())
	}
	return a, c.nc.SetDeadline(time.Time{})
}

func (c *client) write(p packet.Packet) error {
	b, err := packet.Append(nil, p, c.v)
	if err == nil {
		_, err = c.nc.Write(b)
	}
	return err
}

// subscribe asks for one filter and waits for SUBACK.
func (c *client) subscribe(filter string, qos int) error {
	a, err := ask[*packet.Suback](c, &packet.Subscribe{PacketID: 1, Filters: []packet.Subscription{{Filter: filter, QoS: byte(qos)}}})
	if err != nil {
		return fmt.Errorf("SUBSCRIBE to %q: %w", filter, err)
	}
	if len(a.Codes) != 1 || a.Codes[0].Failed() {
		return fmt.Errorf("SUBSCRIBE to %q was refused: % x", filter, a.Codes)
	}
	return nil
}

// leave ends the connection with DISCONNECT.
func (c *client) leave() {
	_ = c.nc.SetDeadline(time.Now().Add(patience))
	_ = c.write(&packet.Disconnect{})
	c.drop()
}

// drop closes the connection.
func (c *client) drop() { _ = c.nc.Close() }

// stamp writes what a subscriber needs into a payload: when it was sent, in nanoseconds since the run began, the run, the publisher and its
// count.
func stamp(payload []byte, sent time.Duration, run, publisher, seq uint32) {
	binary.BigEndian.PutUint64(payload, uint64(sent))
	binary.BigEndian.PutUint32(payload[8:], run)
	binary.BigEndian.PutUint32(payload[12:], publisher)
	binary.BigEndian.PutUint32(payload[16:], seq)
}

// readStamp is the inverse of stamp; ok is false for payloads of other runs.
func readStamp(payload []byte, run uint32) (sent time.Duration, publisher, seq uint32, ok bool) {
	if len(payload) < MinSize || binary.BigEndian.Uint32(payload[8:]) != run {
		return 0, 0, 0, false
	}
	return time.Duration(
			binary.BigEndian.Uint64(payload),
		), binary.BigEndian.Uint32(
			payload[12:],
		), binary.BigEndian.Uint32(
			payload[16:],
		), true
}
