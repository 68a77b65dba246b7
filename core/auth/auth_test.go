package auth

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

func TestAuthenticateTellsThePluginWhatIsKnownAndKeepsWhatItSays(t *testing.T) {
	var seen *pluginv1.AuthenticateRequest
	s := &scripted{authenticate: func(req *pluginv1.AuthenticateRequest) *pluginv1.AuthenticateResponse {
		seen = req
		return &pluginv1.AuthenticateResponse{
			Identity: "tenant/demo", Attributes: map[string]string{"role": "sensor"}, ExpiresAtMs: time.Now().Add(time.Hour).UnixMilli(),
		}
	}}
	a, _ := newAuth(s)
	p := admit(t, a)
	require.Equal(t, "dev1", seen.GetConnection().GetClientId())
	require.Equal(t, "demo", seen.GetConnection().GetUsername())
	require.True(t, seen.GetConnection().GetHasUsername())
	require.Equal(t, []byte("pass-word"), seen.GetPassword())
	require.Equal(t, uint32(4), seen.GetConnection().GetMqttVersion())
	require.Equal(t, "tcp", seen.GetConnection().GetListener())
	require.Equal(t, "127.0.0.1:4711", seen.GetConnection().GetRemoteAddress())

	require.Equal(t, "dev1", p.ClientID())
	require.Equal(t, "demo", p.Username())
	require.Equal(t, "tenant/demo", p.Identity())
	require.Equal(t, map[string]string{"role": "sensor"}, p.Attributes())
	require.Equal(t, "scripted", p.AdmittedBy())
	require.WithinDuration(t, time.Now().Add(time.Hour), p.ExpiresAt(), time.Minute)
}

func TestADenialHasThePluginsReasonAndIsLoggedWithoutThePassword(t *testing.T) {
	for reason, want := range map[pluginv1.Reason]Reason{
		pluginv1.Reason_REASON_BAD_CREDENTIALS: BadCredentials, pluginv1.Reason_REASON_NOT_AUTHORIZED: NotAuthorized,
		pluginv1.Reason_REASON_BAD_CLIENT_ID: BadClientID, pluginv1.Reason_REASON_BANNED: Banned,
		pluginv1.Reason_REASON_UNAVAILABLE: Unavailable, pluginv1.Reason(99): NotAuthorized,
	} {
		s := &scripted{authenticate: func(*pluginv1.AuthenticateRequest) *pluginv1.AuthenticateResponse {
			return &pluginv1.AuthenticateResponse{Reason: reason, Detail: "wrong signature"}
		}}
		a, logs := newAuth(s)
		_, err := a.Authenticate(t.Context(), Request{ClientID: "dev 1\n", Username: "demo", HasUsername: true, Password: []byte("pass-word"), HasPassword: true})
		var denied *Denied
		require.ErrorAs(t, err, &denied)
		require.Equal(t, want, denied.Reason)
		require.Equal(t, "wrong signature", denied.Detail)
		for _, part := range []string{`client="dev 1\n"`, "user=demo", `detail="wrong signature"`} {
			require.Contains(t, logs.String(), part)
		}
		require.NotContains(t, logs.String(), "pass-word")
		require.Equal(t, 1, strings.Count(logs.String(), "\n"))
	}
}

func TestNobodyIsAdmittedWithoutThePlugin(t *testing.T) {
	s := &scripted{down: true}
	a, logs := newAuth(s)
	_, err := a.Authenticate(t.Context(), Request{ClientID: "dev1", Password: []byte("pass-word")})
	var denied *Denied
	require.ErrorAs(t, err, &denied)
	require.Equal(t, Unavailable, denied.Reason)
	require.NotContains(t, logs.String(), "pass-word")
}

func TestAnAdmissionThatHasExpiredIsNone(t *testing.T) {
	s := &scripted{authenticate: func(*pluginv1.AuthenticateRequest) *pluginv1.AuthenticateResponse {
		return &pluginv1.AuthenticateResponse{ExpiresAtMs: 1}
	}}
	a, _ := newAuth(s)
	_, err := a.Authenticate(t.Context(), Request{ClientID: "dev1"})
	require.Error(t, err)
}

