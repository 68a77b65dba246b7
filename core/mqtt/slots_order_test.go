package mqtt

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
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

func newCrowd(b Bounds) *crowd {
	return &crowd{slots: slots{bounds: &b}, conns: make(map[string]*conn), served: make(map[string]*conn)}
}

// conn makes a connection of a client id, an identity and an address; each may be empty.
func (c *crowd) conn(name, client, identity, address string) *conn {
	made := &conn{clientID: client, seat: seat{identity: identity}}
	if address != "" {
		made.seat.source = netip.MustParsePrefix(address)
	}
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
			c := newCrowd(Bounds{MaxConnections: 1})
			for _, name := range []string{"v", "a", "b", "c"} {
				c.conn(name, "client", name, "192.0.2.1/32")
			}
			for i, step := range strings.Split(steps, ", ") {
				verb, who, _ := strings.Cut(step, " ")
				switch verb {
				case "take":
					require.Nil(t, c.take(c.conns[who]), "step %d", i)
				case "attach":
					c.attached(c.conns[who])
				case "leave":
					c.gone(c.conns[who])
				default:
					stranger := c.conn("stranger", "stranger", "", "")
					full := c.take(stranger)
					c.leave(stranger)
					if verb == "free" {
						require.Nil(t, full, "step %d", i)
						continue
					}
					require.Equal(t, &tooMany{bound: boundNode, has: 1, limit: 1}, full, "step %d", i)
				}
			}
			require.Empty(t, c.of)
			require.Empty(t, c.identities)
			require.Empty(t, c.networks)
		})
	}
}

func TestAnIdentityAndAnAddressHaveBoundsOfTheirConnections(t *testing.T) {
	const v4, net1, net2, net3 = "192.0.2.1/32", "2001:db8:0:1::/64", "2001:db8:0:2::/64", "2001:db8:0:3::/64"
	type who struct{ client, identity, address string }
	many := func(n int, prefix, identity, address string) (out []who) {
		for i := range n {
			out = append(out, who{fmt.Sprint(prefix, i), identity, address})
		}
		return out
	}
	share := Bounds{MaxConnections: 20, IdentityShare: 50}
	for name, c := range map[string]struct {
		bounds Bounds
		there  []who
		next   who
		want   *tooMany
	}{
		"no bound": {Bounds{}, many(100, "a", "u", v4), who{"b", "u", v4}, nil},
		"an identity at its bound": {Bounds{IdentityConnections: 3}, many(3, "a", "u", v4), who{"b", "u", v4},
			&tooMany{bound: boundIdentity, has: 3, limit: 3}},
		"another identity":            {Bounds{IdentityConnections: 3}, many(3, "a", "u", v4), who{"b", "w", v4}, nil},
		"clients without an identity": {Bounds{IdentityConnections: 3}, many(9, "a", "", v4), who{"b", "", v4}, nil},
		"one that replaces its own connection": {Bounds{IdentityConnections: 3, AddressConnections: 1, MaxConnections: 3},
			append(many(1, "a", "u", v4), many(2, "b", "u", "")...), who{"b1", "u", v4}, nil},
		"one that wants the client id of another identity": {Bounds{IdentityConnections: 3}, append(many(3, "a", "u", v4), who{"b", "w", v4}),
			who{"b", "u", v4}, &tooMany{bound: boundIdentity, has: 3, limit: 3}},
		"several connections of one client": {Bounds{IdentityConnections: 3}, []who{{"a", "u", v4}, {"a", "u", v4}, {"a", "u", v4}},
			who{"b", "u", v4}, nil},
		"over the share while there is plenty":           {share, many(17, "a", "u", ""), who{"b", "u", ""}, nil},
		"over the share at nine tenths":                  {share, many(18, "a", "u", ""), who{"b", "u", ""}, &tooMany{bound: boundShare, has: 18, limit: 10}},
		"below the share at nine tenths":                 {share, many(18, "a", "u", ""), who{"b", "w", ""}, nil},
		"over the share where all are one user":          {Bounds{MaxConnections: 20, IdentityShare: 100}, many(19, "a", "u", ""), who{"b", "u", ""}, nil},
		"over the share without a bound of the node":     {Bounds{IdentityShare: 50, Files: 10}, many(99, "a", "u", ""), who{"b", "u", ""}, nil},
		"the first of an identity on a node for one":     {Bounds{MaxConnections: 1, IdentityShare: 50}, nil, who{"b", "u", ""}, nil},
		"the second of an identity on a node for two":    {Bounds{MaxConnections: 2, IdentityShare: 50}, many(1, "a", "u", ""), who{"b", "u", ""}, &tooMany{bound: boundShare, has: 1, limit: 1}},
		"a full node, whoever comes":                     {share, append(many(18, "a", "u", ""), many(2, "b", "w", "")...), who{"c", "u", ""}, &tooMany{bound: boundNode, has: 20, limit: 20}},
		"an address at its bound":                        {Bounds{AddressConnections: 3}, many(3, "a", "u", v4), who{"b", "w", v4}, &tooMany{bound: boundAddress, has: 3, limit: 3, network: netip.MustParsePrefix(v4)}},
		"another address":                                {Bounds{AddressConnections: 3}, many(3, "a", "u", v4), who{"b", "u", "192.0.2.2/32"}, nil},
		"clients without an address":                     {Bounds{AddressConnections: 3}, many(9, "a", "u", ""), who{"b", "u", ""}, nil},
		"a network of IPv6 below four times as many":     {Bounds{AddressConnections: 2}, append(many(2, "a", "u", net1), many(2, "b", "u", net2)...), who{"c", "u", net3}, nil},
		"a network of IPv6 that has four times as many":  {Bounds{AddressConnections: 1}, []who{{"a", "", net1}, {"b", "", net2}, {"c", "", net3}, {"d", "", "2001:db8:0:4::/64"}}, who{"e", "", "2001:db8:0:5::/64"}, &tooMany{bound: boundAddress, has: 4, limit: 4, network: netip.MustParsePrefix("2001:db8::/56")}},
		"one client from several addresses of a network": {Bounds{AddressConnections: 1}, []who{{"a", "", net1}, {"a", "", net2}, {"a", "", net3}, {"a", "", "2001:db8:0:4::/64"}}, who{"e", "", "2001:db8:0:5::/64"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := newCrowd(c.bounds)
			for i, w := range c.there {
				require.Nil(t, s.take(s.conn(fmt.Sprint(i), w.client, w.identity, w.address)), "%v", w)
			}
			require.Equal(t, c.want, s.take(s.conn("next", c.next.client, c.next.identity, c.next.address)))
			for _, made := range s.conns {
				s.leave(made)
			}
			require.Empty(t, s.of)
			require.Empty(t, s.identities)
			require.Empty(t, s.networks)
		})
	}
}

