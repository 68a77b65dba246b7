package fault

import (
	"math/rand/v2"
	"testing"
)

// TestANodeThatIsCutOffFromTheStoreIsNotBelieved cuts one of two gateways off from RocketMQ alone until the other one has taken over all of
// its clients: its connections are reset, or everything vanishes on the way, or it arrives after all when the cut is over.
func TestANodeThatIsCutOffFromTheStoreIsNotBelieved(t *testing.T) {
	each(t, func(t *testing.T, r *rand.Rand, rep *report) {
		f := newFrontedFleet(t, r, 2, rocketmq(t))
		sick, how := f.nodes[0], []outage{refuses, swallows, delays}[r.IntN(3)]
		t.Logf("the outage: %d", how)
		f.takenAway(r, rep, sick, f.nodes[1], func() {
			sick.setUp(false) // a load balancer would see that it is not ready
			sick.front.set(how)
		}, func() {
			sick.front.set(passes)
			sick.setUp(true)
		})
	})
}
