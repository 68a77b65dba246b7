package mqtt_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/mqtt/mqtttest"
	"github.com/lmqgate/lmqgate/core/mqtt/packet"
)

// link is a connection of a client that keeps its own state over connections, as the protocol wants it.
type link struct {
	nc net.Conn
	r  *packet.Reader
	v  packet.Version
}

func open(t *testing.T, n *mqtttest.Node, v packet.Version, id string) *link {
	t.Helper()
	nc, err := net.DialTimeout("tcp", n.TCP().String(), mqtttest.Patience)
	require.NoError(t, err)
	require.NoError(t, nc.SetDeadline(time.Now().Add(time.Minute)))
	l := &link{nc: nc, r: packet.NewReader(nc, 0), v: v}
	l.r.Client = true
	l.r.SetVersion(v)
	cn := &packet.Connect{Version: v, ClientID: id}
	mqtttest.Keep(cn)
	require.NoError(t, l.send(cn))
	p, err := l.r.ReadPacket()
	require.NoError(t, err)
	require.Equal(t, packet.Success, p.(*packet.Connack).Code) //nolint:forcetypeassert // fails the test
	return l
}

func (l *link) send(p packet.Packet) error {
	b, err := packet.Append(nil, p, l.v)
	if err == nil {
		_, err = l.nc.Write(b)
	}
	return err
}

// sender publishes numbered messages at QoS 2.
type sender struct {
	mu       sync.Mutex
	next     int
	id       uint16
	inFlight []*outgoing
}

type outgoing struct {
	id       uint16
	payload  string
	received bool // PUBREC came
}

const senderWindow = 6

// run publishes until the connection breaks, or until last was completed.
func (s *sender) run(l *link, last int) error {
	for _, m := range s.inFlight { // what the last connection left behind
		if m.received {
			if err := l.send(&packet.Ack{Kind: packet.PUBREL, PacketID: m.id}); err != nil {
				return err
			}
			continue
		}
		if err := s.publish(l, m, true); err != nil {
			return err
		}
	}
	for {
		for len(s.inFlight) < senderWindow && s.next < last {
			s.id = s.id%senderWindow + 1 // ids are used again as soon as may be
			for slices.ContainsFunc(s.inFlight, func(m *outgoing) bool { return m.id == s.id }) {
				s.id = s.id%senderWindow + 1
			}
			m := &outgoing{id: s.id, payload: strconv.Itoa(s.next)}
			s.mu.Lock()
			s.next++
			s.mu.Unlock()
			s.inFlight = append(s.inFlight, m)
			if err := s.publish(l, m, false); err != nil {
				return err
			}
		}
		if len(s.inFlight) == 0 {
			return nil
		}
		p, err := l.r.ReadPacket()
		if err != nil {
			return err
		}
		a, ok := p.(*packet.Ack)
		if !ok {
			return fmt.Errorf("publisher: got %T", p)
		}
		i := slices.IndexFunc(s.inFlight, func(m *outgoing) bool { return m.id == a.PacketID })
		switch {
		case i < 0:
		case a.Kind == packet.PUBREC && a.Code.Failed(): // refused, because the node is dying: sent again
			return fmt.Errorf("publisher: %s", a.Code)
		case a.Kind == packet.PUBREC:
			s.inFlight[i].received = true
			if err := l.send(&packet.Ack{Kind: packet.PUBREL, PacketID: a.PacketID}); err != nil {
				return err
			}
		case a.Kind == packet.PUBCOMP:
			s.inFlight = slices.Delete(s.inFlight, i, i+1)
		}
	}
}

func (s *sender) publish(l *link, m *outgoing, dup bool) error {
	return l.send(&packet.Publish{QoS: 2, Dup: dup, PacketID: m.id, Topic: "T/a", Payload: []byte(m.payload)})
}

// receiver takes messages at QoS 2, each once by its packet id.
type receiver struct {
	mu   sync.Mutex
	held map[uint16]bool
	got  []string
}

