package mqttload

import (
	"context"
	"fmt"
	"time"

	"github.com/lmqgate/lmqgate/core/packet"
)

// ackBytes is the size at which a subscriber writes its batched acknowledgements even if more messages have arrived already.
const ackBytes = 2048

// receive reads, acknowledges and measures a subscriber's messages until ctx or the connection ends.
func (r *run) receive(ctx context.Context, i int, c *client) error {
	defer closeWith(ctx, c)()
	var out []byte
	last := make(map[uint32]uint32) // by publisher: the highest sequence number, plus one
	for {
		p, err := c.r.ReadPacket()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("subscriber %d: %w", i, err)
		}
		switch m := p.(type) {
		case *packet.Publish:
			r.took(i, m, last)
			switch m.QoS {
			case 1:
				out = packet.AppendAck(out, packet.PUBACK, m.PacketID, packet.Success, c.v)
			case 2:
				out = packet.AppendAck(out, packet.PUBREC, m.PacketID, packet.Success, c.v)
			}
		case *packet.Ack:
			if m.Kind == packet.PUBREL {
				out = packet.AppendAck(out, packet.PUBCOMP, m.PacketID, packet.Success, c.v)
			}
		case *packet.Disconnect:
			return fmt.Errorf("subscriber %d: the broker closed the connection: code 0x%02x", i, byte(m.Code))
		}
		if len(out) > 0 && (c.r.Buffered() == 0 || len(out) >= ackBytes) {
			_ = c.nc.SetWriteDeadline(time.Now().Add(patience)) // a closed connection fails at the write
			if _, err := c.nc.Write(out); err != nil && ctx.Err() == nil {
				return fmt.Errorf("subscriber %d: %w", i, err)
			}
			out = out[:0]
		}
	}
}

// took counts one message.
func (r *run) took(i int, m *packet.Publish, last map[uint32]uint32) {
	sent, publisher, seq, ok := readStamp(m.Payload, r.id)
	if !ok {
		return // a message of another run
	}
	now := r.since()
	r.arrived.Add(1)
	if r.measured(now) {
		r.delivered.Add(1)
	}
	if r.measured(sent) {
		r.delivery.record(i, now-sent)
	}
	if r.s.shared {
		return
	}
	if seq < last[publisher] {
		r.reordered.Add(1)
		return
	}
	last[publisher] = seq + 1
}
