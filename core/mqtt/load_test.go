package mqtt_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/mqtt/mqtttest"
	"github.com/lmqgate/lmqgate/core/packet"
)

// flood publishes messages without waiting for single acknowledgements, and returns when all are acknowledged. It may run in a goroutine.
func flood(c *mqtttest.Client, count int, message func(i int) *packet.Publish) error {
	failed := make(chan error, 1)
	go func() {
		var b []byte
		for i := range count {
			p := message(i)
			p.PacketID = uint16(i%60000 + 1)
			if p.QoS == 0 {
				p.PacketID = 0
			}
			b, _ = packet.Append(b, p, c.Version) // a message that cannot be encoded is missed by the receiver
			if len(b) > 32<<10 || i == count-1 {
				if err := c.TrySendRaw(b...); err != nil {
					failed <- err
					return
				}
				b = b[:0]
			}
		}
		failed <- nil
	}()
	for i := range count {
		if message(i).QoS == 0 {
			continue
		}
		p, err := c.Receive(mqtttest.Patience)
		if err != nil {
			return fmt.Errorf("acknowledgement %d: %w", i, err)
		}
		if a, ok := p.(*packet.Ack); !ok || a.PacketID != uint16(i%60000+1) || a.Code != packet.Success {
			return fmt.Errorf("acknowledgement %d: got %+v", i, p)
		}
	}
	return <-failed
}

// take receives count messages, acknowledges those of QoS 1, and returns the payloads.
func take(c *mqtttest.Client, count int) ([]string, error) {
	got := make([]string, 0, count)
	for len(got) < count {
		p, err := c.Receive(mqtttest.Patience)
		if err != nil {
			return got, fmt.Errorf("after %d of %d messages: %w", len(got), count, err)
		}
		m, ok := p.(*packet.Publish)
		if !ok {
			return got, fmt.Errorf("got %+v", p)
		}
		if m.QoS == 1 {
			if err := c.TrySendRaw(packet.AppendAck(nil, packet.PUBACK, m.PacketID, packet.Success, c.Version)...); err != nil {
				return got, err
			}
		}
		got = append(got, string(m.Payload))
	}
	return got, nil
}

// leave ends a connection that has messages left to read.
func leave(c *mqtttest.Client) {
	c.Send(&packet.Disconnect{})
	for {
		if _, err := c.Receive(mqtttest.Patience); err != nil {
			c.Close()
			return
		}
	}
}

// numbered returns the payload "name i ", padded to size bytes.
func numbered(name string, i, size int) []byte {
	b := []byte(name + " " + strconv.Itoa(i) + " ")
	for len(b) < size {
		b = append(b, '.')
	}
	return b
}

// requireInOrder fails unless got has, for each name, the numbers from 0 up to its count, in order and without a gap.
func requireInOrder(t *testing.T, got []string, count map[string]int) {
	t.Helper()
	next := map[string]int{}
	for _, p := range got {
		f := strings.Fields(p)
		require.Equal(t, strconv.Itoa(next[f[0]]), f[1], "next of %s", f[0])
		next[f[0]]++
	}
	require.Equal(t, count, next)
}

// Proves 3.1.1: [MQTT-4.5.0-1] [MQTT-4.6.0-5] [MQTT-4.6.0-6]
// Proves 5.0: [MQTT-4.5.0-1] [MQTT-4.6.0-5] [MQTT-4.6.0-6]
func TestABurstLargerThanEveryWindowArrivesWholeAndInOrder(t *testing.T) {
	eachSession(t, func(t *testing.T, n *mqtttest.Node, v packet.Version, kind mqtttest.Option) {
		c := n.Connect(v, "c", kind)
		c.Subscribe(1, "T/+/x")
		const publishers, each = 6, 500
		var wg sync.WaitGroup
		errs := make(chan error, publishers)
		for i := range publishers {
			name := "p" + strconv.Itoa(i)
			pub := n.Connect(v, name)
			wg.Go(func() {
				errs <- flood(pub, each, func(i int) *packet.Publish {
					return &packet.Publish{Topic: "T/" + name + "/x", QoS: 1, Payload: numbered(name, i, 0)}
				})
			})
		}
		got, err := take(c, publishers*each)
		require.NoError(t, err)
		wg.Wait()
		want := map[string]int{}
		for i := range publishers {
			require.NoError(t, <-errs)
			want["p"+strconv.Itoa(i)] = each
		}
		requireInOrder(t, got, want)
	})
}

