package main

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lmqgate/lmqgate/core/packet"
)

// load is one kind of traffic: payloads of 256 bytes, one topic per publisher, one subscriber for all.
type load struct {
	name       string
	publishers int
	window     int     // messages that a publisher has in flight
	rate       float64 // messages a second of all publishers together; 0: as fast as they are acknowledged
	qos2       bool    // otherwise QoS 1
	keep       bool    // persistent sessions
}

var loads = []load{
	{name: "256 publishers, a topic each", publishers: 256, window: 1},
	{name: "1 publisher, 1 topic, 1 in flight", publishers: 1, window: 1},
	{name: "1 publisher, 1 topic, 256 in flight", publishers: 1, window: 256},
	{name: "200 messages a second", publishers: 10, window: 16, rate: 200},
	{name: "64 publishers, QoS 2, clean sessions", publishers: 64, window: 1, qos2: true},
	{name: "64 publishers, QoS 2, persistent sessions", publishers: 64, window: 1, qos2: true, keep: true},
	{name: "1 publisher, 1 topic, 256 in flight, persistent sessions", publishers: 1, window: 256, keep: true},
}

// bare reports whether the bare producer is measured for comparison.
func (l load) bare() bool { return l.rate == 0 && !l.qos2 }

func (l load) qos() byte {
	if l.qos2 {
		return 2
	}
	return 1
}

// answer returns the type of the first answer to a message.
func (l load) answer() packet.Type {
	if l.qos2 {
		return packet.PUBREC
	}
	return packet.PUBACK
}

// result is the result of one measurement. Rates are per second, latencies (publish to delivery) in milliseconds.
type result struct {
	acked, delivered, p50, p99 float64
	missing                    int64
}

const payloadSize = 256

// load measures one kind of traffic. The delivered rate counts messages that arrived while the publishers ran. Acknowledged messages that
// did not arrive within 20 s after that are missing.
func (g *gateway) load(ctx context.Context, l load, round int, length time.Duration) (result, error) {
	first := "bench" + strconv.Itoa(round)
	if l.keep {
		first = "benchkeep" + strconv.Itoa(round) // messages of other loads shall not wait for these sessions
		defer g.endSessions(ctx, l, round)
	}
	sub, err := g.dial(ctx, subscriberID(round), l.keep)
	if err != nil {
		return result{}, err
	}
	defer sub.close()
	if err := sub.subscribe(first+"/#", l.qos()); err != nil {
		return result{}, err
	}
	pubs := make([]*client, l.publishers)
	for i := range pubs {
		if pubs[i], err = g.dial(ctx, publisherID(round, i), l.keep); err != nil {
			return result{}, err
		}
		defer pubs[i].close()
	}
	began := time.Now() // connects do not count
	var got, acked atomic.Int64
	var latencies []time.Duration
	done := make(chan struct{})
	go func() {
		defer close(done)
		var out []byte
		for {
			p, err := sub.r.ReadPacket()
			if err != nil {
				return
			}
			if a, ok := p.(*packet.Ack); ok && a.Kind == packet.PUBREL {
				out = packet.AppendAck(out[:0], packet.PUBCOMP, a.PacketID, packet.Success, packet.V311)
				if _, err := sub.nc.Write(out); err != nil {
					return
				}
			}
			if m, ok := p.(*packet.Publish); ok {
				sent, _ := strconv.ParseInt(string(m.Payload[:20]), 10, 64)
				latencies = append(latencies, time.Since(began)-time.Duration(sent))
				got.Add(1)
				out = packet.AppendAck(out[:0], l.answer(), m.PacketID, packet.Success, packet.V311)
				if _, err := sub.nc.Write(out); err != nil {
					return
				}
			}
		}
	}()
	var wg sync.WaitGroup
	errs := make(chan error, l.publishers)
	end := began.Add(length)
	for i, c := range pubs {
		wg.Go(func() {
			if err := c.publish(l, first+"/"+strconv.Itoa(i), began, end, &acked); err != nil {
				errs <- err
			}
		})
	}
	time.Sleep(time.Until(end))
	deliveredInTime := got.Load()
	elapsed := time.Since(began).Seconds()
	wg.Wait()
	for wait := time.Now().Add(20 * time.Second); got.Load() < acked.Load() && time.Now().Before(wait); {
		time.Sleep(10 * time.Millisecond)
	}
	sub.close()
	<-done
	select {
	case err := <-errs:
		return result{}, err
	default:
	}
	slices.Sort(latencies)
	r := result{
		acked:     float64(acked.Load()) / elapsed,
		delivered: float64(deliveredInTime) / elapsed,
		missing:   max(0, acked.Load()-got.Load()),
	}
	if n := len(latencies); n > 0 {
		r.p50, r.p99 = millis(latencies[n/2]), millis(latencies[n*99/100])
	}
	return r, nil
}

func subscriberID(round int) string { return fmt.Sprintf("bench-sub-%d", round) }

func publisherID(round, i int) string { return fmt.Sprintf("bench-pub-%d-%d", round, i) }

