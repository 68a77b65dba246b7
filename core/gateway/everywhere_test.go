package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/admin"
	"github.com/lmqgate/lmqgate/core/cluster"
	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/store/local"
)

// The clients of three nodes are listed as the node that is asked sees them.
func TestAPageOfClientsIsWholeWhicheverNodesHaveThem(t *testing.T) {
	const limit = 7
	began := time.Now()
	connected := map[string][]string{}
	var records []*meta.Session
	var want []string
	for i := range 100 {
		id, node := fmt.Sprintf("c%02d", i), []string{"a", "b", "c"}[i%3]
		want = append(want, id)
		if i%4 == 0 { // disconnected
			records = append(records, &meta.Session{ClientID: id, Node: node, Connected: began.Add(-time.Hour), Disconnected: began.Add(-time.Minute)})
			continue
		}
		connected[node] = append(connected[node], id)
		if i%2 == 0 { // has a session record
			records = append(records, &meta.Session{ClientID: id, Node: node, Connected: began.Add(-time.Hour)})
		}
	}
	page := func(state, after string, silent ...string) admin.List[admin.Client] {
		q := admin.ClientQuery{Page: admin.Page{After: after, Limit: limit}, State: state}
		l := clientList{q: q, began: began, answered: map[string]bool{}, alive: func(string) bool { return true }}
		for node, ids := range connected {
			if state == "sleeping" || slices.Contains(silent, node) {
				continue
			}
			found := &firstOf[admin.Client]{n: limit, key: clientKey}
			for _, id := range ids {
				if wanted(q, id, "") {
					found.add(admin.Client{ClientID: id, Connected: true, Node: node})
				}
			}
			l.parts = append(l.parts, found.part())
			l.answered[node] = true
		}
		list, err := l.page(func(f func(*meta.Session) error) error {
			for _, rec := range records {
				if err := f(rec); err != nil {
					return err
				}
			}
			return nil
		})
		require.NoError(t, err)
		require.LessOrEqual(t, len(list.Items), limit)
		return list
	}
	all := func(state string, silent ...string) (ids []string) {
		for after, more := "", true; more; more = after != "" {
			list := page(state, after, silent...)
			for _, c := range list.Items {
				ids = append(ids, c.ClientID)
			}
			after = list.Next
		}
		return ids
	}
	require.Equal(t, want, all("all"))
	awake := slices.DeleteFunc(slices.Clone(want), func(id string) bool { return slices.Index(want, id)%4 == 0 })
	require.Equal(t, awake, all("connected"))
	require.Len(t, all("sleeping"), 25)
	require.Equal(t, len(awake)-len(connected["b"])+len(slices.DeleteFunc(slices.Clone(connected["b"]), func(id string) bool {
		return slices.Index(want, id)%2 == 1
	})), len(all("connected", "b")), "of a node that does not answer, what is recorded")
}

func TestAClientThatIsRecordedAsConnectedAndIsNotSleeps(t *testing.T) {
	began := time.Now()
	list := func(change func(*clientList, *meta.Session)) admin.List[admin.Client] {
		rec := &meta.Session{ClientID: "c", Node: "n", Connected: began.Add(-time.Hour)}
		l := clientList{q: admin.ClientQuery{Page: admin.Page{Limit: 10}, State: "all"}, began: began, parts: []part[admin.Client]{{}},
			answered: map[string]bool{}, alive: func(string) bool { return true }}
		change(&l, rec)
		out, err := l.page(func(f func(*meta.Session) error) error { return f(rec) })
		require.NoError(t, err)
		require.Len(t, out.Items, 1)
		return out
	}
	require.True(t, list(func(*clientList, *meta.Session) {}).Items[0].Connected, "its node lives and was not heard")
	require.False(t, list(func(l *clientList, _ *meta.Session) { l.alive = func(string) bool { return false } }).Items[0].Connected)
	require.False(t, list(func(l *clientList, _ *meta.Session) { l.answered["n"] = true }).Items[0].Connected, "its node says so")
	require.True(t, list(func(l *clientList, rec *meta.Session) {
		l.answered["n"], rec.Connected = true, began.Add(time.Second)
	}).Items[0].Connected, "it came while the nodes were asked")
}

