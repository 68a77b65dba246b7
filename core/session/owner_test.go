package session

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/packet"
)

// asUser returns an option that admits the client as the named identity; an empty name admits it without one.
func asUser(name string) func(*Request) {
	return func(r *Request) {
		if r.Owner = (meta.Owner{}); name != "" {
			r.Owner = meta.Owner{Name: name, Plugin: "auth-file"}
		}
	}
}

func (n *node) requireRefused(id string, change ...func(*Request)) {
	n.t.Helper()
	_, err := n.tryConnect(id, change...)
	require.ErrorIs(n.t, err, ErrOwner)
	require.ErrorContains(n.t, err, `it belongs to "ops", admitted by auth-file`)
	code, reason := Refusal(err)
	require.Equal(n.t, packet.ClientIdentifierNotValid, code)
	require.NotContains(n.t, reason, "ops", "a stranger is not told whose it is")
}

func TestASessionIsRefusedToOtherIdentitiesWhileItLives(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		ops := n.connect("c", durable, asUser("ops"))
		ops.subscribe(1, "secret/#")
		for _, others := range [][]func(*Request){{asUser("tenantb"), durable}, {asUser("tenantb")}, {asUser("tenantb"), clean}, {asUser(""), durable}, {asUser(""), clean}} {
			n.requireRefused("c", others...)
			require.False(t, ops.isClosed(), "the live connection stays")
		}
		ops.drop()
		n.publish(1, "secret/a", "1")
		for range 2 {
			for _, others := range [][]func(*Request){{asUser("tenantb"), durable}, {asUser("tenantb")}, {asUser("tenantb"), clean}, {asUser("")}} {
				n.requireRefused("c", others...)
			}
			n.restart()
		}
		ops = n.connect("c", durable, asUser("ops"))
		require.True(t, ops.present)
		ops.gets("1")
	})
}

func TestASessionIsItsOwnersOnAnotherNodeToo(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		rec := &meta.Session{ClientID: "c", Epoch: 1, Node: "other", Expiry: time.Hour, Created: time.Now(), Connected: time.Now()}
		rec.SetOwner(meta.Owner{Name: "ops", Plugin: "auth-file"})
		require.NoError(t, n.meta.Meta.SaveSession(context.Background(), rec))
		n.requireRefused("c", asUser("tenantb"), durable) // connected on the other node
		n.requireRefused("c", asUser("tenantb"), clean)
		rec.Disconnected = time.Now()
		require.NoError(t, n.meta.Meta.SaveSession(context.Background(), rec))
		n.requireRefused("c", asUser("tenantb"), durable) // disconnected, with a persistent session
		require.True(t, n.connect("c", asUser("ops"), durable).present)
	})
}

func TestALiveConnectionWithoutASessionIsNotTakenOverByAnotherIdentity(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		ops := n.connect("c", asUser("ops"))
		n.requireRefused("c", asUser("tenantb"))
		n.requireRefused("c", asUser("tenantb"), durable)
		require.False(t, ops.isClosed())
		again := n.connect("c", asUser("ops"))
		require.True(t, ops.isClosed())
		again.s.Ends(again, Ending{Graceful: true}) // its DISCONNECT was read, but it is not detached yet
		tenant := n.connect("c", asUser("tenantb"))
		require.Equal(t, "tenantb", tenant.s.Owner().Name)
		tenant.leave()
		n.connect("c", asUser("ops"))
	})
}

func TestASessionOfNobodyIsAdoptedByTheFirstWhoIsSomebody(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		c := n.connect("c", durable)
		c.subscribe(1, "T/#")
		require.True(t, n.connect("c", durable).present, "anonymous clients are one identity")
		ops := n.connect("c", durable, asUser("ops"))
		require.True(t, ops.present)
		require.Equal(t, meta.Owner{Name: "ops", Plugin: "auth-file"}, n.record("c").Owner())
		n.requireRefused("c", durable)
		n.requireRefused("c", durable, asUser("tenantb"))
		other := func(r *Request) { r.Owner = meta.Owner{Name: "ops", Plugin: "auth-jwt"} }
		require.True(t, n.connect("c", durable, other).present, "the same user, judged by the plugin that came after")
	})
}

func TestWhatIsRefusedChangesNothingOfTheOwners(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		watch := n.connect("watch", asUser("watch"))
		watch.subscribe(1, "wills/#")
		ops := n.connect("c", durable, asUser("ops"), will("delayed", time.Minute))
		ops.drop()
		n.requireRefused("c", asUser("tenantb"), clean)
		require.Zero(t, watch.waiting(), "the session has not ended")
		pass(time.Minute + time.Second)
		watch.gets("delayed")
	})
}

func TestASessionWhoseTimeIsOverIsNobodys(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		ops := n.connect("c", asUser("ops"), func(r *Request) { r.Expiry = time.Second })
		ops.leave()
		n.stop() // so that nothing removes the record
		pass(2 * time.Second)
		n.start()
		tenant := n.connect("c", asUser("tenantb"), durable)
		require.False(t, tenant.present)
		require.Equal(t, "tenantb", n.record("c").Owner().Name)
	})
}

func TestWithAnyOwnerWhoeverHasTheClientIDHasTheSession(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		ops := n.connect("c", durable, asUser("ops"))
		tenant := n.connect("c", durable, asUser("tenantb"))
		require.True(t, ops.isClosed())
		require.True(t, tenant.present)
		require.Equal(t, "tenantb", n.record("c").Owner().Name)
	}, func(n *node) { n.options.AnyOwner = true })
}

