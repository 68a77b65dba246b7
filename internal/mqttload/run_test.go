package mqttload

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"testing"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/mqtt/mqtttest"
	"github.com/lmqgate/lmqgate/core/packet"
)

// startBroker starts a broker of another project.
func startBroker(t *testing.T, hooks ...mochi.Hook) *Target {
	t.Helper()
	server := mochi.New(&mochi.Options{Logger: slog.New(slog.DiscardHandler)})
	if len(hooks) == 0 {
		hooks = []mochi.Hook{new(open)}
	}
	for _, h := range hooks {
		require.NoError(t, server.AddHook(h, nil))
	}
	l := listeners.NewTCP(listeners.Config{ID: "t", Address: "127.0.0.1:0"})
	require.NoError(t, server.AddListener(l))
	require.NoError(t, server.Serve())
	t.Cleanup(func() { l.Close(func(string) {}) }) // the server's own Close races with connections that it accepts
	return &Target{Name: "mochi", Version: packet.V311, Dial: func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", l.Address())
	}}
}

// startNode starts a gateway node. The other broker acknowledges a message before it queues it for a sleeping session, so a session that is
// resumed at once may miss the last message.
func startNode(t *testing.T) *Target {
	t.Helper()
	n := mqtttest.Start(t)
	return &Target{Name: "lmqgate", Version: packet.V311, Dial: func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", n.TCP().String())
	}}
}

func find(t *testing.T, name string) Scenario {
	t.Helper()
	s, ok := Find(name)
	require.True(t, ok, name)
	return s
}

func TestEachScenarioPlaysAtEachQoSAndVersion(t *testing.T) {
	for _, s := range Scenarios() {
		for _, v := range []packet.Version{packet.V311, packet.V5} {
			for qos := range 3 {
				if s.Name == "catchup" && qos == 0 {
					continue
				}
				t.Run(fmt.Sprintf("%s/%s/%d", s.Name, v, qos), func(t *testing.T) {
					t.Parallel()
					var b *Target
					if s.Name == "catchup" {
						b = startNode(t)
					} else {
						b = startBroker(t)
					}
					b.Version = v
					p := Plan{
						Publishers:  3,
						Subscribers: 2,
						Window:      4,
						QoS:         qos,
						Warmup:      -1,
						Duration:    200 * time.Millisecond,
					}
					if s.Name == "catchup" {
						p.Messages = 100
					}
					if s.Name == "catchup" || s.Name == "p2p" || s.Name == "fanin" {
						p.Subscribers = 1
					}
					if qos == 0 {
						p.Rate = 100 // a broker may drop messages that arrive too fast
					}
					r, err := Run(t.Context(), s, p, b, nil)
					// On a busy machine nothing may be done in so short a time.
					for err == nil && r.Delivery == nil && s.Name != "catchup" && p.Duration < 10*time.Second {
						p.Duration *= 4
						r, err = Run(t.Context(), s, p, b, nil)
					}
					require.NoError(t, err)
					require.Equal(t, s.Name, r.Scenario)
					require.Positive(t, r.Seconds)
					require.Zero(t, r.Missing)
					require.Zero(t, r.Reordered)
					if s.Name != "catchup" { // queued messages have no latency
						require.NotNil(t, r.Delivery)
						require.Positive(t, r.Delivery.P50)
						require.LessOrEqual(t, r.Delivery.P50, r.Delivery.Max)
					}
				})
			}
		}
	}
}

func TestAFlowOfSomeMessagesIsMeasuredUntilTheLastOneIsDelivered(t *testing.T) {
	b := startBroker(t)
	r, err := Run(t.Context(), find(t, "fanin"), Plan{QoS: 1, Publishers: 4, Subscribers: 1, Messages: 402, Duration: time.Nanosecond}, b, nil)
	require.NoError(t, err)
	require.Zero(t, r.Missing)
	require.Positive(t, r.Seconds)
	require.InDelta(t, 400, r.Rate*r.Seconds, 1e-6) // each publisher sends as many
	require.InDelta(t, 400, r.PublishRate*r.Seconds, 1e-6)
	require.NotNil(t, r.Delivery)
}

