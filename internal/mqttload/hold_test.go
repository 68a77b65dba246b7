package mqttload

import (
	"sync/atomic"
	"testing"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/stretchr/testify/require"
)

// census counts the clients and subscriptions of a broker.
type census struct {
	mochi.HookBase
	clients, filters atomic.Int64
}

func (*census) ID() string { return "census" }
func (*census) Provides(b byte) bool {
	return b == mochi.OnSessionEstablished || b == mochi.OnDisconnect || b == mochi.OnSubscribed
}
func (c *census) OnSessionEstablished(*mochi.Client, packets.Packet)       { c.clients.Add(1) }
func (c *census) OnDisconnect(*mochi.Client, error, bool)                  { c.clients.Add(-1) }
func (c *census) OnSubscribed(_ *mochi.Client, _ packets.Packet, _ []byte) { c.filters.Add(1) }

func TestHeldClientsStayUntilTheyAreReleased(t *testing.T) {
	all := new(census)
	b := startBroker(t, new(open), all)
	release, err := Hold(t.Context(), b, 40, "idle")
	require.NoError(t, err)
	require.EqualValues(t, 40, all.clients.Load())
	require.Eventually(t, func() bool { return all.filters.Load() == 40 }, 30*time.Second, time.Millisecond)
	release()
	require.Eventually(t, func() bool { return all.clients.Load() == 0 }, 30*time.Second, time.Millisecond)
}

func TestHeldClientsThatAreRefusedAreAnError(t *testing.T) {
	b := startBroker(t, new(closed))
	_, err := Hold(t.Context(), b, 3, "idle")
	require.ErrorContains(t, err, "was refused")
	_, err = Hold(t.Context(), b, 0, "idle")
	require.ErrorContains(t, err, "from 1 to 100000")
}
