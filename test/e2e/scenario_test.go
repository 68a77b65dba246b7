package e2e

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAPersistentSessionGetsWhatItMissed(t *testing.T) {
	t.Parallel()
	withEachPlugin(t, func(t *testing.T, p profile) {
		g := start(t, p)
		topic := g.Topic("offline")
		sub := g.connect(t, g.Name("sleeper"), persistent)
		require.False(t, sub.present)
		sub.subscribe(topic+"/+/state", 1)
		sub.leave()

		pub := g.connect(t, g.Name("publisher"))
		for i := range 100 {
			pub.publish(topic+"/a/state", 1, strconv.Itoa(i))
		}
		sub = g.connect(t, g.Name("sleeper"), persistent)
		require.True(t, sub.present)
		sub.only(pub, topic+"/a/state", numbers(0, 100)...)
	})
}

func TestAKilledGatewayKeepsSessionsRetainedMessagesAndSubscriptions(t *testing.T) {
	t.Parallel()
	withEachPlugin(t, func(t *testing.T, p profile) {
		g := start(t, p)
		topic := g.Topic("killed")
		sub := g.connect(t, g.Name("sleeper"), persistent)
		sub.subscribe(topic+"/#", 1)
		sub.leave()
		pub := g.connect(t, g.Name("publisher"))
		pub.publishRetain(topic+"/kept", 1, true, "retained")
		for i := range 50 {
			pub.publish(topic+"/n", 1, strconv.Itoa(i))
		}

		g.Kill()
		g.Start()

		pub = g.connect(t, g.Name("publisher"))
		for i := 50; i < 60; i++ {
			pub.publish(topic+"/n", 1, strconv.Itoa(i))
		}
		sub = g.connect(t, g.Name("sleeper"), persistent)
		require.True(t, sub.present, "the session is known after the kill")
		got := byTopic(sub.await(61))
		require.Equal(t, numbers(0, 60), got[topic+"/n"])
		require.Equal(t, []string{"retained"}, got[topic+"/kept"])

		fresh := g.connect(t, g.Name("fresh"))
		fresh.subscribe(topic+"/kept", 1)
		m := fresh.await(1)[0]
		require.Equal(t, "retained", string(m.Payload()))
		require.True(t, m.Retained())
	})
}

func TestASleepingSessionOutlivesACleanRestart(t *testing.T) {
	t.Parallel()
	withEachPlugin(t, func(t *testing.T, p profile) {
		g := start(t, p)
		topic := g.Topic("restart")
		sub := g.connect(t, g.Name("sleeper"), persistent)
		sub.subscribe(topic+"/a", 2)
		sub.leave()
		pub := g.connect(t, g.Name("publisher"))
		pub.publish(topic+"/a", 2, "before")
		g.Restart()
		pub = g.connect(t, g.Name("publisher"))
		pub.publish(topic+"/a", 2, "after")
		sub = g.connect(t, g.Name("sleeper"), persistent)
		require.True(t, sub.present)
		sub.only(pub, topic+"/a", "before", "after")
		sub.leave()
		g.Restart()
		sub = g.connect(t, g.Name("sleeper"), persistent)
		pub = g.connect(t, g.Name("publisher"))
		sub.only(pub, topic+"/a") // nothing acknowledged is redelivered
	})
}

func TestTopicsThatUpstreamConfusesAreDifferent(t *testing.T) {
	t.Parallel()
	withEachPlugin(t, func(t *testing.T, p profile) {
		g := start(t, p)
		first := g.Topic("traps")
		names := []string{
			first + "/a", first + "/a/", first + "/a%", first + "/a%b", first + "/a/b", first + "/a,b", first + "/a,", first,
			first + "/%LMQ%x", first + "/ä€😀", first + "/a b", first + "/a//b", first + "/", first + "/" + strings.Repeat(strings.Repeat("long", 25)+"/", 70),
			first + "/" + strings.Repeat("x", 300), first + "/" + strings.Repeat("x", 299) + "y",
		}
		pub := g.connect(t, g.Name("publisher"))
		id := func(i int) string { return g.Name("reader" + strconv.Itoa(i)) }
		readers := make([]*client, len(names))
		for i, name := range names {
			readers[i] = g.connect(t, id(i), persistent)
			readers[i].subscribe(name, 1)
			if i%2 == 0 {
				readers[i].leave() // half of them sleep
			}
		}
		for _, name := range names {
			pub.publish(name, 1, "to "+name)
		}
		for i, name := range names {
			if i%2 == 0 {
				readers[i] = g.connect(t, id(i), persistent)
			}
			readers[i].only(pub, name, "to "+name)
		}
	})
}

func TestEmptyPayloadsArrive(t *testing.T) {
	t.Parallel()
	withEachPlugin(t, func(t *testing.T, p profile) {
		g := start(t, p)
		topic := g.Topic("empty") + "/x"
		sleeper := g.connect(t, g.Name("sleeper"), persistent)
		sleeper.subscribe(topic, 1)
		sleeper.leave()
		online := g.connect(t, g.Name("online"))
		online.subscribe(topic, 1)
		pub := g.connect(t, g.Name("publisher"))
		for _, payload := range []string{"", "x", "", "★\r\n\t☀"} {
			pub.publish(topic, 1, payload)
		}
		online.only(pub, topic, "", "x", "", "★\r\n\t☀")
		sleeper = g.connect(t, g.Name("sleeper"), persistent)
		sleeper.only(pub, topic, "", "x", "", "★\r\n\t☀", "the end of what was published")
	})
}

