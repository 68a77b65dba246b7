package session

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/topic"
)

func TestATakeoverClosesTheOlderConnectionAndKeepsTheState(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		old := n.connect("c", durable)
		require.False(t, old.present)
		old.subscribe(2, "T/+")
		n.publish(1, "T/a", "1")
		n.publish(2, "T/a", "2")
		first := []packet.Publish{old.next(), old.next()}
		now := n.connect("c", durable)
		require.True(t, old.isClosed())
		require.Equal(t, packet.SessionTakenOver, old.code)
		require.True(t, now.present)
		for _, f := range first {
			p := now.next()
			require.True(t, p.Dup)
			require.Equal(t, f.PacketID, p.PacketID)
			now.ack(p)
		}
		old.drop() // too late: it ends nothing
		n.publish(1, "T/a", "3")
		now.gets("3")
		require.Same(t, now.s, n.session("c"))
		require.Nil(t, n.session("nobody"))
	})
}

func TestACleanStartEndsTheSessionBefore(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		for _, left := range []bool{false, true} {
			c := n.connect("c", durable)
			c.subscribe(1, "T/+")
			n.publish(1, "T/a", "1")
			c.next()
			if left {
				c.drop()
			}
			c = n.connect("c", clean)
			require.False(t, c.present)
			require.Nil(t, n.record("c"))
			at, err := n.store.Committed(context.Background(), "c", []store.QueueRef{{Queue: topic.Queue("T/+"), Broker: "local"}})
			require.NoError(t, err)
			require.Empty(t, at, "its progress is forgotten")
			require.False(t, c.s.Durable())
			c.leave()
			require.Nil(t, n.session("c"))
		}
	})
}

func TestASessionGoesOnAfterARestart(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		c := n.connect("c", durable)
		c.subscribe(1, "T/+", "T/#", "U/a")
		n.publish(1, "T/a", "1")
		c.gets("1")
		c.leave()
		require.Nil(t, n.session("c"), "it sleeps on disk")
		n.publish(1, "T/a", "2")
		n.publish(1, "U/a", "3")
		n.restart()
		c = n.connect("c", durable)
		require.True(t, c.present)
		require.ElementsMatch(t, []string{"2", "3"}, []string{string(c.next().Payload), string(c.next().Payload)})
		require.Len(t, n.record("c").Subscriptions, 3)
	})
}

func TestManySubscriptionsAreMatchedInATrie(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		c := n.connect("c", durable)
		filters := make([]string, manySubscriptions+2)
		for i := range filters {
			filters[i] = "T/" + strconv.Itoa(i)
		}
		c.subscribe(1, filters...)
		require.NotNil(t, c.s.matcher)
		n.publish(1, "T/3", "m")
		c.gets("m")
		require.Equal(t, []packet.Code{packet.Success, packet.NoSubscriptionExisted}, c.s.Unsubscribe(context.Background(), []string{"T/3", "T/x"}))
		n.publish(1, "T/3", "unwanted")
		n.publish(1, "T/4", "wanted")
		c.gets("wanted")
	})
}

func TestWithoutMetadataOnlyClientsThatWantNoSessionConnect(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		kept := n.connect("kept", durable)
		kept.subscribe(1, "T/a")
		kept.leave()
		n.meta.fail(meta.ErrUnavailable)
		_, err := n.tryConnect("kept", durable)
		require.ErrorIs(t, err, meta.ErrUnavailable)
		_, err = n.tryConnect("new", durable)
		require.ErrorIs(t, err, meta.ErrUnavailable)
		c := n.connect("clean", clean, will("w", 0))
		c.subscribe(1, "T/a")
		n.publish(1, "T/a", "m")
		c.gets("m")
		n.meta.fail(nil)
		kept = n.connect("kept", durable)
		require.True(t, kept.present)
		kept.gets("m")
	})
}

func TestACleanStartReplacesItsSessionAlsoWhereThereIsNoRoomForMore(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		for _, id := range []string{"a", "b", "c"} {
			n.connect(id, durable).leave()
		}
		n.meta.SetQuotas(meta.Quotas{Sessions: 2})
		_, err := n.tryConnect("d", durable)
		require.ErrorIs(t, err, meta.ErrLimit)
		a := n.connect("a", durable, clean)
		require.False(t, a.present)
		a.leave()
		require.True(t, n.connect("a", durable).present)
	})
}

func TestAClientWhoseRecordCannotBeWrittenIsRefused(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		n.meta.onSave(func(*meta.Session) error { return meta.ErrLimit })
		_, err := n.tryConnect("c", durable)
		require.ErrorIs(t, err, meta.ErrLimit)
		require.Nil(t, n.session("c"))
		n.meta.onSave(nil)
		c := n.connect("c", durable)
		n.meta.onSave(func(*meta.Session) error { return meta.ErrLimit })
		require.Equal(t, []packet.Code{packet.QuotaExceeded}, c.trySubscribe(1, "T/a"))
		require.Empty(t, c.s.subs)
		n.meta.onSave(nil)
		c.subscribe(1, "T/a")
		n.meta.onSave(func(*meta.Session) error { return errors.New("broken") })
		require.Equal(t, []packet.Code{packet.UnspecifiedError}, c.trySubscribe(0, "T/a"))
		require.Equal(t, []packet.Code{packet.UnspecifiedError}, c.s.Unsubscribe(context.Background(), []string{"T/a"}))
		c.drop() // the disconnect cannot be recorded; nothing else must happen
		require.True(t, n.record("c").Disconnected.IsZero())
	})
}

