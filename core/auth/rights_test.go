package auth

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/topic"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
	"github.com/lmqgate/lmqgate/plugins/sdk/topicrules"
)

// stating makes the plugin admit clients with rights that may be kept for d.
func stating(s *scripted, d time.Duration, list ...*pluginv1.Right) {
	s.authenticate = func(*pluginv1.AuthenticateRequest) *pluginv1.AuthenticateResponse {
		return &pluginv1.AuthenticateResponse{Identity: "tenant/demo", Rights: &pluginv1.Rights{CacheMs: d.Milliseconds(), Rights: list}}
	}
}

// everything is the right to do everything.
func everything() *pluginv1.Right {
	return &pluginv1.Right{Allow: true, Publish: true, Subscribe: true, Filter: "#"}
}

func sub(filter string) Action { return Action{Kind: Subscribe, Topic: filter} }

// deny denies everything, for an hour.
func deny(*pluginv1.Action) *pluginv1.Decision {
	return &pluginv1.Decision{CacheMs: time.Hour.Milliseconds()}
}

func TestWhatAnAdmissionAllowsIsNotAskedForAndAllElseIs(t *testing.T) {
	list := []*pluginv1.Right{
		{Allow: true, Publish: true, Filter: "up/secret/open"},
		{Publish: true, Subscribe: true, Filter: "+/secret/#"},
		{Allow: true, Publish: true, Filter: "up/#"},
		{Allow: true, Subscribe: true, Filter: "down/+/#"},
		{Allow: true, Publish: true, Subscribe: true, Filter: "#"},
	}
	for _, c := range []struct {
		action  Action
		rights  int // how many of the list are stated
		allowed bool
	}{
		{pub("up/a"), 4, true},
		{Action{Kind: Publish, Topic: "up/a", QoS: 2, Retain: true}, 4, true},
		{pub("up/secret/open"), 4, true},
		{pub("up/secret/shut"), 4, false},
		{pub("down/a"), 4, false},
		{pub("up/#"), 4, false},
		{sub("down/a/b"), 4, true},
		{Action{Kind: Subscribe, Topic: "down/a/+", ShareGroup: "g", QoS: 1}, 4, true},
		{sub("down/#"), 4, false},
		{sub("down/+"), 4, false},
		{sub("down/secret/a"), 4, false},
		{sub("down/+/a"), 2, false},
		{sub("up/a"), 4, false},
		{sub("#"), 5, false}, // it has topics below +/secret
		{sub("a/b"), 5, true},
		{sub("$SYS/#"), 5, false},
		{pub("$x"), 5, false},
		{Action{Topic: "a"}, 5, false},
		{Action{Kind: 99, Topic: "a"}, 5, false},
	} {
		t.Run(fmt.Sprint(c.action, c.rights), func(t *testing.T) {
			s := &scripted{decide: deny}
			stating(s, time.Hour, list[:c.rights]...)
			a, _ := newAuth(s)
			p := admit(t, a)
			for range 2 {
				ok, err := a.Authorize(t.Context(), p, c.action)
				require.NoError(t, err)
				require.Equal(t, c.allowed, ok)
			}
			all, until, err := a.AuthorizeAll(t.Context(), p, []Action{c.action})
			require.NoError(t, err)
			require.Equal(t, []bool{c.allowed}, all)
			if c.allowed {
				require.Zero(t, s.asked())
				require.WithinRange(t, until, time.Now().Add(50*time.Minute), time.Now().Add(time.Hour))
			} else {
				require.Equal(t, 1, s.asked(), "the plugin denies, and is asked once while its decision may be kept")
			}
		})
	}
}

func TestNoRightOfAnAdmissionOutlivesWhatEndsIt(t *testing.T) {
	for what, end := range map[string]func(a *Auth){
		"revoked by client id":       func(a *Auth) { a.revoke(Revocation{ClientID: "dev1"}) },
		"revoked by user name":       func(a *Auth) { a.revoke(Revocation{Username: "demo"}) },
		"revoked by identity":        func(a *Auth) { a.revoke(Revocation{Identity: "tenant/demo"}) },
		"everybody's revoked":        func(a *Auth) { a.revoke(Revocation{}) },
		"swapped":                    func(a *Auth) { a.Swapped() },
		"revocations may be missing": func(a *Auth) { a.Drop() },
		"as old as it may be":        func(*Auth) { time.Sleep(time.Minute) },
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &scripted{decide: deny}
				stating(s, time.Minute, everything())
				a, _ := newAuth(s)
				p := admit(t, a)
				ok, err := a.Authorize(t.Context(), p, pub("a"))
				require.NoError(t, err)
				require.True(t, ok)
				end(a)
				for _, action := range []Action{pub("a"), sub("a")} {
					ok, err = a.Authorize(t.Context(), p, action)
					require.NoError(t, err)
					require.False(t, ok)
				}
				require.Equal(t, 2, s.asked())
				// Nor does it come back when the plugin goes away.
				s.setDown(true)
				time.Sleep(askAgain)
				_, err = a.Authorize(t.Context(), p, pub("b"))
				require.ErrorIs(t, err, ErrUnavailable)
			})
		})
	}
}