// A resumed session starts its packet ids at a random value in each process. About one process in eight starts in the last eighth of the
// range.
//
// Proves 3.1.1: [MQTT-2.3.1-4] [MQTT-4.6.0-6]
func TestPacketIDsWrapAround(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t)
	c := n.Connect(packet.V311, "c", mqtttest.Keep)
	c.Subscribe(1, "T/#")
	n.Connect(packet.V311, "pub").Publish(1, "T/first", "")
	const end = 1 << 16
	first := 0
	for tries := 0; first < end-end/8; tries++ {
		require.Less(t, tries, 500, "no process begins close to the last packet id")
		n.Crash()
		n.Restart()
		c = n.Connect(packet.V311, "c", mqtttest.Keep)
		p := c.ExpectPublish("T/first", "")
		first = int(p.PacketID)
	}
	const publishers = 5
	each := (end-first)/publishers + 100
	errs := make(chan error, publishers)
	want := map[string]int{}
	for i := range publishers {
		name := "p" + strconv.Itoa(i)
		want[name] = each
		pub := n.Connect(packet.V311, name)
		go func() {
			errs <- flood(pub, each, func(i int) *packet.Publish {
				return &packet.Publish{Topic: "T/" + name, QoS: 1, Payload: numbered(name, i, 0)}
			})
		}()
	}
	got := make([]string, 0, publishers*each)
	for last := first; len(got) < publishers*each; {
		p := mqtttest.Expect[*packet.Publish](c)
		if last++; last == end {
			last = 1
		}
		require.EqualValues(t, last, p.PacketID)
		c.Ack(p)
		got = append(got, string(p.Payload))
	}
	for range publishers {
		require.NoError(t, <-errs)
	}
	requireInOrder(t, got, want)
}

// Proves 3.1.1: [MQTT-3.1.2-5] [MQTT-4.5.0-1]
// Proves 5.0: [MQTT-3.1.2-23] [MQTT-4.5.0-1]
func TestAThousandMessagesWaitForASleepingSession(t *testing.T) {
	eachVersion(t, func(t *testing.T, n *mqtttest.Node, v packet.Version) {
		c := n.Connect(v, "c", mqtttest.Keep)
		c.Subscribe(1, "T/a", "T/#")
		c.Disconnect()
		require.NoError(t, flood(n.Connect(v, "pub"), 1000, func(i int) *packet.Publish {
			return &packet.Publish{Topic: "T/a", QoS: 1, Payload: numbered("p", i, 100)}
		}))
		n.Crash()
		n.Restart()
		// The client reconnects several times while it catches up. Each time it leaves its last messages unacknowledged.
		next := 0
		for next < 1000 {
			c = n.Connect(v, "c", mqtttest.Keep)
			got, err := take(c, min(230, 1000-next))
			require.NoError(t, err)
			for i, p := range got {
				require.Equal(t, strconv.Itoa(next+i), strings.Fields(p)[1])
			}
			next += len(got)
			leave(c)
		}
		c = n.Connect(v, "c", mqtttest.Keep)
		require.Empty(t, c.Ping())
	})
}

