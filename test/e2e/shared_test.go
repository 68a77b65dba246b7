package e2e

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/packet"
)

// sharedMessages returns the number of messages for the test of a group; LMQGATE_SHARED_MESSAGES overrides it.
func sharedMessages(t *testing.T) int {
	t.Helper()
	if text := os.Getenv("LMQGATE_SHARED_MESSAGES"); text != "" {
		n, err := strconv.Atoi(text)
		require.NoError(t, err)
		return n
	}
	return 12_000
}

func TestAGroupOverSeveralGatewaysLosesNothingWhenMembersAreKilled(t *testing.T) {
	onOneNode(t, ownNodes)
	everywhere(t, func(t *testing.T, p profile) {
		nodes := []*Gateway{start(t, p)}
		if p.name == rocketmqProfile.name {
			nodes = append(nodes, start(t, p), start(t, p))
		}
		g, count := nodes[0], sharedMessages(t)
		first := g.Topic("shared")
		filter := "$share/" + g.Name("group") + "/" + first + "/#"
		for _, other := range nodes[1:] {
			eventually(t, patience, func() error { return other.knows(first) })
		}
		y := newTally(count)
		born := 0
		birth := func(node *Gateway) (*member, packet.Version) {
			born++
			v := []packet.Version{packet.V311, packet.V5}[born%2]
			return join(t, node, y, g.Name(fmt.Sprintf("member%d", born)), filter, v, born%3 == 0), v
		}
		type living struct {
			*member
			v packet.Version
		}
		var members []living
		for i := range 6 {
			m, v := birth(nodes[i%len(nodes)])
			members = append(members, living{m, v})
		}
		// A gateway learns of a new filter a moment later. Publishing begins when all gateways have.
		publishers := make([]*client, 3*len(nodes))
		for i := range publishers {
			publishers[i] = nodes[i%len(nodes)].connect(t, g.Name(fmt.Sprintf("publisher%d", i)))
			eventually(t, patience, func() error {
				probe := fmt.Sprintf("probe of %d", i)
				publishers[i].publish(first+"/probe", 1, probe)
				y.mu.Lock()
				defer y.mu.Unlock()
				if !y.probes[probe] {
					return errors.New("the group does not get what this gateway publishes")
				}
				return nil
			})
		}

		begun := time.Now()
		failed := make(chan error, len(publishers))
		for i, c := range publishers {
			go func() {
				var tokens []paho.Token
				for n := i; n < count; n += len(publishers) {
					tokens = append(tokens, c.Publish(first+"/"+strconv.Itoa(n%10), 1, false, strconv.Itoa(n)))
				}
				for _, token := range tokens {
					if !token.WaitTimeout(5*time.Minute) || token.Error() != nil {
						failed <- fmt.Errorf("a message is not acknowledged: %w", token.Error())
						return
					}
				}
				failed <- nil
			}()
		}
		kills, published := 0, 0
		most := time.Duration(0) // until 99% are acknowledged; the rest waits for members to be killed and for the store
		deadline := time.Now().Add(5*time.Minute + time.Duration(count/500)*time.Second)
		for {
			left, wrong := y.rest()
			require.Empty(t, wrong)
			if most == 0 && left <= count/100 {
				most = time.Since(begun)
				y.mu.Lock()
				y.patient = true
				y.mu.Unlock()
			}
			if left == 0 && published == len(publishers) {
				break
			}
			require.True(
				t,
				time.Now().Before(deadline),
				"%d of %d messages are stuck after %v and %d kills",
				left,
				count,
				time.Since(begun),
				kills,
			)
			select {
			case err := <-failed:
				require.NoError(t, err)
				published++
			case <-time.After(time.Duration(50+rand.IntN(200)) * time.Millisecond):
			}
			i := rand.IntN(len(members))
			if most > 0 { // one after the other, less often: each has something unacknowledged
				i = kills % len(members)
				time.Sleep(500 * time.Millisecond)
			}
			members[i].kill(t, members[i].v)
			kills++
			m, v := birth(nodes[rand.IntN(len(nodes))])
			members[i] = living{m, v}
		}
		took := time.Since(begun)
		t.Logf("%d messages, %d gateways, %d kills: 99%% acknowledged after %v, all after %v", count, len(nodes), kills,
			most.Round(time.Millisecond), took.Round(time.Millisecond))
		// Acknowledged messages are not redelivered, even when every member with unacknowledged messages leaves.
		for i := range members {
			members[i].kill(t, members[i].v)
		}
		last, v := birth(nodes[len(nodes)-1])
		time.Sleep(8 * time.Second) // longer than the store takes to redeliver what was given back
		_, wrong := y.rest()
		require.Empty(t, wrong)
		last.kill(t, v)
		require.Greater(t, len(y.byMember), 6, "members share the messages")
	})
}

// knows returns nil once a gateway knows a first-level topic.
func (g *Gateway) knows(first string) error {
	var answer struct{ Topics []struct{ Name string } }
	g.GetJSON("/api/v1/topics", &answer)
	for _, topic := range answer.Topics {
		if topic.Name == first {
			return nil
		}
	}
	return fmt.Errorf("topic %q is not known", first)
}