func TestAClientThatMovesIsListedOnceWhereItIsNow(t *testing.T) {
	now := time.Now()
	l := clientList{q: admin.ClientQuery{Page: admin.Page{Limit: 10}, State: "all"}, parts: []part[admin.Client]{
		{Items: []admin.Client{{ClientID: "c", Node: "new", Since: now}}}, {Items: []admin.Client{{ClientID: "c", Node: "old", Since: now.Add(-time.Hour)}}}}}
	list, err := l.page(func(func(*meta.Session) error) error { return nil })
	require.NoError(t, err)
	require.Len(t, list.Items, 1)
	require.Equal(t, "new", list.Items[0].Node)
	s := admin.Subscription{ClientID: "c", Filter: "a/#"}
	require.Len(t, subscriptionPage(10, []part[admin.Subscription]{{Items: []admin.Subscription{s}}, {Items: []admin.Subscription{s}}}, nil).Items, 1)
}

func TestSubscriptionsWithLineBreaksAreListedApart(t *testing.T) {
	items := []admin.Subscription{{ClientID: "a", Filter: "b\nc"}, {ClientID: "a\nb", Filter: "c"}}
	for _, parts := range [][]part[admin.Subscription]{{{Items: items}}, {{Items: items[:1]}, {Items: items[1:]}}} {
		require.ElementsMatch(t, items, subscriptionPage(10, parts, nil).Items)
	}
}

func TestAPartOfLongNamesEndsEarlierAndThePageGoesOnThere(t *testing.T) {
	found := &firstOf[admin.Subscription]{n: 100, key: subscriptionKey}
	for i := range 100 {
		found.add(admin.Subscription{ClientID: fmt.Sprintf("c%02d", i), Filter: strings.Repeat("f", 60_000)})
	}
	raw, err := found.part().raw()
	require.NoError(t, err)
	require.NotEmpty(t, raw.Next)
	b, err := json.Marshal(raw)
	require.NoError(t, err)
	require.LessOrEqual(t, len(b), partBytes+100_000)
	var p part[admin.Subscription]
	require.NoError(t, json.Unmarshal(b, &p))
	list := subscriptionPage(100, []part[admin.Subscription]{p, {Items: []admin.Subscription{{ClientID: "z"}}}}, nil)
	require.Len(t, list.Items, len(p.Items), "what comes behind the end of a part waits for the next page")
	require.Equal(t, p.Next, list.Next)
}

// nodesThatAsk starts two nodes that know each other and returns the first. Both answer questions with the given function.
func nodesThatAsk(t *testing.T, answer func(ctx context.Context, from, subject string, body []byte) ([]byte, error)) *cluster.Cluster {
	t.Helper()
	st, err := local.New(local.Options{Path: filepath.Join(t.TempDir(), "store"), Sync: local.SyncInterval, SyncInterval: time.Second, MinFree: -1,
		Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	require.NoError(t, st.Start(context.Background()))
	t.Cleanup(func() { _ = st.Close() })
	var nodes []*cluster.Cluster
	for _, id := range []string{"a", "b"} {
		c := cluster.New(cluster.Options{NodeID: id, Store: st, Ensure: st.CreateTopic, Nodes: func() []string { return []string{"a", "b"} },
			Yield: func(context.Context, *cluster.Claim, bool) {}, Answer: answer})
		require.NoError(t, c.Start(context.Background()))
		t.Cleanup(c.Close)
		nodes = append(nodes, c)
	}
	require.Eventually(t, func() bool { return len(nodes[0].Members()) == 2 }, time.Minute, 5*time.Millisecond)
	return nodes[0]
}

func TestANodeThatFailsOrDoesNotUnderstandIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // a node has two seconds to answer
		c := nodesThatAsk(t, func(_ context.Context, _, subject string, body []byte) ([]byte, error) {
			switch subject {
			case "fails":
				return nil, errors.New("the disk is full")
			case "mumbles":
				return []byte("{"), nil
			}
			return body, nil
		})
		answers, missing := ask[string](t.Context(), c, "x", "echo")
		require.Equal(t, []answered[string]{{"b", "echo"}}, answers)
		require.Empty(t, missing)
		_, missing = ask[string](t.Context(), c, "fails", "echo")
		require.Equal(t, []admin.Unanswered{{Node: "b", Error: "the disk is full"}}, missing)
		answers, missing = ask[string](t.Context(), c, "mumbles", "echo")
		require.Empty(t, answers)
		require.Equal(t, "b", missing[0].Node)
		require.ErrorContains(t, unasked("c", missing), `it may be on b, which did not`)
		require.NoError(t, unasked("c", nil))
		g := &Gateway{version: "1"}
		_, err := g.answer(t.Context(), "b", "what else", nil)
		require.ErrorContains(t, err, "does not know")
		_, err = g.answer(t.Context(), "b", askKick, []byte("{"))
		require.ErrorContains(t, err, "cannot be read")
	})
}