func (r *receiver) run(l *link) error {
	for {
		p, err := l.r.ReadPacket()
		if err != nil {
			return err
		}
		switch p := p.(type) {
		case *packet.Publish:
			r.mu.Lock()
			if !r.held[p.PacketID] {
				r.held[p.PacketID] = true
				r.got = append(r.got, string(p.Payload))
			}
			r.mu.Unlock()
			err = l.send(&packet.Ack{Kind: packet.PUBREC, PacketID: p.PacketID})
		case *packet.Ack:
			r.mu.Lock()
			delete(r.held, p.PacketID)
			r.mu.Unlock()
			err = l.send(&packet.Ack{Kind: packet.PUBCOMP, PacketID: p.PacketID})
		}
		if err != nil {
			return err
		}
	}
}

func (r *receiver) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.got)
}

// Both clients keep their state, as the protocol wants it; the gateway is killed again and again.
//
// Proves 3.1.1: [MQTT-4.3.3-1] [MQTT-4.3.3-2] [MQTT-4.4.0-1] [MQTT-3.1.2-4]
// Proves 5.0: [MQTT-4.3.3-2] [MQTT-4.3.3-8] [MQTT-4.4.0-1]
func TestQoS2IsExactlyOnceHoweverOftenTheGatewayDies(t *testing.T) {
	eachVersion(t, func(t *testing.T, n *mqtttest.Node, v packet.Version) {
		const crashes = 12
		n.Connect(v, "sub", mqtttest.Keep).Subscribe(2, "T/+", "T/#")
		n.Connect(v, "pub", mqtttest.Keep)
		s, r := &sender{}, &receiver{held: map[uint16]bool{}}
		for i := range crashes + 1 {
			last := 1 << 30
			if i == crashes {
				last = s.next + 10
			}
			pub, sub := open(t, n, v, "pub"), open(t, n, v, "sub")
			var wg sync.WaitGroup
			var failed error
			wg.Go(func() { failed = s.run(pub, last) })
			wg.Go(func() { _ = r.run(sub) })
			if i < crashes {
				before, more := r.count(), rand.IntN(40)
				mqtttest.Eventually(t, "messages flow", func() bool { return r.count() >= before+more })
				n.Crash()
				n.Restart()
			} else {
				mqtttest.Eventually(t, "everything is there", func() bool { return r.count() >= last })
				require.NoError(t, pub.nc.SetReadDeadline(time.Now().Add(mqtttest.Patience)))
			}
			if i == crashes {
				_ = sub.nc.Close()
			}
			wg.Wait()
			_, _ = pub.nc.Close(), sub.nc.Close()
			if i == crashes {
				require.NoError(t, failed)
			}
		}
		want := make([]string, s.next)
		for i := range want {
			want[i] = strconv.Itoa(i)
		}
		require.Equal(t, want, r.got, "each message once, in order")
	})
}

// Proves 5.0: [MQTT-4.3.3-10]
func TestAQoS2MessageThatIsStoredIsNotStoredAgainAfterACrash(t *testing.T) {
	eachVersion(t, func(t *testing.T, n *mqtttest.Node, v packet.Version) {
		sub := n.Connect(v, "sub", mqtttest.Keep)
		sub.Subscribe(1, "T/a")
		pub := n.Connect(v, "pub", mqtttest.Keep)
		send := func(c *mqtttest.Client, id uint16, text string, dup bool) {
			c.Send(&packet.Publish{QoS: 2, PacketID: id, Topic: "T/a", Payload: []byte(text), Dup: dup})
		}
		// 7 is complete, 8 stored and acknowledged, 9 acknowledged as well.
		for id := uint16(7); id <= 9; id++ {
			send(pub, id, "m"+strconv.Itoa(int(id)), false)
			require.Equal(t, packet.PUBREC, mqtttest.Expect[*packet.Ack](pub).Kind)
		}
		pub.Send(&packet.Ack{Kind: packet.PUBREL, PacketID: 7})
		require.Equal(t, packet.PUBCOMP, mqtttest.Expect[*packet.Ack](pub).Kind)
		n.Crash()
		n.Restart()
		pub = n.Connect(v, "pub", mqtttest.Keep)
		send(pub, 8, "m8", true)
		require.Equal(t, packet.PUBREC, mqtttest.Expect[*packet.Ack](pub).Kind)
		send(pub, 7, "another", false) // the id is free
		require.Equal(t, packet.PUBREC, mqtttest.Expect[*packet.Ack](pub).Kind)
		for _, id := range []uint16{9, 8, 7} {
			pub.Send(&packet.Ack{Kind: packet.PUBREL, PacketID: id})
			a := mqtttest.Expect[*packet.Ack](pub)
			require.Equal(t, packet.PUBCOMP, a.Kind)
			require.Equal(t, packet.Success, a.Code)
		}
		send(pub, 9, "m9", true) // released: a message of its own
		require.Equal(t, packet.PUBREC, mqtttest.Expect[*packet.Ack](pub).Kind)
		sub = n.Connect(v, "sub", mqtttest.Keep)
		for _, text := range []string{"m7", "m8", "m9", "another", "m9"} {
			sub.Ack(sub.ExpectPublish("T/a", text))
		}
		require.Empty(t, sub.Ping())
	})
}