func TestAConnectionThatAuthenticatesAsAnotherIdentityCountsForThatOne(t *testing.T) {
	s := newCrowd(Bounds{IdentityConnections: 1})
	a := s.conn("a", "a", "u", "")
	require.Nil(t, s.take(a))
	s.rename(a, "w")
	require.Nil(t, s.take(s.conn("b", "b", "u", "")))
	require.Equal(t, boundIdentity, s.take(s.conn("c", "c", "w", "")).bound)
	s.leave(a)
	require.Nil(t, s.take(s.conn("d", "d", "w", "")))
}

// Connections of few clients, identities and addresses take slots, are served and leave in random orders.
func TestWhateverTheOrderTheLimitIsNotExceededAndNoSlotIsLost(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		b := Bounds{MaxConnections: 1 + r.IntN(6), IdentityConnections: r.IntN(4), IdentityShare: []int{0, 50, 100}[r.IntN(3)]}
		c := newCrowd(b)
		var in []*conn
		for step := range 300 {
			switch {
			case r.IntN(3) > 0:
				made := c.conn(fmt.Sprint(step), fmt.Sprint("c", r.IntN(8)), []string{"", "u", "w"}[r.IntN(3)],
					[]string{"", "192.0.2.1/32", "2001:db8:0:1::/64", "2001:db8:0:2::/64"}[r.IntN(4)])
				if c.take(made) == nil {
					in = append(in, made)
				}
			case len(in) > 0 && r.IntN(2) == 0:
				c.attached(in[r.IntN(len(in))])
			case len(in) > 0:
				i := r.IntN(len(in))
				c.gone(in[i])
				in = append(in[:i], in[i+1:]...)
			}
			require.LessOrEqual(t, len(c.served), b.MaxConnections, "seed %d, step %d", seed, step)
			of, byClient := make(map[string]int), make(map[string]bool)
			for id, made := range c.served {
				of[made.seat.identity]++
				byClient[id] = true
			}
			for _, made := range in {
				byClient[made.clientID] = true
			}
			require.Len(t, c.of, len(byClient), "seed %d, step %d: a slot for each client id", seed, step)
			for identity, n := range of {
				if identity != "" && b.IdentityConnections > 0 {
					require.LessOrEqual(t, n, b.IdentityConnections, "seed %d, step %d", seed, step)
				}
			}
		}
		for _, made := range in {
			c.gone(made)
		}
		require.Empty(t, c.of, "seed %d", seed)
		require.Empty(t, c.identities, "seed %d", seed)
		require.Empty(t, c.networks, "seed %d", seed)
	}
}