func TestAPeerCertificateIsTold(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "dev1", Organization: []string{"acme"}}, DNSNames: []string{"dev1.local"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	var seen *pluginv1.PeerCertificate
	s := &scripted{
		authenticate: func(req *pluginv1.AuthenticateRequest) *pluginv1.AuthenticateResponse {
			seen = req.GetConnection().GetPeerCertificate()
			return &pluginv1.AuthenticateResponse{}
		},
		decide: allowFor(0),
	}
	a, _ := newAuth(s)
	p, err := a.Authenticate(t.Context(), Request{ClientID: "dev1", PeerCertificates: []*x509.Certificate{cert}})
	require.NoError(t, err)
	require.Equal(t, "dev1", seen.GetCommonName())
	require.Equal(t, "CN=dev1,O=acme", seen.GetSubject())
	require.Equal(t, []string{"dev1.local"}, seen.GetDnsNames())
	require.Equal(t, [][]byte{der}, seen.GetChain())
	require.Len(t, seen.GetSha256(), 64)

	_, err = a.Authorize(t.Context(), p, pub("a"))
	require.NoError(t, err)
	again := s.questions[0].GetClient().GetConnection().GetPeerCertificate()
	require.Equal(t, "dev1", again.GetCommonName())
	require.Empty(t, again.GetChain(), "the chain is not kept for the life of the connection")
}

func TestADecisionIsAskedForOnceWhileItMayBeKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{decide: allowFor(10 * time.Second)}
		a, _ := newAuth(s)
		p := admit(t, a)
		for range 3 {
			ok, err := a.Authorize(t.Context(), p, pub("a/b"))
			require.NoError(t, err)
			require.True(t, ok)
		}
		require.Equal(t, 1, s.asked())
		// A different topic, kind or group needs another decision; another QoS does not.
		ok, err := a.Authorize(t.Context(), p, Action{Kind: Publish, Topic: "a/b", QoS: 2, Retain: true})
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, 1, s.asked())
		for n, action := range []Action{pub("a/c"), {Kind: Subscribe, Topic: "a/b"}, {Kind: Subscribe, Topic: "a/b", ShareGroup: "g"}} {
			_, err := a.Authorize(t.Context(), p, action)
			require.NoError(t, err)
			require.Equal(t, n+2, s.asked())
		}
		// The jitter shortens it by at most a tenth.
		time.Sleep(8999 * time.Millisecond)
		_, _ = a.Authorize(t.Context(), p, pub("a/b"))
		require.Equal(t, 4, s.asked())
		time.Sleep(1002 * time.Millisecond)
		_, _ = a.Authorize(t.Context(), p, pub("a/b"))
		require.Equal(t, 5, s.asked())
	})
}

func TestADecisionThatDependsOnQoSAndRetainHoldsForThoseOnly(t *testing.T) {
	s := &scripted{decide: func(a *pluginv1.Action) *pluginv1.Decision {
		return &pluginv1.Decision{Allow: a.GetQos() < 2 && !a.GetRetain(), CacheMs: 60000, DependsOnQosRetain: true}
	}}
	a, _ := newAuth(s)
	p := admit(t, a)
	for round := range 2 {
		for _, c := range []struct {
			qos    byte
			retain bool
			want   bool
		}{{0, false, true}, {1, false, true}, {2, false, false}, {0, true, false}} {
			ok, err := a.Authorize(t.Context(), p, Action{Kind: Publish, Topic: "a", QoS: c.qos, Retain: c.retain})
			require.NoError(t, err)
			require.Equal(t, c.want, ok)
		}
		require.Equal(t, 4, s.asked(), "round %d", round)
	}
}

func TestADecisionThatMayNotBeKeptIsAskedForEveryTime(t *testing.T) {
	s := &scripted{decide: allowFor(0)}
	a, _ := newAuth(s)
	p := admit(t, a)
	for range 3 {
		_, err := a.Authorize(t.Context(), p, pub("a"))
		require.NoError(t, err)
	}
	require.Equal(t, 3, s.asked())
	s.setDown(true)
	ok, err := a.Authorize(t.Context(), p, pub("a"))
	require.ErrorIs(t, err, ErrUnavailable)
	require.False(t, ok)
}

func TestADenialIsLoggedWithTheClientAndTheRule(t *testing.T) {
	s := &scripted{decide: func(*pluginv1.Action) *pluginv1.Decision {
		return &pluginv1.Decision{CacheMs: 1000, Detail: "rule 2 (deny publish a/#)"}
	}}
	a, logs := newAuth(s)
	p := admit(t, a)
	ok, err := a.Authorize(t.Context(), p, pub("a/b"))
	require.NoError(t, err)
	require.False(t, ok)
	for _, part := range []string{"client=dev1", "user=demo", "action=publish", "topic=a/b", `detail="rule 2 (deny publish a/#)"`} {
		require.Contains(t, logs.String(), part)
	}
}