func TestWhichNodesSendHowManyClientsOff(t *testing.T) {
	node := func(id, state string, connections int) answered[nodeState] {
		return answered[nodeState]{id, nodeState{State: state, Connections: connections}}
	}
	three := []answered[nodeState]{node("a", stateReady, 90), node("b", stateReady, 10), node("c", stateReady, 35)}
	away := []admin.Unanswered{{Node: "d", Error: "it is away"}}
	moves := func(m ...admin.Move) []admin.Move { return m }
	cases := map[string]struct {
		nodes []answered[nodeState]
		r     admin.RebalanceRequest
		want  []admin.Move
		fails string
	}{
		"to the average":                   {three, admin.RebalanceRequest{Keep: -1}, moves(admin.Move{Node: "a", Connections: 90, Keep: 45, Moves: 45}), ""},
		"to a number":                      {three, admin.RebalanceRequest{Keep: 30}, moves(admin.Move{Node: "a", Connections: 90, Keep: 30, Moves: 60}, admin.Move{Node: "c", Connections: 35, Keep: 30, Moves: 5}), ""},
		"of one node":                      {three, admin.RebalanceRequest{Node: "c", Keep: 0}, moves(admin.Move{Node: "c", Connections: 35, Moves: 35}), ""},
		"of one that has no more":          {three, admin.RebalanceRequest{Node: "b", Keep: -1}, nil, ""},
		"of one that is not there":         {three, admin.RebalanceRequest{Node: "x", Keep: -1}, nil, "there are a, b, c"},
		"of one that does not answer":      {three, admin.RebalanceRequest{Node: "d", Keep: -1}, nil, "it is away"},
		"where no other node is ready":     {[]answered[nodeState]{three[0], node("b", stateDraining, 1)}, admin.RebalanceRequest{Keep: -1}, nil, "no other node"},
		"a node that waits takes no share": {append([]answered[nodeState]{node("w", stateWaiting, 0)}, three...), admin.RebalanceRequest{Keep: -1}, moves(admin.Move{Node: "a", Connections: 90, Keep: 45, Moves: 45}), ""},
	}
	for name, tc := range cases {
		got, err := planMoves(tc.r, tc.nodes, away)
		if tc.fails != "" {
			require.ErrorContains(t, err, tc.fails, name)
			continue
		}
		require.NoError(t, err, name)
		require.Equal(t, tc.want, got, name)
	}
}

func TestAPageWithoutALimitEndsNothing(t *testing.T) {
	for _, n := range []int{0, -1} {
		f := firstOf[string]{n: n, key: func(s string) string { return s }}
		f.add("b")
		f.add("a")
		require.Empty(t, f.part().Next, "others may ask for anything: %d", n)
	}
}
