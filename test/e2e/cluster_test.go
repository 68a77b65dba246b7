package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/admin"
)

// list runs a command that prints a list as JSON.
func list[T any](g *Gateway, args ...string) (items []T) {
	g.t.Helper()
	require.NoError(g.t, json.Unmarshal([]byte(g.operate(append(args, "-o", "json")...).OK()), &items))
	return items
}

// TestTheClusterIsOneForOperators queries one node about clients of another. Nodes of other tests may be in the same cluster.
func TestTheClusterIsOneForOperators(t *testing.T) {
	onOneNode(t, ownNodes)
	t.Parallel()
	a, b := start(t, rocketmqProfile), start(t, rocketmqProfile)
	topic := a.Topic("T")
	eventually(t, patience, func() error { return b.knows(topic) })
	here, there := a.connect(t, a.Name("x1"), persistent), b.connect(t, a.Name("x2"), persistent)
	here.subscribe(topic+"/1/#", 1)
	there.subscribe(topic+"/2/#", 1)
	prefix := []string{"--prefix", "x"}
	nodeOf := func(g *Gateway) (at map[string]string) {
		at = map[string]string{}
		for _, c := range list[admin.Client](g, append([]string{"clients", "list", "--limit", "0"}, prefix...)...) {
			if c.ClientID == here.id || c.ClientID == there.id {
				at[c.ClientID] = c.Node
				require.Equal(t, 1, *c.Subscriptions, "what only its node knows")
			}
		}
		return at
	}
	want := map[string]string{here.id: a.ID, there.id: b.ID}
	for _, g := range []*Gateway{a, b} {
		eventually(t, patience, func() error { // until the nodes have heard of each other
			if got := nodeOf(g); len(got) != 2 {
				return fmt.Errorf("%v", got)
			}
			return nil
		})
		require.Equal(t, want, nodeOf(g))
		for id, node := range want {
			require.Contains(t, g.operate("clients", "show", id).OK(), node)
			subscriptions := list[admin.Subscription](g, "subscriptions", "--client-id", id)
			require.Len(t, subscriptions, 1)
			require.Equal(t, id, subscriptions[0].ClientID)
		}
	}
	var nodes []string
	for _, n := range list[admin.Node](a, "nodes") {
		if n.Connections != nil && n.State == "ready" {
			nodes = append(nodes, n.ID)
		}
	}
	require.Subset(t, nodes, []string{a.ID, b.ID})

	a.operate("clients", "kick", there.id).OK()
	there.awaitLoss()
	require.NotZero(t, a.operate("clients", "kick", a.Name("nobody")).code)
	there = b.connect(t, there.id, persistent)
	require.True(t, there.present, "a kick leaves the session")
	a.operate("sessions", "end", there.id).OK()
	there.awaitLoss()
	for _, g := range []*Gateway{a, b} {
		for _, s := range list[admin.Session](g, append([]string{"sessions", "list"}, prefix...)...) {
			require.NotEqual(t, there.id, s.ClientID)
		}
	}
	require.False(t, b.connect(t, there.id, persistent).present)
	here.leave()
	sendsItsSurplus(t, a, b)
}

// awaitLoss waits until the gateway has closed the connection.
func (c *client) awaitLoss() {
	c.t.Helper()
	select {
	case <-c.lost:
	case <-time.After(patience):
		c.t.Fatalf("%s is connected still", c.id)
	}
}

// sendsItsSurplus makes one node move clients to the other.
func sendsItsSurplus(t *testing.T, a, b *Gateway) {
	t.Helper()
	var clients []*client
	for i := range 5 {
		clients = append(clients, a.connect(t, a.Name(fmt.Sprint("c", i)), persistent))
	}
	var done admin.Rebalanced
	eventually(t, patience, func() error { // until the nodes have heard of each other
		r := b.operate("rebalance", "--node", a.ID, "--keep", "2", "--rate", "100", "-o", "json")
		if r.code != 0 {
			return errors.New(r.stderr)
		}
		return json.Unmarshal([]byte(r.stdout), &done)
	})
	require.Equal(t, []admin.Move{{Node: a.ID, Connections: 5, Keep: 2, Moves: 3}}, done.Moves)
	eventually(t, patience, func() error {
		open := 0
		for _, c := range clients {
			if c.IsConnectionOpen() {
				open++
			}
		}
		if open != 2 {
			return fmt.Errorf("%d clients are connected", open)
		}
		return nil
	})
	for _, c := range clients {
		if !c.IsConnectionOpen() {
			require.True(t, b.connect(t, c.id, persistent).present)
		}
	}
}
