package auth

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// named gives the scripted plugin a name and a policy for foreign clients that a test can change.
func named(name *atomic.Pointer[string], judges *atomic.Bool) func(*Options) {
	return func(o *Options) {
		before := o.Traits
		o.PluginName = func() string { return *name.Load() }
		o.Traits = func() *pluginv1.AuthTraits {
			t := &pluginv1.AuthTraits{Revocations: before().GetRevocations()}
			if judges.Load() {
				t.ForeignClients = pluginv1.ForeignClients_FOREIGN_CLIENTS_JUDGE
			}
			return t
		}
	}
}

func TestAfterASwapNoDecisionOfThePluginBeforeIsUsed(t *testing.T) {
	var name atomic.Pointer[string]
	var judges atomic.Bool
	name.Store(new("one"))
	judges.Store(true)
	s := &scripted{decide: allowFor(time.Hour)}
	a, _ := newAuth(s, named(&name, &judges))
	p := admit(t, a)
	ask := func() (bool, error) { return a.Authorize(t.Context(), p, pub("a")) }
	for range 2 {
		ok, err := ask()
		require.NoError(t, err)
		require.True(t, ok)
	}
	require.Equal(t, 1, s.asked())

	name.Store(new("two"))
	s.decide = func(*pluginv1.Action) *pluginv1.Decision {
		return &pluginv1.Decision{CacheMs: time.Hour.Milliseconds()}
	}
	a.Swapped()
	ok, err := ask()
	require.NoError(t, err)
	require.False(t, ok, "the new one judges")
	require.Equal(t, 2, s.asked())

	// Nor if the new plugin cannot be reached: a plugin that is gone authorises nothing.
	name.Store(new("three"))
	a.Swapped()
	s.setDown(true)
	_, err = ask()
	require.ErrorIs(t, err, ErrUnavailable)
}

func TestADecisionThatWasAskedForBeforeASwapIsNotKept(t *testing.T) {
	var name atomic.Pointer[string]
	var judges atomic.Bool
	name.Store(new("one"))
	judges.Store(true)
	s := &scripted{}
	a, _ := newAuth(s, named(&name, &judges))
	s.decide = func(*pluginv1.Action) *pluginv1.Decision {
		if s.decide = allowFor(0); *name.Load() == "one" {
			name.Store(new("two")) // while the first call is in flight
			a.Swapped()
		}
		return &pluginv1.Decision{Allow: true, CacheMs: time.Hour.Milliseconds()}
	}
	p := admit(t, a)
	for n := range 3 {
		_, err := a.Authorize(t.Context(), p, pub("a"))
		require.NoError(t, err)
		require.Equal(t, n+1, s.asked())
	}
}

func TestAPluginThatDeniesWhatOthersAdmittedIsNotEvenAsked(t *testing.T) {
	var name atomic.Pointer[string]
	var judges atomic.Bool
	name.Store(new("one"))
	s := &scripted{decide: allowFor(0)}
	a, logs := newAuth(s, named(&name, &judges))
	p := admit(t, a)
	ok, err := a.Authorize(t.Context(), p, pub("a"))
	require.NoError(t, err)
	require.True(t, ok)

	name.Store(new("two"))
	a.Swapped()
	got, _, err := a.AuthorizeAll(t.Context(), p, []Action{pub("a"), pub("b")})
	require.NoError(t, err)
	require.Equal(t, []bool{false, false}, got)
	require.Equal(t, 1, s.asked())
	require.Contains(t, logs.String(), "the client was admitted by one, and two denies what others admitted")
	ok, err = a.Authorize(t.Context(), admit(t, a), pub("a"))
	require.NoError(t, err)
	require.True(t, ok, "a client of its own")

	judges.Store(true)
	a.Swapped()
	ok, err = a.Authorize(t.Context(), p, pub("a"))
	require.NoError(t, err)
	require.True(t, ok)
}

func TestAClientThatConnectsDuringASwapBelongsToThePluginThatAdmittedIt(t *testing.T) {
	var name atomic.Pointer[string]
	var judges atomic.Bool
	name.Store(new("one"))
	calls := 0
	s := &scripted{authenticate: func(*pluginv1.AuthenticateRequest) *pluginv1.AuthenticateResponse {
		if calls++; calls == 1 {
			name.Store(new("two"))
		}
		return &pluginv1.AuthenticateResponse{}
	}}
	a, _ := newAuth(s, named(&name, &judges))
	require.Equal(t, "two", admit(t, a).AdmittedBy())
	require.Equal(t, 2, calls)
}

func TestAnAnswerThatWouldFillTheMemoryIsNoAdmission(t *testing.T) {
	s := &scripted{authenticate: func(*pluginv1.AuthenticateRequest) *pluginv1.AuthenticateResponse {
		return &pluginv1.AuthenticateResponse{Attributes: map[string]string{"k": strings.Repeat("x", maxAttributes)}}
	}}
	a, logs := newAuth(s)
	_, err := a.Authenticate(t.Context(), Request{ClientID: "dev1"})
	var denied *Denied
	require.ErrorAs(t, err, &denied)
	require.Equal(t, Unavailable, denied.Reason)
	require.Contains(t, logs.String(), "bytes of identity and attributes")
}

func TestAfterASwapRevocationsOfBothAreFollowedUntilTheOldStreamEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{revocations: make(chan *pluginv1.Revocation), decide: allowFor(time.Hour)}
		a, _ := newAuth(s)
		got := make(chan Revocation, 4)
		a.OnRevoke(func(r Revocation) { got <- r })
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); a.Run(ctx) }()
		synctest.Wait()
		require.Equal(t, 1, s.streams())
		began := time.Now()
		a.Swapped()
		synctest.Wait()
		require.Equal(t, 2, s.streams())
		require.Zero(t, time.Since(began), "at once")
		for _, id := range []string{"x", "y"} { // whichever stream delivers them
			s.revocations <- &pluginv1.Revocation{ClientId: id, Disconnect: true}
			require.Equal(t, Revocation{ClientID: id, Disconnect: true}, <-got)
		}
		s.revocations <- nil // one of them ends
		time.Sleep(time.Minute)
		s.revocations <- &pluginv1.Revocation{ClientId: "z"}
		require.Equal(t, "z", (<-got).ClientID)
		cancel()
		<-done
	})
}
