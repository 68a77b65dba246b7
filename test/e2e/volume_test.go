package e2e

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/require"
)

// numbered returns a payload with a publisher's number and the number of its message.
func numbered(publisher, n int) string { return fmt.Sprintf("%d/%d", publisher, n) }

// checkNumbered requires that every publisher's numbers arrived, each in its place.
func checkNumbered(t *testing.T, payloads []string, publishers, each int) {
	t.Helper()
	next := make([]int, publishers)
	for i, text := range payloads {
		who, number, _ := strings.Cut(text, "/")
		p, err := strconv.Atoi(who)
		require.NoError(t, err)
		n, err := strconv.Atoi(number)
		require.NoError(t, err)
		require.Equal(t, next[p], n, "message %d of all, of publisher %d", i, p)
		next[p]++
	}
	for p, n := range next {
		require.Equal(t, each, n, "messages of publisher %d", p)
	}
}

// awaitEach waits for n different payloads. Only what RocketMQ did not confirm in time, so that it was stored again, may come twice.
func (c *client) awaitEach(n int) []string {
	c.t.Helper()
	c.await(n)
	got := c.payloads()
	if !c.g.storedAgain() {
		return got
	}
	eventually(c.t, patience, func() error {
		seen := map[string]bool{}
		got = slices.DeleteFunc(c.payloads(), func(text string) bool {
			again := seen[text]
			seen[text] = true
			return again
		})
		if len(got) < n {
			return fmt.Errorf("client %q has %d of %d different messages", c.id, len(got), n)
		}
		return nil
	})
	return got
}

// storedAgain reports whether the store has sent a message to RocketMQ more than once.
func (g *Gateway) storedAgain() bool {
	return g.metric("lmqgate_store_rocketmq_append_retries_total") > 0 || g.other != nil && g.other.storedAgain()
}

func TestTwentyThousandMessagesOfEightPublishersComeCompleteAndInOrder(t *testing.T) {
	const publishers, each = 8, 2500
	everywhere(t, func(t *testing.T, p profile) {
		g := start(t, p)
		topic := g.Topic("volume") + "/x"
		sleeper := g.connect(t, g.Name("sleeper"), persistent)
		sleeper.subscribe(topic, 1)
		sleeper.leave()
		online := g.connect(t, g.Name("online"))
		online.subscribe(topic, 1)

		begun := time.Now()
		failed := make(chan error, publishers)
		for p := range publishers {
			c := g.connect(t, g.Name("publisher"+strconv.Itoa(p)))
			go func() {
				tokens := make([]paho.Token, each)
				for n := range each {
					tokens[n] = c.Publish(topic, 1, false, numbered(p, n))
				}
				for n, token := range tokens {
					if !token.WaitTimeout(5*time.Minute) || token.Error() != nil {
						failed <- fmt.Errorf("message %d of publisher %d is not acknowledged: %w", n, p, token.Error())
						return
					}
				}
				failed <- nil
			}()
		}
		for range publishers {
			require.NoError(t, <-failed)
		}
		t.Logf("%d messages acknowledged in %v", publishers*each, time.Since(begun).Round(time.Millisecond))
		came := online.awaitEach(publishers * each)
		t.Logf("and delivered after %v", time.Since(begun).Round(time.Millisecond))
		checkNumbered(t, came, publishers, each)

		begun = time.Now()
		sleeper = g.connect(t, g.Name("sleeper"), persistent)
		came = sleeper.awaitEach(publishers * each)
		t.Logf("the sleeping session read them in %v", time.Since(begun).Round(time.Millisecond))
		checkNumbered(t, came, publishers, each)
		last := g.connect(t, g.Name("last"))
		last.publish(topic, 1, "last")
		came = sleeper.awaitEach(publishers*each + 1)
		require.Len(t, came, publishers*each+1, "nothing comes twice")
	})
}

// masks returns filters that all match the topic first/0/1/…/10: each level is literal or a wildcard.
func masks(first string, n int) (topic string, filters []string) {
	const levels = 11
	level := make([]string, levels)
	for i := range level {
		level[i] = strconv.Itoa(i)
	}
	topic = first + "/" + strings.Join(level, "/")
	for mask := 1; mask <= n; mask++ {
		parts := make([]string, levels)
		for i := range parts {
			parts[i] = level[i]
			if mask&(1<<i) != 0 {
				parts[i] = "+"
			}
		}
		filters = append(filters, first+"/"+strings.Join(parts, "/"))
	}
	return topic, filters
}