func TestKeptDecisionsOutliveThePluginForABoundedTimeOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{decide: func(a *pluginv1.Action) *pluginv1.Decision {
			return &pluginv1.Decision{Allow: a.GetTopic() == "good", CacheMs: 10_000}
		}}
		a, _ := newAuth(s)
		p := admit(t, a)
		_, _, _ = a.AuthorizeAll(t.Context(), p, []Action{pub("good"), pub("bad")})
		s.setDown(true)
		time.Sleep(30 * time.Second)
		ok, err := a.Authorize(t.Context(), p, pub("good"))
		require.NoError(t, err)
		require.True(t, ok)
		ok, err = a.Authorize(t.Context(), p, pub("bad"))
		require.NoError(t, err)
		require.False(t, ok, "a denial does not become an allowance")
		before := s.asked()
		_, _ = a.Authorize(t.Context(), p, pub("good"))
		require.Equal(t, before, s.asked(), "a plugin that is away is not asked for each packet")
		_, err = a.Authorize(t.Context(), p, pub("new"))
		require.ErrorIs(t, err, ErrUnavailable)

		time.Sleep(41 * time.Second) // past expiry and allowance
		ok, err = a.Authorize(t.Context(), p, pub("good"))
		require.ErrorIs(t, err, ErrUnavailable)
		require.False(t, ok)

		s.setDown(false)
		ok, err = a.Authorize(t.Context(), p, pub("good"))
		require.NoError(t, err)
		require.True(t, ok)
	})
}

func TestAuthorizeAllAsksForWhatIsNotKeptInOneQuestion(t *testing.T) {
	s := &scripted{decide: func(a *pluginv1.Action) *pluginv1.Decision {
		return &pluginv1.Decision{Allow: strings.HasPrefix(a.GetTopic(), "ok"), CacheMs: 60000}
	}}
	a, _ := newAuth(s)
	p := admit(t, a)
	_, err := a.Authorize(t.Context(), p, pub("ok1"))
	require.NoError(t, err)
	got, _, err := a.AuthorizeAll(t.Context(), p, []Action{pub("no"), pub("ok1"), pub("ok2")})
	require.NoError(t, err)
	require.Equal(t, []bool{false, true, true}, got)
	require.Equal(t, 2, s.asked())
	require.Len(t, s.questions[1].GetActions(), 2)

	many := make([]Action, 1000)
	for i := range many {
		many[i] = Action{Kind: Subscribe, Topic: fmt.Sprintf("ok/%d", i)}
	}
	got, _, err = a.AuthorizeAll(t.Context(), p, many)
	require.NoError(t, err)
	require.NotContains(t, got, false)
	require.Equal(t, 6, s.asked())

	s.setDown(true)
	got, _, err = a.AuthorizeAll(t.Context(), p, []Action{pub("ok1"), pub("never asked")})
	require.ErrorIs(t, err, ErrUnavailable)
	require.Equal(t, []bool{false, false}, got)
}

func TestAnAnswerThatDoesNotFitTheQuestionAllowsNothing(t *testing.T) {
	s := &scripted{decide: func(*pluginv1.Action) *pluginv1.Decision { return nil }}
	a, _ := newAuth(s)
	ok, err := a.Authorize(t.Context(), admit(t, a), pub("a"))
	require.ErrorIs(t, err, ErrUnavailable)
	require.False(t, ok)
}

func TestTheCallersCancellationIsNotThePluginsFault(t *testing.T) {
	s := &scripted{decide: allowFor(time.Minute)}
	a, logs := newAuth(s)
	p := admit(t, a)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	ok, err := a.Authorize(ctx, p, pub("a"))
	require.ErrorIs(t, err, context.Canceled)
	require.False(t, ok)
	require.Empty(t, logs.String())
}

func TestAnExpiredAdmissionIsAllowedNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{decide: allowFor(time.Hour), authenticate: func(*pluginv1.AuthenticateRequest) *pluginv1.AuthenticateResponse {
			return &pluginv1.AuthenticateResponse{ExpiresAtMs: time.Now().Add(time.Minute).UnixMilli()}
		}}
		a, _ := newAuth(s)
		p := admit(t, a)
		ok, _ := a.Authorize(t.Context(), p, pub("a"))
		require.True(t, ok)
		time.Sleep(time.Minute)
		ok, _ = a.Authorize(t.Context(), p, pub("a"))
		require.False(t, ok)
		all, _, _ := a.AuthorizeAll(t.Context(), p, []Action{pub("a")})
		require.Equal(t, []bool{false}, all)
	})
}

func TestTheDecisionsOfOneClientAreBounded(t *testing.T) {
	s := &scripted{decide: allowFor(time.Minute)}
	a, _ := newAuth(s)
	p := admit(t, a)
	require.Nil(t, p.cache.entries, "an idle client keeps nothing")
	for i := range 10 * cacheTopics {
		_, err := a.Authorize(t.Context(), p, pub(strconv.Itoa(i)))
		require.NoError(t, err)
	}
	require.Len(t, p.cache.entries, cacheTopics)
}

