package mqtt

import (
	"slices"

	"github.com/lmqgate/lmqgate/core/limits"
	"github.com/lmqgate/lmqgate/core/packet"
)

// vainPerSecond is how many packets without effect a client may send per second on average, and twice as many at once, before it is read
// more slowly. Such packets are PINGREQ, acknowledgements of packet ids that are not in use, and SUBSCRIBE and UNSUBSCRIBE all of whose
// filters are refused. No rate counts them, most have an answer, and clients need few: a PINGREQ in each keep alive, and after a lost
// session an acknowledgement for each message that was in flight.
const vainPerSecond limits.Rate = 1000

// vain counts a packet without effect, and delays reading if there are too many. The reader calls it, once the packet is answered.
func (c *conn) vain() error {
	if c.vainRate == nil {
		c.vainRate = limits.NewBucket(vainPerSecond)
	}
	return c.pause(c.vainRate.Take(1))
}

// vainUnless counts the packet of these answers, one for each filter, unless one of them is a success.
func (c *conn) vainUnless(codes []packet.Code) error {
	if slices.ContainsFunc(codes, func(code packet.Code) bool { return !code.Failed() && code != packet.NoSubscriptionExisted }) {
		return nil
	}
	return c.vain()
}