// endSessions removes the sessions that a load kept; errors do not matter, because the gateway ends with the bench.
func (g *gateway) endSessions(ctx context.Context, l load, round int) {
	ids := []string{subscriberID(round)}
	for i := range l.publishers {
		ids = append(ids, publisherID(round, i))
	}
	for _, id := range ids {
		if c, err := g.dial(ctx, id, false); err == nil {
			c.close()
		}
	}
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// client is a minimal MQTT 3.1.1 connection, so that the client costs as little as possible.
type client struct {
	nc net.Conn
	r  *packet.Reader
}

func (g *gateway) dial(ctx context.Context, id string, keep bool) (*client, error) {
	nc, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", g.mqtt)
	if err != nil {
		return nil, err
	}
	c := &client{nc: nc, r: packet.NewReader(nc, 0)}
	c.r.Client = true
	c.r.SetVersion(packet.V311)
	if err := c.write(&packet.Connect{Version: packet.V311, CleanStart: !keep, ClientID: id, HasUsername: true, Username: "bench",
		HasPassword: true, Password: []byte(password(id))}); err != nil {
		return nil, err
	}
	p, err := c.r.ReadPacket()
	if err != nil {
		return nil, fmt.Errorf("connect %s: %w", id, err)
	}
	if a, ok := p.(*packet.Connack); !ok || a.Code != 0 {
		return nil, fmt.Errorf("connect %s: refused: %+v", id, p)
	}
	return c, nil
}

func (c *client) close() { _ = c.nc.Close() }

func (c *client) write(p packet.Packet) error {
	b, err := packet.Append(nil, p, packet.V311)
	if err != nil {
		return err
	}
	_, err = c.nc.Write(b)
	return err
}

func (c *client) subscribe(filter string, qos byte) error {
	if err := c.write(&packet.Subscribe{PacketID: 1, Filters: []packet.Subscription{{Filter: filter, QoS: qos}}}); err != nil {
		return err
	}
	p, err := c.r.ReadPacket()
	if err != nil {
		return err
	}
	if s, ok := p.(*packet.Suback); !ok || s.Codes[0].Failed() {
		return fmt.Errorf("subscribe %s: refused: %+v", filter, p)
	}
	return nil
}

// publish sends until end and waits for messages in flight.
func (c *client) publish(l load, topic string, began, end time.Time, acked *atomic.Int64) error {
	if l.window == 1 && l.rate == 0 {
		return c.pingPong(l.qos(), topic, began, end, acked)
	}
	window := make(chan struct{}, l.window)
	failed := make(chan error, 1)
	go func() {
		for {
			p, err := c.r.ReadPacket()
			if err != nil {
				failed <- err
				return
			}
			if _, ok := p.(*packet.Ack); ok {
				acked.Add(1)
				<-window
			}
		}
	}()
	take := func() error {
		select {
		case window <- struct{}{}:
			return nil
		case err := <-failed:
			return fmt.Errorf("publisher of %s: %w", topic, err)
		case <-time.After(30 * time.Second):
			return fmt.Errorf("publisher of %s: no acknowledgement for 30 s", topic)
		}
	}
	payload := make([]byte, payloadSize)
	var b []byte
	var id uint16
	next := time.Now()
	for time.Now().Before(end) {
		if l.rate > 0 {
			time.Sleep(time.Until(next))
			next = next.Add(time.Duration(float64(l.publishers) / l.rate * float64(time.Second)))
		}
		if err := take(); err != nil {
			return err
		}
		if id++; id == 0 {
			id = 1
		}
		copy(payload, fmt.Sprintf("%020d", time.Since(began)))
		b = packet.AppendPublish(b[:0], packet.V311, &packet.Publish{QoS: 1, PacketID: id, Topic: topic, Payload: payload})
		if _, err := c.nc.Write(b); err != nil {
			return err
		}
	}
	for range l.window {
		if err := take(); err != nil {
			return err
		}
	}
	return nil
}

// pingPong is publish with one message in flight, without a second goroutine.
func (c *client) pingPong(qos byte, topic string, began, end time.Time, acked *atomic.Int64) error {
	payload := make([]byte, payloadSize)
	var b []byte
	for id := uint16(1); time.Now().Before(end); id = max(id+1, 1) {
		copy(payload, fmt.Sprintf("%020d", time.Since(began)))
		b = packet.AppendPublish(b[:0], packet.V311, &packet.Publish{QoS: qos, PacketID: id, Topic: topic, Payload: payload})
		if _, err := c.nc.Write(b); err != nil {
			return err
		}
		if err := c.nc.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
			return err
		}
		if _, err := c.r.ReadPacket(); err != nil {
			return fmt.Errorf("publisher of %s: no acknowledgement: %w", topic, err)
		}
		if qos == 2 {
			b = packet.AppendAck(b[:0], packet.PUBREL, id, packet.Success, packet.V311)
			if _, err := c.nc.Write(b); err != nil {
				return err
			}
			if _, err := c.r.ReadPacket(); err != nil {
				return fmt.Errorf("publisher of %s: no PUBCOMP: %w", topic, err)
			}
		}
		acked.Add(1)
	}
	return nil
}