func TestPointToPointReachesItsClientOnly(t *testing.T) {
	t.Parallel()
	withEachPlugin(t, func(t *testing.T, p profile) {
		g := start(t, p)
		first := g.Topic("p2p")
		pub := g.connect(t, g.Name("publisher"))
		awake := g.connect(t, g.Name("awake"), persistent)
		other := g.connect(t, g.Name("other"), persistent)
		other.subscribe(first+"/end", 1)
		asleep := g.connect(t, g.Name("asleep"), persistent)
		asleep.subscribe(first+"/end", 1)
		asleep.leave()

		pub.publish(first+"/p2p/"+g.Name("awake"), 1, "for awake")
		pub.publish(first+"/p2p/"+g.Name("asleep"), 1, "for asleep")
		m := awake.await(1)[0]
		require.Equal(t, "for awake", string(m.Payload()))
		require.Equal(t, first+"/p2p/"+g.Name("awake"), m.Topic())
		other.only(pub, first+"/end")
		asleep = g.connect(t, g.Name("asleep"), persistent)
		require.ElementsMatch(t, []string{"for asleep", "the end of what was published"}, texts(asleep.await(2)))
	})
}

func TestAFirstLevelOfP2POpensNobodysQueue(t *testing.T) {
	t.Parallel()
	withEachPlugin(t, func(t *testing.T, p profile) {
		g := start(t, p)
		first := g.Topic("safe")
		pub := g.connect(t, g.Name("publisher"))
		victim := g.connect(t, g.Name("victim"), persistent)
		victim.subscribe(first+"/victim", 1)
		spy := g.connect(t, g.Name("spy"), persistent)
		spy.subscribe(first+"/end", 1)
		for _, filter := range []string{"/p2p/" + g.Name("victim"), "/p2p/" + g.Name("victim") + "/", "/p2p/+", "/p2p/#"} {
			spy.trySubscribe(filter, 1) // granted or not, it must deliver nothing
		}
		if spy.IsConnected() {
			spy.leave()
		}
		pub.publish(first+"/p2p/"+g.Name("victim"), 1, "secret")
		require.Equal(t, "secret", string(victim.await(1)[0].Payload()))
		victim.forget()
		spy = g.connect(t, g.Name("spy"), persistent)
		spy.only(pub, first+"/end")

		// And only {first}/p2p/ reaches the victim's queue.
		intruder := g.connect(t, g.Name("intruder"))
		intruder.Publish("/p2p/"+g.Name("victim"), 1, false, "forged").WaitTimeout(2 * time.Second)
		victim.only(pub, first+"/victim")
	})
}

func TestUnknownFirstLevelTopicsAreRefusedWithTheCommandThatMakesThem(t *testing.T) {
	t.Parallel()
	withEachPlugin(t, func(t *testing.T, p profile) {
		g := start(t, p, settings{"topics": settings{"auto_create": false}})
		known := g.Topic("known")
		unknown := g.Name("unknown")
		sub := g.connect(t, g.Name("subscriber"))
		require.Equal(t, byte(0x80), sub.trySubscribe(unknown+"/x", 1)[unknown+"/x"])
		sub.subscribe(known+"/x", 1)

		pub := g.connect(t, g.Name("publisher"))
		token := pub.Publish(unknown+"/x", 1, false, "lost")
		select {
		case <-pub.lost: // 3.1.1 has no way to refuse a PUBLISH
		case <-time.After(patience):
			t.Fatal("the connection stayed open after a PUBLISH that cannot be stored")
		}
		if token.WaitTimeout(0) {
			require.Error(t, token.Error(), "a PUBLISH that was not stored must not be acknowledged")
		}
		require.Contains(t, g.Log(), "lmqgate topic create")
		require.Contains(t, g.Log(), unknown)

		// The remedy in the log line works:
		g.CLI("topic", "create", unknown, "--config", g.config(), "--admin", "http://"+g.Admin).OK()
		pub = g.connect(t, g.Name("publisher"))
		eventually(t, patience, func() error {
			if code := sub.trySubscribe(unknown+"/x", 1)[unknown+"/x"]; code != 1 {
				return errCode(code)
			}
			return nil
		})
		pub.publish(unknown+"/x", 1, "found")
		require.Equal(t, "found", string(sub.await(1)[0].Payload()))
	})
}

func TestTopicsAreCreatedOnFirstUseWhereThatIsConfigured(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, p profile) {
		g := start(t, p, settings{"topics": settings{"auto_create": true}})
		topic := g.Name("fresh") + "/x"
		sub := g.connect(t, g.Name("subscriber"))
		sub.subscribe(topic, 1)
		pub := g.connect(t, g.Name("publisher"))
		pub.publish(topic, 1, "hello")
		require.Equal(t, "hello", string(sub.await(1)[0].Payload()))
		eventually(t, patience, func() error { return g.knows(g.Name("fresh")) }) // another node may have created it a moment ago
	})
}
