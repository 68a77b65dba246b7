package e2e

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/packet"
)

// tally counts what the members of a group received, by message number.
type tally struct {
	mu       sync.Mutex
	acked    []bool
	left     int
	patient  bool // members acknowledge everything
	wrong    []string
	probes   map[string]bool
	changed  chan struct{}
	byMember map[string]int
}

func newTally(n int) *tally {
	return &tally{acked: make([]bool, n), left: n, probes: map[string]bool{}, changed: make(chan struct{}, 1), byMember: map[string]int{}}
}

// got records a delivery. It returns the message's number (-1 if it has none) and whether to acknowledge it.
func (y *tally) got(p *packet.Publish) (int, bool) {
	y.mu.Lock()
	defer y.mu.Unlock()
	n, err := strconv.Atoi(string(p.Payload))
	if err != nil {
		y.probes[string(p.Payload)] = true
		return -1, true
	}
	if y.acked[n] {
		y.wrong = append(y.wrong, fmt.Sprintf("message %d came after it was acknowledged", n))
	}
	return n, y.patient || rand.IntN(50) > 0
}

func (y *tally) ack(member string, n int) {
	y.mu.Lock()
	if !y.acked[n] {
		y.acked[n] = true
		y.left--
		y.byMember[member]++
	}
	y.mu.Unlock()
	select {
	case y.changed <- struct{}{}:
	default:
	}
}

func (y *tally) rest() (left int, wrong []string) {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.left, append([]string(nil), y.wrong...)
}

// member is a member of a group that knows which of its acknowledgements the gateway has processed.
type member struct {
	id   string
	conn net.Conn
	y    *tally

	mu    sync.Mutex
	dying bool
	pong  chan struct{}
	done  chan struct{}
}

// join connects a member and subscribes. The member never acknowledges one in fifty messages.
func join(t *testing.T, g *Gateway, y *tally, id, filter string, v packet.Version, keep bool) *member {
	t.Helper()
	conn, err := net.DialTimeout("tcp", g.TCP, patience)
	require.NoError(t, err)
	m := &member{id: id, conn: conn, y: y, pong: make(chan struct{}, 1), done: make(chan struct{})}
	cn := &packet.Connect{
		Version:     v,
		CleanStart:  !keep,
		ClientID:    id,
		Username:    user,
		HasUsername: true,
		HasPassword: true,
		Password:    []byte(Password(id)),
	}
	if v == packet.V5 {
		cn.Properties = &packet.Properties{ReceiveMaximum: new(uint16(20))}
		if keep {
			cn.Properties.SessionExpiryInterval = new(uint32(60))
		}
	}
	subscribed := make(chan error, 1)
	go m.read(v, subscribed)
	require.NoError(t, m.write(v, cn, &packet.Subscribe{PacketID: 1, Filters: []packet.Subscription{{Filter: filter, QoS: 1}}}))
	select {
	case err := <-subscribed:
		require.NoError(t, err, "member %q", id)
	case <-time.After(patience):
		t.Fatalf("member %q gets no SUBACK", id)
	}
	return m
}

func (m *member) write(v packet.Version, packets ...packet.Packet) error {
	var b []byte
	for _, p := range packets {
		var err error
		if b, err = packet.Append(b, p, v); err != nil {
			return err
		}
	}
	_ = m.conn.SetWriteDeadline(time.Now().Add(patience))
	_, err := m.conn.Write(b)
	return err
}

// read processes packets until the connection ends.
func (m *member) read(v packet.Version, subscribed chan<- error) {
	defer close(m.done)
	r := packet.NewReader(m.conn, 0)
	r.Client = true
	r.SetVersion(v)
	defer r.Release()
	for {
		p, err := r.ReadPacket()
		if err != nil {
			select {
			case subscribed <- err:
			default:
			}
			return
		}
		switch p := p.(type) {
		case *packet.Suback:
			var err error
			if p.Codes[0] != 1 {
				err = fmt.Errorf("SUBACK has code %#x", p.Codes[0])
			}
			subscribed <- err
		case *packet.Pingresp:
			m.pong <- struct{}{}
		case *packet.Publish:
			n, ack := m.y.got(p)
			m.mu.Lock()
			if ack && !m.dying {
				if m.write(v, &packet.Ack{Kind: packet.PUBACK, PacketID: p.PacketID}) == nil && n >= 0 {
					m.y.ack(m.id, n)
				}
			}
			m.mu.Unlock()
		}
	}
}

// kill cuts the connection after the gateway has processed every counted acknowledgement.
func (m *member) kill(t *testing.T, v packet.Version) {
	t.Helper()
	m.mu.Lock()
	m.dying = true
	m.mu.Unlock()
	require.NoError(t, m.write(v, &packet.Pingreq{}))
	select {
	case <-m.pong:
	case <-m.done:
		t.Errorf("member %q lost its connection", m.id)
	case <-time.After(patience):
		t.Fatalf("member %q gets no PINGRESP", m.id)
	}
	require.NoError(t, m.conn.Close())
	<-m.done
}