func TestASessionGoesWithAClientThatAuthenticatesAgain(t *testing.T) {
	ops := meta.Owner{Name: "ops", Plugin: "auth-file"}
	inVirtualTime(t, func(t *testing.T, n *node) {
		ctx := context.Background()
		c := n.connect("c", durable, asUser("tenantb"), will("w", time.Hour), leftBy(t, "tenantb"))
		r := Request{ClientID: "c", Will: &Will{}}
		leftBy(t, "ops")(&r)
		require.NoError(t, c.s.Renewed(ctx, c, ops, r.Will.By))
		require.Equal(t, "ops", c.s.Owner().Name)
		require.Equal(t, ops, n.record("c").Owner(), "it is recorded at once")
		w, err := n.meta.LoadWill(ctx, "c")
		require.NoError(t, err)
		require.Equal(t, r.Will.By.Record(), w.By)

		older := &client{n: n, id: "c"}
		require.NoError(t, c.s.Renewed(ctx, older, meta.Owner{Name: "tenantb"}, nil))
		require.Equal(t, "ops", c.s.Owner().Name, "an older connection changes nothing")
		n.meta.fail(meta.ErrUnavailable)
		require.NoError(t, c.s.Renewed(ctx, c, ops, r.Will.By), "nothing has changed")
		require.ErrorIs(t, c.s.Renewed(ctx, c, meta.Owner{Name: "third", Plugin: "auth-file"}, r.Will.By), meta.ErrUnavailable)
		n.meta.fail(nil)
		require.NoError(t, c.s.Renewed(ctx, c, ops, r.Will.By))
		c.leave()
		n.requireRefused("c", durable, asUser("tenantb"))
	})
}

func TestAnOperatorEndsASession(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		ctx := context.Background()
		require.ErrorIs(t, n.End(ctx, "c", false), ErrNoSession)
		watch := n.connect("watch")
		watch.subscribe(1, "wills/#")

		ops := n.connect("c", durable, asUser("ops"), will("connected", time.Minute))
		ops.subscribe(1, "T/#")
		require.NoError(t, n.End(ctx, "c", false))
		require.Equal(t, packet.AdministrativeAction, ops.code)
		require.Nil(t, n.record("c"))
		require.Nil(t, n.session("c"))
		watch.gets("connected") // published when the session ends, despite the delay
		ops.drop()

		tenant := n.connect("c", durable, asUser("tenantb"), will("asleep", time.Minute))
		require.False(t, tenant.present)
		tenant.subscribe(1, "T/#")
		tenant.drop()
		n.publish(1, "T/a", "1")
		require.NoError(t, n.End(ctx, "c", false))
		require.Nil(t, n.record("c"))
		watch.gets("asleep")

		clean := n.connect("c", asUser("ops"))
		require.NoError(t, n.End(ctx, "c", false))
		require.True(t, clean.isClosed())
		require.ErrorIs(t, n.End(ctx, "c", false), ErrNoSession)
	})
}

func TestASessionThatIsConnectedElsewhereIsNotEndedHere(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		ctx := context.Background()
		rec := &meta.Session{ClientID: "c", Epoch: 1, Node: "other", Expiry: time.Hour, Created: time.Now(), Connected: time.Now()}
		require.NoError(t, n.meta.Meta.SaveSession(ctx, rec))
		err := n.End(ctx, "c", false)
		require.ErrorIs(t, err, ErrElsewhere)
		require.ErrorContains(t, err, "other")
		require.NotNil(t, n.record("c"))
		require.NoError(t, n.End(ctx, "c", true), "that node has been asked")
		require.Nil(t, n.record("c"))
	}, func(n *node) { n.options.Alive = func(string) bool { return true } })
}

func TestAClientGetsWhatIsSentToItsClientIDOnlyOnceItIsKnownWhoseThatIs(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		watch := n.connect("watch")
		watch.subscribe(1, "wills/#")
		n.connect("c", durable, asUser("ops"), will("delayed", time.Minute)).drop()
		n.meta.fail(meta.ErrUnavailable)
		tenant, free := n.connect("c", asUser("tenantb"), clean), n.connect("free", asUser("tenantb"), clean)
		require.Zero(t, watch.waiting(), "the session of the other has not ended")
		n.publish(1, "T/p2p/c", "secret")
		n.publish(1, "T/p2p/free", "early")
		pass(20 * time.Second)
		n.meta.fail(nil)
		pass(20 * time.Second)
		n.publish(1, "T/p2p/c", "secret")
		n.publish(1, "T/p2p/free", "in time")
		free.gets("in time")
		pass(time.Second)
		require.Zero(t, tenant.waiting())
		tenant.leave()
		ops := n.connect("c", durable, asUser("ops"))
		require.True(t, ops.present)
		ops.gets("secret", "secret")
	})
}

func TestAClientThatAuthenticatedAgainMayConnectToAnotherNodeAsWhoItIsNow(t *testing.T) {
	inACluster(t, func(t *testing.T, a, b, _ *node) {
		for i := range 6 { // so that every node is in charge of some of them
			id := fmt.Sprint("client", i)
			old := a.connect(id, clean, asUser("tenantb"))
			pass(100 * time.Millisecond)
			require.NoError(t, old.s.Renewed(context.Background(), old, meta.Owner{Name: "ops", Plugin: "auth-file"}, nil))
			pass(100 * time.Millisecond)
			b.connect(id, asUser("ops"))
			b.eventually("the older connection is closed", old.isClosed)
		}
	})
}