// gauge returns the value of a metric, the sum of its series.
func gauge(t *testing.T, r *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := r.Gather()
	require.NoError(t, err)
	for _, f := range families {
		if f.GetName() == name {
			total := 0.0
			for _, m := range f.GetMetric() {
				total += m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
			return total
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

// A client that does not read costs a bounded buffer. What exceeds the buffer is read from the store later.
//
// Proves 3.1.1: [MQTT-4.5.0-1] [MQTT-4.6.0-6]
func TestASlowSubscriberCostsLittleAndLosesNothing(t *testing.T) {
	for name, kind := range map[string]mqtttest.Option{"clean": func(*packet.Connect) {}, "persistent": mqtttest.Keep} {
		for _, qos := range []byte{0, 1} {
			t.Run(fmt.Sprintf("%s QoS %d", name, qos), func(t *testing.T) {
				t.Parallel()
				const budget = 256 << 10
				registry := prometheus.NewRegistry()
				n := mqtttest.Start(t, func(c *mqtttest.Config) { c.Delivery.MaxBuffered, c.Delivery.Registerer = budget, registry })
				slow := n.DialSlow(packet.V311).Connect("slow", kind)
				slow.Subscribe(qos, "T/#")
				fast := n.Connect(packet.V5, "fast")
				fast.Subscribe(1, "T/a")
				const count, size = 2500, 4096
				errs := make(chan error, 1)
				pub := n.Connect(packet.V311, "pub") // 3.1.1, because MQTT 5 would limit the messages in flight
				go func() {
					errs <- flood(pub, count, func(i int) *packet.Publish {
						return &packet.Publish{Topic: "T/a", QoS: 1, Payload: numbered("p", i, size)}
					})
				}()
				got, err := take(fast, count)
				require.NoError(t, err)
				requireInOrder(t, got, map[string]int{"p": count})
				require.NoError(t, <-errs)
				require.LessOrEqual(t, gauge(t, registry, "lmqgate_delivery_buffered_bytes"), float64(budget+2*size))
				got, err = take(slow, count)
				require.NoError(t, err)
				requireInOrder(t, got, map[string]int{"p": count})
			})
		}
	}
}

// A subscription without a queue that exceeds the limit drops messages at QoS 0. At QoS 1 the connection ends with a reason. There is never
// a silent gap.
func TestACleanSubscriberThatIsTooFarBehindIsToldOrDropsQoS0(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t, func(c *mqtttest.Config) { c.Delivery.MaxBuffered, c.Delivery.MaxBehind = 64<<10, 100 })
	zero := n.DialSlow(packet.V5).Connect("zero")
	zero.Subscribe(0, "T/#")
	one := n.DialSlow(packet.V5).Connect("one")
	one.Subscribe(1, "T/#")
	pub := n.Connect(packet.V311, "pub")
	const count = 3000
	require.NoError(t, flood(pub, count, func(i int) *packet.Publish {
		return &packet.Publish{Topic: "T/a", QoS: 1, Payload: numbered("p", i, 4096)}
	}))
	last, missing := -1, 0
	for last < count {
		p, err := zero.Receive(mqtttest.Patience)
		require.NoError(t, err)
		i, err := strconv.Atoi(strings.Fields(string(p.(*packet.Publish).Payload))[1]) //nolint:forcetypeassert // nothing else comes
		require.NoError(t, err)
		require.Greater(t, i, last, "in order")
		missing += i - last - 1
		if last = i; last == count-1 {
			break
		}
	}
	require.Positive(t, missing)
	next := 0
	for {
		p, err := one.Receive(mqtttest.Patience)
		if err != nil { // the DISCONNECT may not reach a client that reads so late
			break
		}
		if d, ok := p.(*packet.Disconnect); ok {
			require.Equal(t, packet.QuotaExceeded, d.Code)
			break
		}
		m := p.(*packet.Publish) //nolint:forcetypeassert // nothing else comes
		require.Equal(t, strconv.Itoa(next), strings.Fields(string(m.Payload))[1], "no gap before it")
		_ = one.TrySendRaw(packet.AppendAck(nil, packet.PUBACK, m.PacketID, packet.Success, one.Version)...)
		next++
	}
	require.Less(t, next, count)
}

// Proves 3.1.1: [MQTT-4.3.2-1]
// Proves 5.0: [MQTT-4.3.2-3]
func TestOverlappingFiltersOverCrashesLoseNothingAndRepeatOnlyWhatWasOpen(t *testing.T) {
	eachVersion(t, func(t *testing.T, n *mqtttest.Node, v packet.Version) {
		filters := []string{"T/#", "T/a", "T/+", "+/a", "#"}
		c := n.Connect(v, "c", mqtttest.Keep)
		c.Subscribe(1, filters...)
		c.Disconnect()
		const count = 400
		require.NoError(t, flood(n.Connect(v, "pub"), count, func(i int) *packet.Publish {
			return &packet.Publish{Topic: "T/a", QoS: 1, Payload: numbered("p", i, 0)}
		}))
		acked, seen := map[string]bool{}, map[string]bool{}
		rng := rand.New(rand.NewPCG(1, uint64(v)))
		for round := 0; len(acked) < count; round++ {
			require.Less(t, round, 50)
			c = n.Connect(v, "c", mqtttest.Keep)
			for range min(100, count-len(acked)) {
				p := mqtttest.Expect[*packet.Publish](c)
				name := string(p.Payload)
				require.False(t, acked[name], "%s was acknowledged and came again", name)
				seen[name] = true
				if round == 1 || rng.IntN(4) > 0 {
					acked[name] = true
					c.Ack(p)
				}
			}
			leave(c)
			if round == 1 { // everything so far is acknowledged
				mqtttest.Eventually(t, "progress is committed", func() bool {
					return slices.ContainsFunc(filters, func(f string) bool { return n.Lag("c", f) == int64(count-len(acked)) })
				})
				n.Crash()
				n.Restart()
			}
		}
		require.Len(t, seen, count)
	})
}
