package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
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

// TestTheClusterIsOneForOperators queries one node about clients of another. Nodes of other tests may be in the same cluster, and any node
// may be too busy to answer in time.
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
	nodeOf := func(g *Gateway) (at map[string]string) { // as the nodes tell, not the metadata
		at = map[string]string{}
		for _, c := range list[admin.Client](g, append([]string{"clients", "list", "--limit", "0"}, prefix...)...) {
			if (c.ClientID == here.id || c.ClientID == there.id) && c.Subscriptions != nil {
				at[c.ClientID] = c.Node
				require.Equal(t, 1, *c.Subscriptions, "what only its node knows")
			}
		}
		return at
	}
	want := map[string]string{here.id: a.ID, there.id: b.ID}
	for _, g := range []*Gateway{a, b} {
		eventually(t, patience, func() error { // until the nodes have heard of each other
			got := nodeOf(g)
			if len(got) != 2 {
				return fmt.Errorf("%v", got)
			}
			require.Equal(t, want, got)
			return nil
		})
		for id, node := range want {
			require.Contains(t, g.operate("clients", "show", id).OK(), node)
			eventually(t, patience, func() error {
				subscriptions := list[admin.Subscription](g, "subscriptions", "--client-id", id)
				if len(subscriptions) == 0 {
					return fmt.Errorf("nobody knows the subscriptions of %s", id)
				}
				require.Len(t, subscriptions, 1)
				require.Equal(t, id, subscriptions[0].ClientID)
				return nil
			})
		}
	}
	eventually(t, patience, func() error {
		ready := a.connections()
		if _, ok := ready[a.ID]; !ok {
			return fmt.Errorf("ready are %v", ready)
		}
		if _, ok := ready[b.ID]; !ok {
			return fmt.Errorf("ready are %v", ready)
		}
		return nil
	})

	eventually(t, patience, func() error {
		r := a.operate("clients", "kick", there.id)
		if r.code == 0 || !there.IsConnectionOpen() {
			return nil
		}
		return errors.New(r.stderr)
	})
	there.awaitLoss()
	require.NotZero(t, a.operate("clients", "kick", a.Name("nobody")).code)
	there = b.connect(t, there.id, persistent)
	require.True(t, there.present, "a kick leaves the session")
	eventually(t, patience, func() error {
		r := a.operate("sessions", "end", there.id)
		if r.code == 0 || strings.Contains(r.stderr, "has no session") { // only the answer was late
			return nil
		}
		return errors.New(r.stderr)
	})
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

// connections returns the number of connections of each node that tells the gateway that it is ready.
func (g *Gateway) connections() map[string]int {
	g.t.Helper()
	out := map[string]int{}
	for _, n := range list[admin.Node](g, "nodes") {
		if n.Connections != nil && n.State == "ready" {
			out[n.ID] = *n.Connections
		}
	}
	return out
}

// sendsItsSurplus makes one node move clients to the other.
func sendsItsSurplus(t *testing.T, a, b *Gateway) {
	t.Helper()
	var clients []*client
	for i := range 5 {
		clients = append(clients, a.connect(t, a.Name(fmt.Sprint("c", i)), persistent))
	}
	eventually(t, patience, func() error { // until all others have left
		if all := b.connections(); all[a.ID] != len(clients) {
			return fmt.Errorf("the connections are %v", all)
		}
		return nil
	})
	var done admin.Rebalanced
	late := false // whether an answer did not come in time: what it said may have been done
	eventually(t, patience, func() error {
		r := b.operate("rebalance", "--node", a.ID, "--keep", "2", "--rate", "100", "-o", "json")
		if r.code != 0 {
			return errors.New(r.stderr)
		}
		done = admin.Rebalanced{}
		require.NoError(t, json.Unmarshal([]byte(r.stdout), &done))
		for _, u := range done.Unanswered {
			if u.Node == a.ID {
				late = true
				return errors.New(u.Error)
			}
		}
		return nil
	})
	if !late {
		require.Equal(t, []admin.Move{{Node: a.ID, Connections: 5, Keep: 2, Moves: 3}}, done.Moves)
	}
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