func TestAQoS2MessageIsResentUnderItsPacketIDAfterACrash(t *testing.T) {
	eachVersion(t, func(t *testing.T, n *mqtttest.Node, v packet.Version) {
		c := n.Connect(v, "c", mqtttest.Keep)
		c.Subscribe(2, "T/a")
		pub := n.Connect(v, "pub")
		for _, text := range []string{"released", "received", "done"} {
			pub.Publish(2, "T/a", text)
		}
		first := map[string]*packet.Publish{}
		for _, text := range []string{"released", "received", "done"} {
			first[text] = c.ExpectPublish("T/a", text)
		}
		rec := func(text string) {
			c.Send(&packet.Ack{Kind: packet.PUBREC, PacketID: first[text].PacketID})
			a := mqtttest.Expect[*packet.Ack](c)
			require.Equal(t, packet.PUBREL, a.Kind)
			require.Equal(t, first[text].PacketID, a.PacketID)
		}
		rec("released")
		rec("done")
		c.Send(&packet.Ack{Kind: packet.PUBCOMP, PacketID: first["done"].PacketID})
		require.Empty(t, c.Ping())
		n.Crash()
		n.Restart()
		c = n.Connect(v, "c", mqtttest.Keep)
		// PUBREL for what the client has acknowledged, the rest again under its id, and nothing a second time.
		var again *packet.Publish
		for released := false; !released || again == nil; {
			switch p := c.Next().(type) {
			case *packet.Publish:
				require.Nil(t, again, "%s", p.Payload)
				require.Equal(t, "received", string(p.Payload))
				again = p
			case *packet.Ack: // perhaps of "done" as well
				require.Equal(t, packet.PUBREL, p.Kind)
				c.Send(&packet.Ack{Kind: packet.PUBCOMP, PacketID: p.PacketID})
				released = released || p.PacketID == first["released"].PacketID
			}
		}
		require.Equal(t, first["received"].PacketID, again.PacketID)
		require.Empty(t, c.Ping())
	})
}

func TestARetainedQoS2MessageLeavesNoPacketIDBehindAfterACrash(t *testing.T) {
	eachVersion(t, func(t *testing.T, n *mqtttest.Node, v packet.Version) {
		n.Connect(v, "pub").Retain(2, "T/a", "kept")
		c := n.Connect(v, "c", mqtttest.Keep)
		c.Subscribe(2, "T/a")
		p := c.ExpectPublish("T/a", "kept")
		require.EqualValues(t, 2, p.QoS)
		n.Crash()
		n.Restart()
		c = n.Connect(v, "c", mqtttest.Keep)
		a := mqtttest.Expect[*packet.Ack](c)
		require.Equal(t, packet.PUBREL, a.Kind)
		require.Equal(t, p.PacketID, a.PacketID)
		c.Send(&packet.Ack{Kind: packet.PUBCOMP, PacketID: a.PacketID})
		require.Empty(t, c.Ping())
	})
}