func TestWhatIsRevokedDuringALoginIsNotKept(t *testing.T) {
	for what, end := range map[string]func(a *Auth){
		"by identity":  func(a *Auth) { a.revoke(Revocation{Identity: "tenant/demo"}) },
		"by client id": func(a *Auth) { a.revoke(Revocation{ClientID: "dev1"}) },
		"by a swap":    func(a *Auth) { a.Swapped() },
	} {
		t.Run(what, func(t *testing.T) {
			s := &scripted{decide: deny}
			stating(s, time.Hour, everything())
			a, _ := newAuth(s)
			answer := s.authenticate
			s.authenticate = func(req *pluginv1.AuthenticateRequest) *pluginv1.AuthenticateResponse {
				end(a)
				return answer(req)
			}
			ok, err := a.Authorize(t.Context(), admit(t, a), pub("a"))
			require.NoError(t, err)
			require.False(t, ok)
			require.Equal(t, 1, s.asked())
		})
	}
}

func TestRightsWithoutATimeAreNotKept(t *testing.T) {
	s := &scripted{decide: deny}
	stating(s, 0, everything())
	a, _ := newAuth(s)
	ok, err := a.Authorize(t.Context(), admit(t, a), pub("a"))
	require.NoError(t, err)
	require.False(t, ok)
}

func TestExpiredRightsAreUsedForAWhileAsDecisionsAre(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{decide: deny}
		stating(s, time.Minute, everything())
		a, _ := newAuth(s)
		p := admit(t, a)
		time.Sleep(time.Minute)
		s.setDown(true)
		ok, err := a.Authorize(t.Context(), p, pub("a"))
		require.NoError(t, err)
		require.True(t, ok)
		time.Sleep(StaleAllowance)
		_, err = a.Authorize(t.Context(), p, pub("a"))
		require.ErrorIs(t, err, ErrUnavailable)
	})
}

func TestRightsTakeBoundedMemoryAndTheRestIsAskedFor(t *testing.T) {
	long := strings.Repeat("x", rightsBytes/2)
	var many, large []*pluginv1.Right
	for i := range 100 {
		many = append(many, &pluginv1.Right{Allow: true, Publish: true, Filter: fmt.Sprintf("t/%d", i)})
		large = append(large, &pluginv1.Right{Allow: true, Publish: true, Filter: fmt.Sprintf("%s/%d", long[:len(long)-2], i)})
	}
	require.Len(t, rightsOf(&pluginv1.Rights{Rights: many}), rightsMost)
	require.Len(t, rightsOf(&pluginv1.Rights{Rights: large}), 2)

	s := &scripted{decide: deny}
	stating(s, time.Hour, many...)
	a, _ := newAuth(s)
	p := admit(t, a)
	for topic, want := range map[string]bool{"t/15": true, "t/16": false} {
		ok, err := a.Authorize(t.Context(), p, pub(topic))
		require.NoError(t, err)
		require.Equal(t, want, ok, topic)
	}
}

func TestAnAnswerFromRightsCostsNoAllocation(t *testing.T) {
	s := &scripted{decide: deny}
	stating(s, time.Hour, &pluginv1.Right{Publish: true, Filter: "a/+/c"}, everything())
	a, _ := newAuth(s)
	p, action := admit(t, a), pub("a/b/d")
	require.Zero(t, testing.AllocsPerRun(100, func() { _, _ = a.Authorize(t.Context(), p, action) }))
}

// Plugins test their rights with topicrules.Allows.
func FuzzRightsAreReadAsPluginsTestThem(f *testing.F) {
	f.Add("a/+", "a/b", "a/#", byte(1))
	f.Add("+/#", "#", "#", byte(3))
	f.Add("$SYS/#", "#", "$SYS/a", byte(7))
	f.Fuzz(func(t *testing.T, one, two, name string, bits byte) {
		if topic.ValidateFilter(one) != nil || topic.ValidateFilter(two) != nil || topic.ValidateFilter(name) != nil {
			t.Skip()
		}
		stated := &pluginv1.Rights{Rights: []*pluginv1.Right{
			{Allow: bits&1 != 0, Publish: bits&2 != 0, Subscribe: bits&4 == 0, Filter: one},
			{Allow: true, Publish: true, Subscribe: true, Filter: two},
		}}
		kept := rightsOf(stated)
		if len(kept) < 2 {
			t.Skip()
		}
		if topic.ValidateName(name) == nil && allows(kept, pub(name)) != topicrules.Allows(stated, topicrules.Publish, name) {
			t.Fatalf("publish %q by %v", name, stated)
		}
		if allows(kept, sub(name)) != topicrules.Allows(stated, topicrules.Subscribe, name) {
			t.Fatalf("subscribe %q by %v", name, stated)
		}
	})
}

func BenchmarkAuthorizeByRights(b *testing.B) {
	s := &scripted{decide: deny}
	stating(s, time.Hour, everything())
	a, _ := newAuth(s)
	p, action := admit(b, a), pub("sensors/3/state/temperature")
	for b.Loop() {
		if ok, err := a.Authorize(b.Context(), p, action); err != nil || !ok {
			b.Fatal(ok, err)
		}
	}
}

func BenchmarkAuthorizeByCache(b *testing.B) {
	s := &scripted{decide: allowFor(time.Hour)}
	a, _ := newAuth(s)
	p, action := admit(b, a), pub("sensors/3/state/temperature")
	for b.Loop() {
		if ok, err := a.Authorize(b.Context(), p, action); err != nil || !ok {
			b.Fatal(ok, err)
		}
	}
}