func TestADispatchSetOfTwoThousandFiltersArrivesWhole(t *testing.T) {
	const filters = 2000
	everywhere(t, func(t *testing.T, p profile) {
		g := start(t, p)
		first := g.Topic("fanout")
		topic, all := masks(first, filters)
		require.Len(t, all, filters)
		// On the local store each filter has its own session, so that a missing record is detected. Name servers rewrite a file for each
		// item, so on RocketMQ a session has many filters, and the queues are checked in the broker.
		each, workers := 1, 8
		if p.name == rocketmqProfile.name {
			each, workers = 100, 2
		}
		id := func(i int) string { return g.Name("f" + strconv.Itoa(i)) }
		inParallel(t, workers, filters/each, func(i int) error {
			c, err := g.tryConnect(t, id(i), persistent)
			if err != nil {
				return err
			}
			defer c.Disconnect(250)
			wanted := map[string]byte{}
			for _, f := range all[i*each : (i+1)*each] {
				wanted[f] = 1
			}
			// Name servers on a busy machine may be too slow for all filters at once. Filters that are refused for that reason are
			// requested again.
			for begun := time.Now(); len(wanted) > 0; {
				token := c.SubscribeMultiple(wanted, nil)
				if !token.WaitTimeout(5*time.Minute) || token.Error() != nil {
					return fmt.Errorf("subscribing session %d: %w", i, token.Error())
				}
				for f, code := range token.(*paho.SubscribeToken).Result() {
					if code == 1 {
						delete(wanted, f)
					} else if time.Since(begun) > 5*time.Minute {
						return fmt.Errorf("filter %q of session %d: %w", f, i, errCode(code))
					}
				}
			}
			return nil
		})
		pub := g.connect(t, g.Name("publisher"))
		pub.publish(topic, 1, "for all")
		pub.publish(topic, 1, "for all again")
		if each > 1 {
			o := newOperator(t)
			o.awaitQueues(all, 2)
		}
		inParallel(t, 8, filters/each, func(i int) error {
			c, err := g.tryConnect(t, id(i), persistent)
			if err != nil {
				return err
			}
			defer c.Disconnect(250)
			deadline := time.After(5 * time.Minute)
			for len(c.messages()) < 2 {
				select {
				case <-c.more:
				case <-deadline:
					return fmt.Errorf("session %d has %q of 2 messages", i, c.payloads())
				}
			}
			if got := c.payloads(); got[0] != "for all" || got[1] != "for all again" {
				return fmt.Errorf("session %d has %q", i, got)
			}
			return nil
		})
	})
}

func TestOneSessionWithTwoHundredMatchingFiltersGetsAMessageOnce(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, p profile) {
		g := start(t, p)
		topic, all := masks(g.Topic("overlap"), 200)
		sub := g.connect(t, g.Name("sleeper"), persistent)
		wanted := map[string]byte{}
		for _, f := range all {
			wanted[f] = 1
		}
		eventually(t, 2*patience, func() error { // retry what slow name servers refuse
			token := sub.SubscribeMultiple(wanted, nil)
			if !token.WaitTimeout(patience) {
				return fmt.Errorf("no SUBACK to %d filters", len(wanted))
			}
			for filter, code := range token.(*paho.SubscribeToken).Result() {
				if code == 1 {
					delete(wanted, filter)
				}
			}
			if len(wanted) > 0 {
				return fmt.Errorf("%d filters were refused", len(wanted))
			}
			return nil
		})
		sub.leave()
		pub := g.connect(t, g.Name("publisher"))
		pub.publish(topic, 1, "asleep")
		sub = g.connect(t, g.Name("sleeper"), persistent)
		sub.only(pub, topic, "asleep")
	})
}

// inParallel calls f for 0 to n-1 from several goroutines, and requires that none fails.
func inParallel(t *testing.T, workers, n int, f func(i int) error) {
	t.Helper()
	next := make(chan int)
	errs := make(chan error, workers)
	var wg sync.WaitGroup
	stop := make(chan struct{})
	var once sync.Once
	for range workers {
		wg.Go(func() {
			for i := range next {
				if err := f(i); err != nil {
					errs <- fmt.Errorf("%d: %w", i, err)
					once.Do(func() { close(stop) })
					return
				}
			}
		})
	}
feed:
	for i := range n {
		select {
		case next <- i:
		case <-stop:
			break feed
		}
	}
	close(next)
	wg.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
}
