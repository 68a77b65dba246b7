package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/lmqgate/lmqgate/core/admin"
	"github.com/lmqgate/lmqgate/core/auth"
	"github.com/lmqgate/lmqgate/core/config"
	"github.com/lmqgate/lmqgate/core/limits"
	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/meta/metatest"
	"github.com/lmqgate/lmqgate/core/mqtt"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

func TestBansKnowAddressesAsConnectionsDo(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.1": "192.0.2.1/32", "192.0.2.1/32": "192.0.2.1/32", "::ffff:192.0.2.1": "192.0.2.1/32",
		"2001:db8::1": "2001:db8::/64", "2001:db8::/64": "2001:db8::/64",
		"2001:db8:1:203::/56": "2001:db8:1:200::/56", "2001:db8:1::/48": "2001:db8:1::/48",
	} {
		got, err := banned(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got.String())
	}
	for _, text := range []string{"", "x", "192.0.2.0/24", "2001:db8::/32", "2001:db8::/52", "::ffff:192.0.2.0/120"} {
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

// identified admits everybody as "dev".
type identified struct{ pluginv1.AuthClient }

func (identified) Authenticate(context.Context, *pluginv1.AuthenticateRequest, ...grpc.CallOption) (*pluginv1.AuthenticateResponse, error) {
	return &pluginv1.AuthenticateResponse{Identity: "dev"}, nil
}

// banNode is a gateway with what bans need of it, on a backend for metadata.
func banNode(t *testing.T, id string, b *metatest.Backend) *Gateway {
	t.Helper()
	m, err := meta.New(meta.Options{Client: b.Client(), Traits: b.Traits, NodeID: id})
	require.NoError(t, err)
	require.NoError(t, m.Start(t.Context()))
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	require.Eventually(t, func() bool { return m.Ready() == nil }, time.Minute, time.Millisecond)
	bans := limits.NewBans()
	g := &Gateway{id: id, bans: bans, recordedBans: m, mqtt: mqtt.New(mqtt.Options{Bans: bans}), log: slog.New(slog.DiscardHandler)}
	g.reloads.applied = &config.Config{}
	g.followBans()
	m.OnBansChanged(g.followBans)
	return g
}

func metadata(t *testing.T) *metatest.Backend {
	t.Helper()
	b := metatest.New(metatest.Full())
	t.Cleanup(b.Close)
	return b
}

func TestABanIsInForceOnEveryNodeThatLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // a node has two seconds to answer
		// Each has metadata of its own, so only a question can bring the ban.
		a, b := banNode(t, "a", metadata(t)), banNode(t, "b", metadata(t))
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
	})
}

func TestANodeThatStartsLaterKnowsTheBans(t *testing.T) {
	b := metadata(t)
	first := banNode(t, "first", b)
	here, ctx := &backend{first}, t.Context()
	long := strings.Repeat("x", 300)
	for kind, name := range map[string]string{"client": long, "user": "u", "address": "2001:db8::7"} {
		require.NoError(t, here.AddBan(ctx, admin.BanRequest{Kind: kind, Name: name, Reason: "why", Seconds: 60}))
	}
	_, before := first.bans.Count()
	require.EqualValues(t, 3, before, "a ban that comes back from the metadata is not counted again")
	later := banNode(t, "later", b)
	for kind, name := range map[string]string{limits.ByClient: long, limits.ByUser: "u", limits.ByAddress: "2001:db8::/64"} {
		ban, in := later.bans.Banned(kind, name)
		require.True(t, in, kind)
		require.Equal(t, "why", ban.Reason)
		require.True(t, later.bans.BannedByHand(kind, name))
	}
	require.NoError(t, (&backend{later}).RemoveBan(ctx, "client", long))
	require.NoError(t, (&backend{later}).RemoveBan(ctx, "address", "2001:db8::7"))
	require.Eventually(t, func() bool { return len(first.bans.List()) == 1 }, time.Minute, time.Millisecond)
	require.Len(t, banNode(t, "last", b).bans.List(), 1)
}

func TestABanThatCannotBeRecordedIsInForceAndSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // so that what cannot be recorded is given up at once
		b := metadata(t)
		g := banNode(t, "a", b)
		here, ctx := &backend{g}, t.Context()
		b.Fail(true)
		err := here.AddBan(ctx, admin.BanRequest{Kind: "client", Name: "c", Seconds: 60})
		require.ErrorContains(t, err, "in force, but not recorded: a node that starts later does not know it; run it again")
		_, in := g.bans.Banned(limits.ByClient, "c")
		require.True(t, in)
		b.Fail(false)
		require.NoError(t, here.AddBan(ctx, admin.BanRequest{Kind: "client", Name: "c", Seconds: 60}))
		b.Fail(true)
		require.ErrorContains(t, here.RemoveBan(ctx, "client", "c"), "a node that starts later may know it again; run it again")
		_, in = g.bans.Banned(limits.ByClient, "c")
		require.False(t, in)
		b.Fail(false)
		require.NoError(t, here.RemoveBan(ctx, "client", "c"))
	})
}

func TestABanOfLoopbackThatWasWrittenByHandHasNoEffect(t *testing.T) {
	b := metadata(t)
	b.Edit(meta.NamespaceBans, "address/127.0.0.1", fmt.Sprintf(`{"v":1,"until_ms":%d}`, time.Now().Add(time.Hour).UnixMilli()))
	b.Edit(meta.NamespaceBans, "address/192.0.2.0/24", fmt.Sprintf(`{"v":1,"until_ms":%d}`, time.Now().Add(time.Hour).UnixMilli()))
	b.Edit(meta.NamespaceBans, "address/192.0.2.1", fmt.Sprintf(`{"v":1,"until_ms":%d}`, time.Now().Add(time.Hour).UnixMilli()))
	list := banNode(t, "a", b).bans.List()
	require.Len(t, list, 1)
	require.Equal(t, "192.0.2.1/32", list[0].Name)
}

func TestABanThatSomeNodeDoesNotConfirmNamesTheNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // a node has two seconds to answer
		a := banNode(t, "a", metadata(t))
		a.cluster = nodesThatAsk(t, func(context.Context, string, string, []byte) ([]byte, error) {
			return nil, errors.New("it does not know bans")
		})
		err := (&backend{a}).AddBan(t.Context(), admin.BanRequest{Kind: "client", Name: "c", Seconds: 60})
		require.ErrorContains(t, err, "done, but not on b (it does not know bans)")
		_, in := a.bans.Banned(limits.ByClient, "c")
		require.True(t, in, "it is in force where it could be")
		events, missing := (&backend{a}).Recent(t.Context(), admin.RecentQuery{})
		require.Empty(t, events)
		require.Equal(t, []admin.Unanswered{{Node: "b", Error: "it does not know bans"}}, missing)
	})
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
	scram, err := auth.New(auth.Options{Client: identified{}, PluginName: func() string { return "p" }}).
		Authenticate(t.Context(), auth.Request{ClientID: "c2", Username: "any"})
	require.NoError(t, err)
	require.True(t, g.bans.Add(limits.Ban{Kind: limits.ByUser, Name: "dev", Until: time.Now().Add(time.Hour)}))
	require.True(t, g.leavesNoWill("c2", scram), "its identity is banned, whatever its CONNECT says")
	g.bans.Failed(limits.ByAddress, "2001:db8::/64", 1, "too many failed logins")
	require.False(t, g.leavesNoWill("c", by), "others at the address may have failed to log in")
}
