package mqtt

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// crowd is connections by name, and slots for them.
type crowd struct {
	slots
	conns map[string]*conn
	// served are the connections that are attached to the session of a client id.
	served map[string]*conn
}

func newCrowd(limit int) *crowd {
	return &crowd{slots: slots{limit: limit}, conns: make(map[string]*conn), served: make(map[string]*conn)}
}

// conn makes a connection of a client id.
func (c *crowd) conn(name, client string) *conn {
	made := &conn{clientID: client}
	c.conns[name] = made
	return made
}

// attached makes a connection the one that has the session of its client id.
func (c *crowd) attached(made *conn) { c.served[made.clientID] = made }

func (c *crowd) gone(made *conn) {
	c.leave(made)
	if c.served[made.clientID] == made {
		delete(c.served, made.clientID)
	}
}

func TestAClientIDHasOneSlotUntilTheLastOfItsConnectionsHasLeft(t *testing.T) {
	for name, steps := range map[string]string{
		"a client that comes and goes":                         "take v, attach v, full, leave v, free",
		"one that is refused":                                  "take v, attach v, take a, leave a, full, leave v, free",
		"two that are refused, the first leaves first":         "take v, attach v, take a, take b, leave a, leave b, full, leave v, free",
		"two that are refused, the second leaves first":        "take v, attach v, take a, take b, leave b, leave a, full, leave v, free",
		"three that are refused, the middle one leaves first":  "take v, attach v, take a, take b, take c, leave b, leave c, leave a, full, leave v, free",
		"one that is refused after the connected one has left": "take v, attach v, take a, leave v, full, leave a, free",
		"a takeover": "take v, attach v, take a, attach a, leave v, full, leave a, free",
		"a takeover, and the old connection is slow to leave":       "take v, attach v, take a, attach a, leave a, full, leave v, free",
		"a takeover while another one is refused":                   "take v, attach v, take a, take b, attach b, leave v, leave a, full, leave b, free",
		"a takeover of one that is not served yet":                  "take v, attach v, take a, attach a, take b, attach b, leave a, leave v, full, leave b, free",
		"one that is closed while it waits":                         "take v, attach v, take a, take b, leave a, attach b, leave v, full, leave b, free",
		"the session goes to another node while a client waits":     "take v, attach v, take a, leave v, full, leave a, free",
		"the session goes to another node and the client is served": "take v, attach v, take a, leave v, attach a, full, leave a, free",
		"one that comes back":                                       "take v, attach v, take a, attach a, leave v, take b, attach b, leave a, full, leave b, free",
		"one that leaves twice":                                     "take v, attach v, take a, leave a, leave a, full, leave v, leave v, free",
	} {
		t.Run(name, func(t *testing.T) {
			c := newCrowd(1)
			for _, name := range []string{"v", "a", "b", "c"} {
				c.conn(name, "client")
			}
			for i, step := range strings.Split(steps, ", ") {
				verb, who, _ := strings.Cut(step, " ")
				switch verb {
				case "take":
					require.True(t, c.take(c.conns[who]), "step %d", i)
				case "attach":
					c.attached(c.conns[who])
				case "leave":
					c.gone(c.conns[who])
				default:
					stranger := c.conn("stranger", "stranger")
					require.Equal(t, verb == "free", c.take(stranger), "step %d", i)
					c.leave(stranger)
				}
			}
			require.Empty(t, c.of)
		})
	}
}

// Connections of few clients take slots, are served and leave in random orders.
func TestWhateverTheOrderTheLimitIsNotExceededAndNoSlotIsLost(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		c := newCrowd(1 + r.IntN(6))
		var in []*conn
		for step := range 300 {
			switch {
			case r.IntN(3) > 0:
				made := c.conn(fmt.Sprint(step), fmt.Sprint("c", r.IntN(8)))
				if c.take(made) {
					in = append(in, made)
				}
			case len(in) > 0 && r.IntN(2) == 0:
				c.attached(in[r.IntN(len(in))])
			case len(in) > 0:
				i := r.IntN(len(in))
				c.gone(in[i])
				in = append(in[:i], in[i+1:]...)
			}
			require.LessOrEqual(t, len(c.served), c.limit, "seed %d, step %d", seed, step)
			byClient := make(map[string]bool)
			for _, made := range in {
				byClient[made.clientID] = true
			}
			require.Len(t, c.of, len(byClient), "seed %d, step %d: a slot for each client id", seed, step)
		}
		for _, made := range in {
			c.gone(made)
		}
		require.Empty(t, c.of, "seed %d", seed)
	}
}