func TestAKilledGatewaysMembersMessagesComeToOthers(t *testing.T) {
	onOneNode(t, ownNodes)
	t.Parallel()
	everywhere(t, func(t *testing.T, p profile) {
		g := start(t, p)
		other := g
		if p.name == rocketmqProfile.name {
			other = start(t, p)
		}
		first := g.Topic("orphaned")
		filter := "$share/" + g.Name("group") + "/" + first + "/#"
		eventually(t, patience, func() error { return other.knows(first) })
		sleeper := other.connect(t, g.Name("sleeper"), persistent) // so that the group outlives a single gateway
		require.Equal(t, map[string]byte{first + "/#": 1}, sleeper.trySubscribe(filter, 1), "paho leaves the group out of its answer")
		sleeper.leave()
		y := newTally(40)
		m := join(t, g, y, g.Name("member"), filter, packet.V5, false)
		pub := g.connect(t, g.Name("publisher"))
		for n := range 30 {
			pub.publish(first+"/x", 1, strconv.Itoa(n))
		}
		// The second half goes to a member that no longer acknowledges.
		eventually(t, patience, func() error {
			if left, _ := y.rest(); left > 20 {
				return fmt.Errorf("%d messages are not acknowledged", left)
			}
			return nil
		})
		m.mu.Lock()
		m.dying = true
		m.mu.Unlock()
		for n := 30; n < 40; n++ {
			pub.publish(first+"/x", 1, strconv.Itoa(n))
		}
		require.NoError(t, m.write(packet.V5, &packet.Pingreq{}))
		<-m.pong
		left, _ := y.rest()
		eventually(t, patience, func() error {
			if told := int(g.metric("lmqgate_delivery_group_acked_records_total")); told < len(y.acked)-left {
				return fmt.Errorf("the store was told of %d acknowledgements of %d", told, len(y.acked)-left)
			}
			return nil
		})
		g.Kill()
		if other == g {
			g.Start()
		}
		back := other.connect(t, g.Name("sleeper"), persistent)
		eventually(t, 2*patience, func() error { // RocketMQ: half a minute later
			if n := len(back.messages()); n < left {
				return fmt.Errorf("%d of %d messages have come again", n, left)
			}
			return nil
		})
		_, wrong := y.rest()
		require.Empty(t, wrong)
		got := map[string]bool{}
		for _, payload := range back.payloads() {
			n, err := strconv.Atoi(payload)
			require.NoError(t, err)
			require.False(t, y.acked[n], "message %d was acknowledged", n)
			got[payload] = true
		}
		require.Len(t, got, left)
	})
}

func TestMosquittoSharesASubscription(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, p profile) {
		g := start(t, p)
		m := mosquittoClients(t, g)
		first := g.Topic("jobs")
		for _, version := range []string{"mqttv311", "mqttv5"} {
			filter := "$share/" + version + "/" + first + "/#"
			a := m.listen(g.Name("a"+version), "-V", version, "-q", "1", "-t", filter)
			b := m.listen(g.Name("b"+version), "-V", version, "-q", "1", "-t", filter)
			const count = 40
			var lines []string
			for i := range count {
				lines = append(lines, fmt.Sprintf("%s %d", version, i))
			}
			c := g.connect(t, g.Name("publisher"+version))
			for _, line := range lines {
				c.publish(first+"/x", 1, line)
			}
			var got []string
			timeout := time.After(patience)
			byA, byB := 0, 0
			for len(got) < count {
				select {
				case line := <-a.lines:
					byA++
					got = append(got, line[strings.LastIndex(line, "|")+1:])
				case line := <-b.lines:
					byB++
					got = append(got, line[strings.LastIndex(line, "|")+1:])
				case <-timeout:
					t.Fatalf("%d of %d messages came", len(got), count)
				}
			}
			require.ElementsMatch(t, lines, got)
			require.Positive(t, byA)
			require.Positive(t, byB)
			a.kill(syscall.SIGKILL)
			b.kill(syscall.SIGKILL)
		}
	})
}

func TestAGroupOfEveryTopicGetsWhatIsPublishedToOnesThatComeLater(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, p profile) {
		g := start(t, p)
		level := g.Name("every")
		topics := []string{g.Topic("early")}
		filter := "$share/" + g.Name("group") + "/+/" + level
		a, b := g.connect(t, g.Name("a")), g.connect(t, g.Name("b"), persistent)
		for _, c := range []*client{a, b} {
			require.Equal(t, map[string]byte{"+/" + level: 1}, c.trySubscribe(filter, 1))
		}
		topics = append(topics, g.Topic("late"))
		pub := g.connect(t, g.Name("publisher"))
		var want []string
		for i := range 40 {
			name := topics[i%2] + "/" + level
			pub.publish(name, 1, strconv.Itoa(i))
			want = append(want, strconv.Itoa(i))
		}
		eventually(t, patience, func() error {
			if n := len(a.messages()) + len(b.messages()); n < len(want) {
				return fmt.Errorf("%d of %d messages came", n, len(want))
			}
			return nil
		})
		require.ElementsMatch(t, want, append(a.payloads(), b.payloads()...))
	})
}