func TestARevocationDropsTheDecisionsOfThoseItNames(t *testing.T) {
	s := &scripted{decide: allowFor(time.Minute), revocations: make(chan *pluginv1.Revocation)}
	a, _ := newAuth(s)
	told := make(chan Revocation, 10)
	a.OnRevoke(func(r Revocation) { told <- r })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); a.Run(ctx) }()
	defer func() { cancel(); <-done }()
	require.Eventually(t, func() bool { return s.streams() == 1 && a.epochs.all.Load() == 2 }, time.Minute, time.Millisecond)

	p := admit(t, a)
	ask := func() { _, err := a.Authorize(t.Context(), p, pub("a")); require.NoError(t, err) }
	ask()
	ask()
	require.Equal(t, 1, s.asked())
	for n, r := range []*pluginv1.Revocation{{ClientId: "dev1"}, {Username: "demo", Disconnect: true}, {Identity: "demo", Detail: "left"}, {}} {
		s.revocations <- r
		got := <-told
		require.Equal(t, r.GetDisconnect(), got.Disconnect)
		require.True(t, p.Matches(got))
		ask()
		require.Equal(t, n+2, s.asked(), "after %v", r)
	}
	s.revocations <- &pluginv1.Revocation{ClientId: "somebody else", Username: "demo"}
	require.False(t, p.Matches(<-told))

	// A stream that ended may have missed a revocation: after the next one opens, every decision is requested again.
	before := s.asked()
	s.revocations <- nil
	require.Eventually(t, func() bool { return s.streams() == 2 }, time.Minute, time.Millisecond)
	require.Eventually(t, func() bool { ask(); return s.asked() > before }, time.Minute, time.Millisecond)
}

func TestADecisionFromBeforeARevocationIsNotKeptAfterIt(t *testing.T) {
	var a *Auth
	revoked := false
	s := &scripted{}
	s.decide = func(*pluginv1.Action) *pluginv1.Decision {
		if !revoked { // it arrives while the request is in flight
			revoked = true
			a.revoke(Revocation{ClientID: "dev1"})
		}
		return &pluginv1.Decision{Allow: true, CacheMs: 60000}
	}
	a, _ = newAuth(s)
	p := admit(t, a)
	for range 3 {
		_, err := a.Authorize(t.Context(), p, pub("a"))
		require.NoError(t, err)
	}
	require.Equal(t, 2, s.asked())
}

func TestAnonymousAdmitsEverybodyAndAllowsEverything(t *testing.T) {
	a := Anonymous()
	p, err := a.Authenticate(t.Context(), Request{ClientID: "x"})
	require.NoError(t, err)
	require.Equal(t, "x", p.ClientID())
	require.True(t, p.ExpiresAt().IsZero())
	ok, err := a.Authorize(t.Context(), p, pub("a"))
	require.NoError(t, err)
	require.True(t, ok)
	all, _, err := a.AuthorizeAll(t.Context(), p, []Action{pub("a"), pub("b")})
	require.NoError(t, err)
	require.Equal(t, []bool{true, true}, all)
}

func TestMetricsAreRegisteredOnce(t *testing.T) {
	reg := prometheus.NewRegistry()
	a, _ := newAuth(&scripted{decide: allowFor(time.Minute)}, func(o *Options) { o.Registerer = reg })
	p := admit(t, a)
	_, err := a.Authorize(t.Context(), p, pub("a"))
	require.NoError(t, err)
	families, err := reg.Gather()
	require.NoError(t, err)
	require.NotEmpty(t, families)
}

func TestErrorsReadAsOneLine(t *testing.T) {
	require.Equal(t, "refused: banned", (&Denied{Reason: Banned}).Error())
	require.Equal(t, "refused: bad credentials: unknown user", (&Denied{Reason: BadCredentials, Detail: "unknown user"}).Error())
	require.True(t, errors.Is(fmt.Errorf("x: %w", ErrUnavailable), ErrUnavailable))
}

func TestACachedDecisionCostsNoAllocation(t *testing.T) {
	a, p := warm(t)
	ctx := context.Background()
	action := pub("sensors/device/17/temperature")
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		if ok, err := a.Authorize(ctx, p, action); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}))
}

func warm(t testing.TB) (Authority, *Principal) {
	t.Helper()
	a, _ := newAuth(&scripted{decide: allowFor(time.Hour)})
	p := admit(t, a)
	for i := range cacheTopics - 1 {
		_, err := a.Authorize(context.Background(), p, pub(fmt.Sprintf("sensors/device/%d/temperature", i)))
		require.NoError(t, err)
	}
	return a, p
}

func BenchmarkAuthorizeCached(b *testing.B) {
	a, p := warm(b)
	ctx := context.Background()
	action := pub("sensors/device/17/temperature")
	b.ReportAllocs()
	for b.Loop() {
		if ok, _ := a.Authorize(ctx, p, action); !ok {
			b.Fatal("denied")
		}
	}
}