// lossy drops every tenth message on its way to a subscriber.
type lossy struct {
	mochi.HookBase
	n int
}

func (*lossy) ID() string           { return "lossy" }
func (*lossy) Provides(b byte) bool { return b == mochi.OnPublish }
func (l *lossy) OnPublish(_ *mochi.Client, pk packets.Packet) (packets.Packet, error) {
	if l.n++; l.n%10 == 0 {
		return pk, packets.CodeSuccessIgnore
	}
	return pk, nil
}

func TestWhatTheBrokerLosesIsMissing(t *testing.T) {
	b := startBroker(t, new(open), new(lossy))
	r, err := Run(t.Context(), find(t, "p2p"), Plan{QoS: 0, Rate: 500, Warmup: -1, Duration: time.Second}, b, nil)
	require.NoError(t, err)
	require.Positive(t, r.Missing)
}

func TestARefusalEndsTheRunWithItsReason(t *testing.T) {
	b := startBroker(t, new(closed))
	for _, name := range []string{"p2p", "conn", "sleep", "catchup"} {
		_, err := Run(t.Context(), find(t, name), Plan{QoS: -1, Publishers: 2, Duration: 100 * time.Millisecond}, b, nil)
		require.ErrorContains(t, err, "was refused", name)
	}
}

// open admits everybody.
type open struct{ mochi.HookBase }

func (*open) ID() string { return "open" }

func (*open) Provides(b byte) bool {
	return b == mochi.OnConnectAuthenticate || b == mochi.OnACLCheck
}

func (*open) OnConnectAuthenticate(*mochi.Client, packets.Packet) bool { return true }

func (*open) OnACLCheck(*mochi.Client, string, bool) bool { return true }

// closed admits nobody.
type closed struct{ mochi.HookBase }

func (*closed) ID() string                                               { return "closed" }
func (*closed) Provides(b byte) bool                                     { return b == mochi.OnConnectAuthenticate }
func (*closed) OnConnectAuthenticate(*mochi.Client, packets.Packet) bool { return false }

func TestARunThatIsInterruptedEndsSoonAndLeavesNoSessions(t *testing.T) {
	b := startBroker(t)
	for _, s := range Scenarios() {
		ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
		began := time.Now()
		_, _ = Run(ctx, s, Plan{QoS: -1, Publishers: 2, Subscribers: 1, Duration: time.Minute, Messages: 10_000_000}, b, nil)
		cancel()
		require.Less(t, time.Since(began), 50*time.Second, s.Name)
	}
}

func TestPlansOutOfRangeAreRefused(t *testing.T) {
	for want, p := range map[string]Plan{
		"window":     {Window: 40_000},
		"payload":    {Size: 3},
		"QoS":        {QoS: 3},
		"publishers": {Publishers: -1},
		"negative":   {Rate: -1},
	} {
		_, err := Run(t.Context(), find(t, "p2p"), p, &Target{}, nil)
		require.ErrorContains(t, err, want)
	}
}

func TestCompareTakesTurns(t *testing.T) {
	a, b := startBroker(t), startBroker(t)
	a.Name, b.Name = "a", "b"
	c, err := Compare(t.Context(), find(t, "p2p"), Plan{QoS: 1, Warmup: -1, Rate: 200, Duration: time.Second}, a, b, 3, nil)
	require.NoError(t, err)
	require.Len(t, c.A, 3)
	require.Len(t, c.B, 3)
	require.Positive(t, c.Rate)
	require.Positive(t, c.P50)
}

func TestTheMedianIsTheMiddle(t *testing.T) {
	require.Zero(t, Median(nil))
	require.InDelta(t, 2, Median([]float64{3, 1, 2}), 0)
	require.InDelta(t, 2.5, Median([]float64{4, 1, 2, 3}), 0)
}
