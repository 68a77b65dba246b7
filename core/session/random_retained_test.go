package session

import (
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/lmqgate/lmqgate/core/store"
)

// TestTheLastRetainedValueCountsWhateverHappens lets publishers that roam set and remove retained messages of the same topics, while nodes
// crash and lose their way to the store and to the metadata. Once all is whole, the last record of each topic is its retained message on
// every node, and a new subscriber gets it.
func TestTheLastRetainedValueCountsWhateverHappens(t *testing.T) {
	inChaos(t, chaosFaults{metadata: true}, (*chaos).runRetained)
}

// retainedTopics is how many topics the publishers share.
const retainedTopics = 4

func (c *chaos) runRetained(lasts time.Duration) {
	var roaming sync.WaitGroup
	for i := range 3 {
		p := &giver{roamer: roamer{c: c, id: fmt.Sprint("pub", i), rand: c.dice()}, qos: byte(1 + i%2), pause: 300 * time.Millisecond}
		p.message = p.retained
		roaming.Go(p.run)
	}
	c.storm(lasts)
	c.within(2*time.Minute, &roaming, "what was published is not acknowledged")
	c.settled()
	time.Sleep(10 * time.Second)
	c.judgeRetained("at once")
	time.Sleep(5 * time.Minute) // longer than nodes hold what only their tails brought
	c.judgeRetained("later")
}

// retained is the next message of a publisher: a value of one of the topics, or its removal.
func (p *giver) retained(n int) *store.Message {
	m := &store.Message{Topic: fmt.Sprint("r/", p.rand.IntN(retainedTopics)), Retain: true}
	if p.rand.IntN(4) > 0 {
		m.Payload = []byte(p.id + " " + strconv.Itoa(n))
	}
	return m
}

// judgeRetained compares what each node has, and what a new subscriber gets there, with the last record of each topic.
func (c *chaos) judgeRetained(when string) {
	want := map[string]string{}
	for _, r := range c.stored("r") {
		if want[r.Topic] = string(r.Payload); len(r.Payload) == 0 {
			delete(want, r.Topic)
		}
	}
	for _, id := range c.ids {
		n := c.node(id)
		has := map[string]string{}
		values, _ := n.meta.Retained("r/#")
		for _, v := range values {
			has[v.Message.Topic] = string(v.Message.Payload)
		}
		if fmt.Sprint(has) != fmt.Sprint(want) {
			c.fail("%s: node %s has %v, not %v", when, id, has, want)
		}
		conn := n.connect("new at "+id, clean)
		conn.subscribe(1, "r/#")
		time.Sleep(time.Second)
		got := map[string]string{}
		for conn.waiting() > 0 {
			p := conn.next()
			got[p.Topic] += string(p.Payload)
		}
		if conn.leave(); fmt.Sprint(got) != fmt.Sprint(want) {
			c.fail("%s: a subscriber at %s gets %v, not %v", when, id, got, want)
		}
	}
}
