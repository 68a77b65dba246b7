package mqttload

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/lmqgate/lmqgate/core/packet"
)

// burst is how many messages a publisher writes at once if its window has room.
const burst = 64

// publisher sends one client's messages. One goroutine writes messages and one reads answers; both hold mu while they write.
type publisher struct {
	r     *run
	c     *client
	index int
	topic string

	window chan struct{} // a token for each message in flight
	times  []time.Duration
	failed chan error

	mu  sync.Mutex
	out []byte
}

// publish sends messages of client i until it reaches its goal, and waits until all are acknowledged.
func (r *run) publish(ctx context.Context, i int, c *client, done goal) error {
	defer closeWith(ctx, c)()
	window := min(r.p.Window, c.receiveMaximum)
	slots := 1
	for slots < 2*window {
		slots *= 2
	}
	p := &publisher{r: r, c: c, index: i, topic: r.s.topic(&r.p, i), window: make(chan struct{}, window),
		times: make([]time.Duration, slots), failed: make(chan error, 1)}
	if r.p.QoS > 0 {
		go p.read()
	}
	err := p.send(ctx, done)
	for range window {
		if err != nil || r.p.QoS == 0 {
			break
		}
		err = p.take()
	}
	if err != nil && ctx.Err() != nil {
		return nil // caused by another client's failure or the end of the run
	}
	if err != nil {
		return fmt.Errorf("publisher of %q: %w", p.topic, err)
	}
	return nil
}

// take waits for room in the window.
func (p *publisher) take() error {
	select {
	case p.window <- struct{}{}:
		return nil
	default:
	}
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case p.window <- struct{}{}:
		return nil
	case err := <-p.failed:
		return err
	case <-late.C:
		return errSilent
	}
}

func (p *publisher) send(ctx context.Context, done goal) error {
	payload := make([]byte, p.r.p.Size)
	pause := p.pause()
	next := p.r.since()
	for n := 0; !done(n, p.r.since()); {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if pause > 0 {
			time.Sleep(next - p.r.since())
			next += pause
		}
		if p.r.p.QoS > 0 {
			if err := p.take(); err != nil {
				return err
			}
		}
		p.mu.Lock()
		p.add(payload, n)
		n++
		for more := 1; more < burst && pause == 0 && !done(n, p.r.since()) && p.room(); more++ {
			p.add(payload, n)
			n++
		}
		err := p.flush()
		p.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

// room takes a slot in the window if one is free.
func (p *publisher) room() bool {
	if p.r.p.QoS == 0 {
		return true
	}
	select {
	case p.window <- struct{}{}:
		return true
	default:
		return false
	}
}

// pause returns the time between two messages; 0: none.
func (p *publisher) pause() time.Duration {
	if p.r.p.Rate <= 0 {
		return 0
	}
	return time.Duration(float64(p.r.p.Publishers) / p.r.p.Rate * float64(time.Second))
}

// add appends message n to the write buffer. Called with mu held.
func (p *publisher) add(payload []byte, n int) {
	r := p.r
	now := r.since()
	id := uint16(n%65_535) + 1
	stamp(payload, now, r.id, uint32(p.index), uint32(n))
	m := packet.Publish{QoS: byte(r.p.QoS), Topic: p.topic, Payload: payload}
	if r.p.QoS > 0 {
		m.PacketID = id
		p.times[int(id)%len(p.times)] = now
	} else {
		r.sent.Add(1)
	}
	if r.measured(now) {
		r.published.Add(1)
	}
	p.out = packet.AppendPublish(p.out, p.c.v, &m)
}

// flush writes the write buffer. Called with mu held.
func (p *publisher) flush() error {
	if len(p.out) == 0 {
		return nil
	}
	if err := p.c.nc.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, err := p.c.nc.Write(p.out)
	p.out = p.out[:0]
	return err
}

// read processes the broker's answers until the connection ends.
func (p *publisher) read() {
	for {
		m, err := p.c.r.ReadPacket()
		if err == nil {
			err = p.answered(m)
		}
		if err == nil && p.c.r.Buffered() == 0 {
			p.mu.Lock()
			err = p.flush()
			p.mu.Unlock()
		}
		if err != nil {
			p.failed <- err
			return
		}
	}
}

func (p *publisher) answered(m packet.Packet) error {
	a, ok := m.(*packet.Ack)
	if !ok {
		if d, is := m.(*packet.Disconnect); is {
			return fmt.Errorf("the broker closed the connection: code 0x%02x", byte(d.Code))
		}
		return fmt.Errorf("the broker sent %s", m.Type())
	}
	if a.Code.Failed() {
		return fmt.Errorf("PUBLISH was refused: code 0x%02x", byte(a.Code))
	}
	r := p.r
	if a.Kind == packet.PUBACK || a.Kind == packet.PUBREC {
		p.mu.Lock()
		sent := p.times[int(a.PacketID)%len(p.times)]
		if a.Kind == packet.PUBREC {
			p.out = packet.AppendAck(p.out, packet.PUBREL, a.PacketID, packet.Success, p.c.v)
		}
		p.mu.Unlock()
		now := r.since()
		r.sent.Add(1)
		if r.measured(sent) {
			r.answer.record(p.index, now-sent)
		}
		if r.measured(now) {
			r.acked.Add(1)
		}
	}
	if a.Kind == packet.PUBREC {
		return nil
	}
	select {
	case <-p.window:
		return nil
	default:
		return errors.New("the broker acknowledged more than it was sent")
	}
}
