package gateway

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/admin"
	"github.com/lmqgate/lmqgate/core/auth"
	"github.com/lmqgate/lmqgate/core/limits"
	"github.com/lmqgate/lmqgate/core/mqtt"
)

func TestBansKnowAddressesAsConnectionsDo(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.1": "192.0.2.1/32", "192.0.2.1/32": "192.0.2.1/32", "::ffff:192.0.2.1": "192.0.2.1/32",
		"2001:db8::1": "2001:db8::/64", "2001:db8::/64": "2001:db8::/64",
	} {
		got, err := banned(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got.String())
	}
	for _, text := range []string{"", "x", "192.0.2.0/24", "2001:db8::/32"} {
		_, err := banned(text)
		require.ErrorIs(t, err, admin.ErrInvalid, text)
	}
}

func TestABanOfSeveralNodesIsListedOnce(t *testing.T) {
	soon, late := time.Unix(100, 0), time.Unix(200, 0)
	ban := func(name string, until time.Time, nodes ...string) admin.Ban {
		return admin.Ban{Kind: "client", Name: name, Until: until, Nodes: nodes}
	}
	parts := []part[admin.Ban]{
		{Items: []admin.Ban{ban("a", soon, "one"), ban("c", soon, "one")}},
		{Items: []admin.Ban{ban("a", late, "two"), ban("b", soon, "two")}, Next: "client/b"},
	}
	page := mergeBans(admin.Page{Limit: 10}, parts)
	require.Equal(t, []admin.Ban{ban("a", late, "one", "two"), ban("b", soon, "two")}, page.Items, "c comes after what the second node told")
	require.Equal(t, "client/b", page.Next)
	page = mergeBans(admin.Page{Limit: 1}, parts)
	require.Equal(t, []admin.Ban{ban("a", late, "one", "two")}, page.Items)
	require.Equal(t, "client/a", page.Next)
}

func TestABanIsInForceOnEveryNodeThatLives(t *testing.T) {
	node := func(id string) *Gateway {
		bans := limits.NewBans()
		return &Gateway{id: id, bans: bans, mqtt: mqtt.New(mqtt.Options{Bans: bans}), log: slog.New(slog.DiscardHandler)}
	}
	a, b := node("a"), node("b")
	a.cluster = nodesThatAsk(t, b.answer)
	here := &backend{a}
	ctx := t.Context()
	require.NoError(t, here.AddBan(ctx, admin.BanRequest{Kind: "client", Name: "c", Reason: "why", Seconds: 60}))
	for _, g := range []*Gateway{a, b} {
		ban, in := g.bans.Banned(limits.ByClient, "c")
		require.True(t, in, g.id)
		require.Equal(t, "why", ban.Reason)
	}
	require.True(t, b.bans.Add(limits.Ban{Kind: limits.ByUser, Name: "u", Until: time.Now().Add(time.Minute)}))
	list := here.Bans(ctx, admin.Page{Limit: 10})
	require.Empty(t, list.Unanswered)
	require.Len(t, list.Items, 2)
	require.Equal(t, []string{"a", "b"}, list.Items[0].Nodes)
	require.Equal(t, []string{"b"}, list.Items[1].Nodes)
	require.NoError(t, here.RemoveBan(ctx, "user", "u"), "another node has it")
	require.NoError(t, here.RemoveBan(ctx, "client", "c"))
	require.Empty(t, here.Bans(ctx, admin.Page{Limit: 10}).Items)
	require.ErrorIs(t, here.RemoveBan(ctx, "client", "c"), admin.ErrNotFound)
	_, missing := here.Recent(ctx, admin.RecentQuery{ClientID: "c"})
	require.Empty(t, missing)
}

func TestABanThatSomeNodeDoesNotConfirmNamesTheNode(t *testing.T) {
	bans := limits.NewBans()
	a := &Gateway{id: "a", bans: bans, mqtt: mqtt.New(mqtt.Options{Bans: bans}), log: slog.New(slog.DiscardHandler)}
	a.cluster = nodesThatAsk(t, func(context.Context, string, string, []byte) ([]byte, error) {
		return nil, errors.New("it does not know bans")
	})
	err := (&backend{a}).AddBan(t.Context(), admin.BanRequest{Kind: "client", Name: "c", Seconds: 60})
	require.ErrorContains(t, err, "done, but not on b (it does not know bans)")
	_, in := bans.Banned(limits.ByClient, "c")
	require.True(t, in, "it is in force where it could be")
	events, missing := (&backend{a}).Recent(t.Context(), admin.RecentQuery{})
	require.Empty(t, events)
	require.Equal(t, []admin.Unanswered{{Node: "b", Error: "it does not know bans"}}, missing)
}

func TestWhoIsBannedByAnOperatorLeavesNoWill(t *testing.T) {
	g := &Gateway{bans: limits.NewBans()}
	by, err := auth.Anonymous().Authenticate(t.Context(), auth.Request{ClientID: "c", Username: "u", RemoteAddr: "[2001:db8::5]:1234"})
	require.NoError(t, err)
	require.False(t, g.leavesNoWill("c", by))
	for kind, name := range map[string]string{limits.ByClient: "c", limits.ByUser: "u", limits.ByAddress: "2001:db8::/64"} {
		require.True(t, g.bans.Add(limits.Ban{Kind: kind, Name: name, Until: time.Now().Add(time.Hour)}))
		require.True(t, g.leavesNoWill("c", by), kind)
		require.Equal(t, kind == limits.ByClient, g.leavesNoWill("c", nil), "a will whose client is not known")
		require.True(t, g.bans.Remove(kind, name))
	}
	g.bans.Failed(limits.ByAddress, "2001:db8::/64", 1, "too many failed logins")
	require.False(t, g.leavesNoWill("c", by), "others at the address may have failed to log in")
}
