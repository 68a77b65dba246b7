//go:build fault

package e2e

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/plugins/meta-etcd/etcdtest"
)

// TestSubscribersThatMoveAmongThreeGatewaysMissNothing continuously moves persistent subscribers to another gateway, with their old
// connections left open, as behind a load balancer without affinity.
func TestSubscribersThatMoveAmongThreeGatewaysMissNothing(t *testing.T) {
	onOneNode(t, ownNodes)
	profiles := map[string]func(t *testing.T) profile{
		"name servers": func(*testing.T) profile { return rocketmqProfile },
		"etcd":         func(t *testing.T) profile { return onEtcd(rocketmqProfile, etcdtest.Start(t, etcdtest.Options{})) },
	}
	for name, of := range profiles {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := of(t)
			nodes := []*Gateway{start(t, p), start(t, p), start(t, p)}
			first := nodes[0].Topic("moves")
			for _, n := range nodes {
				eventually(t, patience, func() error { return n.knows(first) })
			}
			const publishers, messages = 3, 200
			for qos := byte(1); qos <= 2; qos++ {
				r := &rover{id: nodes[0].Name(fmt.Sprintf("rover%d", qos)), filter: fmt.Sprintf("%s/%d/#", first, qos), qos: qos,
					seen: map[string]int{}, last: map[string]int{}, pending: map[uint16]bool{}}
				require.NoError(t, r.move(nodes[0], true))
				var senders []*client
				for i := range publishers {
					senders = append(senders, nodes[i].connect(t, nodes[0].Name(fmt.Sprintf("sender%d-%d", qos, i))))
				}
				var wg sync.WaitGroup
				for i, c := range senders {
					wg.Go(func() {
						var tokens []paho.Token
						for n := range messages {
							tokens = append(tokens, c.Publish(fmt.Sprintf("%s/%d/%d", first, qos, i), qos, false, fmt.Sprintf("%d:%d", i, n)))
							time.Sleep(20 * time.Millisecond)
						}
						for _, token := range tokens {
							if !token.WaitTimeout(patience) || token.Error() != nil {
								t.Errorf("a message is not acknowledged: %v", token.Error())
							}
						}
					})
				}
				published := make(chan struct{})
				go func() { wg.Wait(); close(published) }()
				moves := 0
				for over := false; !over; moves++ {
					select {
					case <-published:
						over = true
					case <-time.After(200 * time.Millisecond):
					}
					require.NoError(t, r.move(nodes[(moves+1)%len(nodes)], false), "move %d", moves)
				}
				eventually(t, patience, func() error { return r.complete(publishers * messages) })
				duplicates, disorder := r.faults()
				slices.Sort(r.open)
				t.Logf("QoS %d: %d moves, %d messages, %d duplicates; old connections open for %v at most", qos, moves,
					publishers*messages, duplicates, r.open[len(r.open)-1])
				require.Less(t, r.open[len(r.open)/2], time.Second, "the median, which other work on the machine hardly moves")
				require.Empty(t, disorder)
				if qos == 2 {
					require.Zero(t, duplicates)
				}
				require.LessOrEqual(t, duplicates, publishers*messages/20)
				r.leave()
			}
		})
	}
}

// rover is one client id with a persistent session, and all the connections that it has opened. It acknowledges messages on the connection
// on which they arrive.
type rover struct {
	id, filter string
	qos        byte
	now        net.Conn
	ended      <-chan struct{} // closed when the gateway has closed the present connection
	open       []time.Duration // how long old connections were open after CONNACK
	live       sync.WaitGroup

	mu       sync.Mutex
	seen     map[string]int
	last     map[string]int
	pending  map[uint16]bool // QoS 2 packet ids that were not released yet
	dups     int
	disorder []string
}

