package pluginhost

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/auth"
	"github.com/lmqgate/lmqgate/plugins/auth-hmac/credential"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// installDefault installs the default auth plugin.
func installDefault(t testing.TB, h *Host) {
	t.Helper()
	installProgram(t, "../../plugins/auth-hmac", h.opts.Dir, "auth-hmac")
}

// The test runs the default auth plugin as it is shipped, with everything between it and a connection.
func TestTheDefaultAuthPluginServesAnAuthorityThroughACrash(t *testing.T) {
	t.Parallel()
	h, logs := newHost(t)
	installDefault(t, h)

	_, err := h.Start(t.Context(), "auth-hmac", pluginv1.Kind_KIND_AUTH, map[string]any{"users": []any{map[string]any{"username": "demo"}}})
	require.EqualError(t, err, `plugin "auth-hmac": it refuses its configuration: auth.config.users[0].secret_key: is required`)

	p := startAuth(t, h, "auth-hmac", map[string]any{"users": []any{map[string]any{
		"username": "demo", "secret_key": "demo-secret",
		"rules": []any{map[string]any{"effect": "allow", "action": "all", "topic": "cmd/%c/#"}},
	}}})
	a := auth.New(auth.Options{
		Client: p.Auth(), PluginName: p.Name, Traits: func() *pluginv1.AuthTraits { return p.Describe().GetAuth() }, Log: h.opts.Log,
	})
	connect := func(password string) (*auth.Principal, error) {
		return a.Authenticate(t.Context(), auth.Request{
			ClientID: "client-1", Username: "demo", HasUsername: true, Password: []byte(password), HasPassword: true, Version: 5,
		})
	}
	// From: printf client-1 | openssl dgst -sha1 -hmac demo-secret -binary | base64
	principal, err := connect("3/sHZi5nxZRYk1NHTxIkPCV6bI8=")
	require.NoError(t, err)
	_, err = connect("wrong")
	var denied *auth.Denied
	require.ErrorAs(t, err, &denied)
	require.Equal(t, auth.BadCredentials, denied.Reason)
	require.Contains(t, logs.String(), "wrong signature")

	before := p.Info().PID
	for round := range 3 {
		ok, err := a.Authorize(t.Context(), principal, auth.Action{Kind: auth.Publish, Topic: "cmd/client-1/x"})
		require.NoError(t, err)
		require.True(t, ok)
		ok, err = a.Authorize(t.Context(), principal, auth.Action{Kind: auth.Subscribe, Topic: "cmd/#"})
		require.NoError(t, err)
		require.False(t, ok)
		if round == 0 {
			require.NoError(t, syscall.Kill(before, syscall.SIGKILL))
		}
	}
	_, err = connect("3/sHZi5nxZRYk1NHTxIkPCV6bI8=")
	require.NoError(t, err, "a new client is admitted by the new process")
	require.NotEqual(t, before, p.Info().PID)
	for line := range strings.Lines(logs.String()) {
		require.NotContains(t, line, "demo-secret")
		require.NotContains(t, line, "3/sHZi5nxZRYk1NHTxIkPCV6bI8=")
	}
}

func TestManyLoginsAtOnceHaveEachItsOwnAnswerFromTheDefaultAuthPlugin(t *testing.T) {
	t.Parallel()
	h, _ := newHost(t)
	installDefault(t, h)
	p := startAuth(t, h, "auth-hmac", map[string]any{"users": []any{map[string]any{"username": "demo", "secret_key": "demo-secret",
		"rules": []any{map[string]any{"effect": "allow", "action": "all", "topic": "cmd/%c/#"}}}}})
	a := auth.New(auth.Options{Client: p.Auth(), PluginName: p.Name, Traits: func() *pluginv1.AuthTraits { return p.Describe().GetAuth() }})
	require.True(t, p.Describe().GetAuth().GetAuthenticateAll())
	var logins sync.WaitGroup
	for i := range 200 {
		logins.Go(func() {
			id := fmt.Sprintf("client-%d", i)
			password := credential.Password("demo-secret", fmt.Sprintf("client-%d", i-i%2)) // every other one is that of another client
			var who *auth.Principal
			var err error
			var denied *auth.Denied
			// On a busy machine a login may wait too long for its turn.
			for until := time.Now().Add(time.Minute); time.Now().Before(until); {
				denied = nil
				who, err = a.Authenticate(t.Context(), auth.Request{
					ClientID: id, Username: "demo", HasUsername: true, Password: []byte(password), HasPassword: true, Version: 5,
				})
				if !errors.As(err, &denied) || denied.Reason != auth.Unavailable {
					break
				}
			}
			if i%2 == 1 {
				if denied == nil || denied.Reason != auth.BadCredentials {
					t.Errorf("%s: %v", id, err)
				}
				return
			}
			if err != nil {
				t.Errorf("%s: %v", id, err)
				return
			}
			for topic, want := range map[string]bool{"cmd/" + id + "/x": true, "cmd/client-1/x": false} {
				if ok, err := a.Authorize(t.Context(), who, auth.Action{Kind: auth.Publish, Topic: topic}); err != nil || ok != want {
					t.Errorf("%s publishes %s: %v, %v", id, topic, ok, err)
				}
			}
		})
	}
	logins.Wait()
}

// BenchmarkAuthorize measures authorisation with the default auth plugin: from the cache, and through gRPC.
func BenchmarkAuthorize(b *testing.B) {
	h, _ := newHost(b)
	installDefault(b, h)
	p, err := h.Start(b.Context(), "auth-hmac", pluginv1.Kind_KIND_AUTH, map[string]any{"users": []any{map[string]any{
		"username": "demo", "secret_key": "demo-secret", "rules": []any{map[string]any{"effect": "allow", "action": "all", "topic": "cmd/%c/#"}},
	}}})
	require.NoError(b, err)
	a := auth.New(auth.Options{Client: p.Auth(), PluginName: p.Name, Traits: func() *pluginv1.AuthTraits { return p.Describe().GetAuth() }})
	principal, err := a.Authenticate(b.Context(), auth.Request{
		ClientID: "client-1", Username: "demo", HasUsername: true, Password: []byte("3/sHZi5nxZRYk1NHTxIkPCV6bI8="), HasPassword: true, Version: 5,
	})
	require.NoError(b, err)
	action := auth.Action{Kind: auth.Publish, Topic: "cmd/client-1/x"}
	once := func(b *testing.B, ctx context.Context) {
		if ok, err := a.Authorize(ctx, principal, action); !ok || err != nil {
			b.Fatal("denied", err)
		}
	}
	b.Run("cached", func(b *testing.B) {
		b.ReportAllocs()
		ctx := context.Background()
		for b.Loop() {
			once(b, ctx)
		}
	})
	b.Run("uncached", func(b *testing.B) {
		b.ReportAllocs()
		ctx := context.Background()
		for b.Loop() {
			a.Drop()
			once(b, ctx)
		}
	})
	b.Run("uncached, 64 at a time", func(b *testing.B) {
		b.ReportAllocs()
		b.SetParallelism(max(1, 64/runtime.GOMAXPROCS(0)))
		b.RunParallel(func(pb *testing.PB) {
			ctx := context.Background()
			for pb.Next() {
				a.Drop()
				once(b, ctx)
			}
		})
	})
}