func TestASessionWhoseWillHasNoRoomLeavesNothingBehind(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		n.meta.failWills(meta.ErrLimit)
		_, err := n.tryConnect("c", durable, will("w", time.Minute))
		require.ErrorIs(t, err, meta.ErrLimit)
		require.Nil(t, n.session("c"))
		require.Empty(t, n.backend.Keys(meta.NamespaceSessions))
		require.Empty(t, n.backend.Keys(meta.NamespaceWills))
		n.meta.failWills(nil)
		kept := n.connect("c", durable, will("w", time.Minute))
		require.False(t, kept.present)
		kept.subscribe(1, "T/a")
		kept.leave()
		n.meta.failWills(meta.ErrLimit)
		_, err = n.tryConnect("c", durable, will("another", time.Minute))
		require.ErrorIs(t, err, meta.ErrLimit)
		require.Len(t, n.record("c").Subscriptions, 1, "a session that was there stays")
	})
}

func TestAClientIsRefusedWhileNoBrokerSaysWhereItsQueueEnds(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		n.store.FailReads(store.ErrUnavailable)
		_, err := n.tryConnect("c", durable)
		require.ErrorIs(t, err, store.ErrUnavailable)
		n.store.FailReads(nil)
		c := n.connect("c", durable)
		n.store.FailReads(store.ErrUnavailable)
		require.Equal(t, []packet.Code{packet.UnspecifiedError}, c.trySubscribe(1, "T/a"))
	})
}

func TestConnectionsOfOneClientWaitForOneAnother(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		unlock, err := n.lock(context.Background(), "c")
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, _, err = n.Connect(ctx, Request{ClientID: "c", Conn: &client{}})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		unlock()
		require.Empty(t, n.locks)
		c := n.connect("c", durable)
		unlock, err = n.lock(context.Background(), "c")
		require.NoError(t, err)
		c.drop() // gives up waiting for the lock after a while
		unlock()
		require.NotNil(t, n.session("c"))
	})
}

func TestAClosedNodeTakesNobody(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		c := n.connect("c", durable)
		n.restart()
		require.True(t, c.isClosed())
		require.Equal(t, packet.ServerShuttingDown, c.code)
		old := n.Manager
		n.restart()
		_, _, err := old.Connect(context.Background(), Request{ClientID: "c", Conn: &client{}})
		require.ErrorIs(t, err, ErrClosed)
	})
}

func TestAnotherNodesConnectionEndsTheOneHere(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		c := n.connect("c", durable)
		c.subscribe(1, "T/a")
		require.NoError(t, n.store.Commit(context.Background(), "c", c.s.epoch+1, []store.Offset{{QueueRef: store.QueueRef{Queue: topic.Queue("T/a"), Broker: "local"}, Next: 0}}))
		n.publish(1, "T/a", "1")
		c.gets("1")
		n.eventually("the connection is closed", c.isClosed)
		require.Equal(t, packet.SessionTakenOver, c.code)
	})
}

func TestTheClientSaysHowItsConnectionEnds(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		c := n.connect("c", durable, will("w", 0))
		watcher := n.connect("watcher", clean)
		watcher.subscribe(1, "wills/+")
		require.Equal(t, "c", c.s.ClientID())
		none := time.Duration(0)
		c.s.Ends(&client{}, Ending{}) // from a different connection, so ignored
		c.s.Ends(c, Ending{Graceful: true, Expiry: &none})
		c.drop() // the socket closes before the DISCONNECT is processed
		require.Nil(t, n.record("c"))
		require.Zero(t, watcher.waiting())
	})
}

func TestAnEndThatCannotBeRecordedIsMadeUpForLater(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		c := n.connect("c", durable)
		none := time.Duration(0)
		n.meta.fail(meta.ErrUnavailable)
		c.s.Detach(c, Ending{Expiry: &none})
		n.meta.fail(nil)
		require.NotNil(t, n.record("c"))
		require.False(t, n.connect("c", durable, clean).present)
	})
}

func TestOperatorsSeeAndCloseConnections(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		c := n.connect("c", durable, func(r *Request) { r.Username, r.Listener = "u", "tcp" })
		c.subscribe(1, "T/a", "$share/g/T/b")
		n.publish(1, "T/a", "m")
		c.next()
		away := n.connect("away", durable)
		away.subscribe(1, "T/a")
		n.publish(1, "T/a", "m")
		away.next()
		c.next()
		away.drop()
		list := n.Clients()
		require.Len(t, list, 1)
		require.Equal(t, "u", list[0].Username)
		require.Equal(t, 2, list[0].Subscriptions)
		require.Equal(t, 2, list[0].InFlight)
		require.EqualValues(t, 2, list[0].Delivered)
		require.True(t, list[0].Durable)
		require.ElementsMatch(t, []SubscriptionInfo{{"c", "T/a", 1, ""}, {"c", "$share/g/T/b", 1, "g"}}, n.Subscriptions())
		require.True(t, n.Kick("c"))
		require.Equal(t, packet.AdministrativeAction, c.code)
		require.False(t, n.Kick("away"))
		require.False(t, n.Kick("nobody"))
	})
}

func TestWhetherAFilterIsInUse(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		c := n.connect("c", durable)
		c.subscribe(1, "T/a", "$share/g/T/b")
		n.connect("d", clean).subscribe(1, "T/c")
		for filter, used := range map[string]bool{"T/a": true, "T/b": true, "$share/g/T/b": true, "T/c": false, "T/d": false, "$share/h/T/b": false} {
			require.Equal(t, used, n.InUse(filter), filter)
		}
	})
}