// move connects to a gateway while the last connection is open, and waits until the last one is closed.
func (r *rover) move(g *Gateway, first bool) error {
	conn, err := net.DialTimeout("tcp", g.TCP, patience)
	if err != nil {
		return err
	}
	packets := []packet.Packet{&packet.Connect{Version: packet.V311, ClientID: r.id, Username: user, HasUsername: true,
		HasPassword: true, Password: []byte(Password(r.id))}}
	if first {
		packets = append(packets, &packet.Subscribe{PacketID: 1, Filters: []packet.Subscription{{Filter: r.filter, QoS: r.qos}}})
	}
	if err := send(conn, packets...); err != nil {
		return err
	}
	admitted, closed := make(chan error, 1), make(chan struct{})
	r.live.Go(func() { defer close(closed); r.read(conn, first, admitted) })
	select {
	case err = <-admitted:
	case <-time.After(patience):
		err = errors.New("no CONNACK")
	}
	if err != nil {
		return fmt.Errorf("connecting to %s: %w", g.TCP, err)
	}
	old, was := r.now, r.ended
	r.now, r.ended = conn, closed
	if old == nil {
		return nil
	}
	begin := time.Now()
	select {
	case <-was:
		r.open = append(r.open, time.Since(begin))
		return nil
	case <-time.After(30 * time.Second): // it has no keep alive, so nothing else would close it
		return errors.New("the old connection is open half a minute later")
	}
}

func send(conn net.Conn, packets ...packet.Packet) error {
	var b []byte
	for _, p := range packets {
		var err error
		if b, err = packet.Append(b, p, packet.V311); err != nil {
			return err
		}
	}
	_ = conn.SetWriteDeadline(time.Now().Add(patience))
	_, err := conn.Write(b)
	return err
}

func (r *rover) read(conn net.Conn, first bool, admitted chan<- error) {
	defer func() { _ = conn.Close() }()
	in := packet.NewReader(conn, 0)
	in.Client = true
	in.SetVersion(packet.V311)
	defer in.Release()
	for {
		p, err := in.ReadPacket()
		if err != nil {
			select {
			case admitted <- err:
			default:
			}
			return
		}
		switch p := p.(type) {
		case *packet.Connack:
			switch {
			case p.Code != packet.Success:
				admitted <- fmt.Errorf("CONNACK has code %#x", byte(p.Code))
			case !first && !p.SessionPresent:
				admitted <- errors.New("the session is lost")
			case !first:
				admitted <- nil
			}
		case *packet.Suback:
			admitted <- nil
		case *packet.Publish:
			r.got(p)
			kind := packet.PUBACK
			if p.QoS == 2 {
				kind = packet.PUBREC
			}
			_ = send(conn, &packet.Ack{Kind: kind, PacketID: p.PacketID})
		case *packet.Ack:
			if p.Kind == packet.PUBREL {
				r.mu.Lock()
				delete(r.pending, p.PacketID)
				r.mu.Unlock()
				_ = send(conn, &packet.Ack{Kind: packet.PUBCOMP, PacketID: p.PacketID})
			}
		}
	}
}

func (r *rover) got(p *packet.Publish) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p.QoS == 2 {
		if r.pending[p.PacketID] {
			return // resent; the client has it already
		}
		r.pending[p.PacketID] = true
	}
	payload := string(p.Payload)
	if r.seen[payload]++; r.seen[payload] > 1 {
		r.dups++
		return
	}
	who, number, _ := strings.Cut(payload, ":")
	n, _ := strconv.Atoi(number)
	if last, ok := r.last[who]; ok && n < last {
		r.disorder = append(r.disorder, fmt.Sprintf("%s after %d", payload, last))
		return
	}
	r.last[who] = n
}

func (r *rover) complete(n int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.seen) != n {
		return fmt.Errorf("%d of %d messages came", len(r.seen), n)
	}
	return nil
}

func (r *rover) faults() (duplicates int, disorder []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.dups, r.disorder
}

// leave drops the connection.
func (r *rover) leave() {
	_ = r.now.Close()
	r.live.Wait()
	r.now = nil
}
