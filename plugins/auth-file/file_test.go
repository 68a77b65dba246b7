package main

import (
	"context"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lmqgate/lmqgate/internal/exposed"
	"github.com/lmqgate/lmqgate/internal/testlog"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
	"github.com/lmqgate/lmqgate/plugins/sdk"
)

// Cheap hashes, for tests.
const (
	aliceHash = "$2a$04$xrC6P.BI.Nz1IetKop3nG..bDgCxPJlj4o7l2sSoh6klG47bTt52y"                                   // alice-password
	bobHash   = "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHRzYWx0c2FsdA$s0MVlZ/aRqygafd8PpUGDrFMyJ3JBpup6TAYkhYmmwc" // bob-password
)

const twoUsers = `
users:
  - {username: alice, password_hash: "` + aliceHash + `"}
  - username: bob
    password_hash: "` + bobHash + `"
    client_ids: [bob-1, "bobs-*"]
    rules:
      - {effect: allow, action: publish, topic: "state/%u/%c/#"}
`

// fixture is an active plugin over a file.
type fixture struct {
	*plugin
	path string
	log  *testlog.Buffer
}

func activate(t *testing.T, text string) *fixture {
	t.Helper()
	f := &fixture{plugin: &plugin{}, path: filepath.Join(t.TempDir(), "users.yaml"), log: &testlog.Buffer{}}
	f.write(t, text)
	block := `{"file": "users.yaml", "reload_interval": "100ms", "max_concurrent_hashes": 2}`
	require.Empty(t, f.Configure(t.Context(), sdk.Setup{
		Config: []byte(block), ConfigDir: filepath.Dir(f.path), Log: slog.New(slog.NewTextHandler(f.log, nil)),
	}))
	require.NoError(t, f.Activate(t.Context()))
	t.Cleanup(func() { require.NoError(t, f.Deactivate(context.Background())) })
	return f
}

// unwatch lets the plugin look at its file no more, which would undo what a test puts in place of the file's users.
func (f *fixture) unwatch() {
	f.stop()
	f.stopped.Wait()
}

// write replaces the file as editors do.
func (f *fixture) write(t *testing.T, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(f.path+".new", []byte(text), 0o600))
	require.NoError(t, os.Rename(f.path+".new", f.path))
}

func request(user, clientID, password string) *pluginv1.AuthenticateRequest {
	return &pluginv1.AuthenticateRequest{
		Connection:  &pluginv1.Connection{ClientId: clientID, HasUsername: true, Username: user, MqttVersion: 4},
		HasPassword: true, Password: []byte(password),
	}
}

// login returns the reason; it may be called from any goroutine.
func (f *fixture) login(user, clientID, password string) pluginv1.Reason {
	resp, err := f.Authenticate(context.Background(), request(user, clientID, password))
	if err != nil {
		return pluginv1.Reason_REASON_UNAVAILABLE
	}
	return resp.GetReason()
}

func eventually(t *testing.T, condition func() bool, about string) {
	t.Helper()
	require.Eventually(t, condition, time.Minute, 10*time.Millisecond, about)
}

const (
	ok       = pluginv1.Reason_REASON_OK
	bad      = pluginv1.Reason_REASON_BAD_CREDENTIALS
	banned   = pluginv1.Reason_REASON_BANNED
	badID    = pluginv1.Reason_REASON_BAD_CLIENT_ID
	notReady = pluginv1.Reason_REASON_UNAVAILABLE
)

func TestAuthenticateSaysWhatWasWrongAndNeverThePassword(t *testing.T) {
	f := activate(t, twoUsers+"  - {username: gone, disabled: true, password_hash: \""+aliceHash+"\"}\n")
	cases := []struct {
		user, clientID, password string
		want                     pluginv1.Reason
		detail                   string
	}{
		{"alice", "any", "alice-password", ok, ""},
		{"bob", "bob-1", "bob-password", ok, ""},
		{"bob", "bobs-7", "bob-password", ok, ""},
		{"bob", "bob-2", "bob-password", badID, "client identifier"},
		{"bob", "bob-2", "wrong-password", bad, "wrong password"}, // only bob learns which client ids he may use
		{"alice", "any", "bob-password", bad, "wrong password"},
		{"alice", "any", "", bad, "wrong password"},
		{"Alice", "any", "alice-password", bad, "unknown user"},
		{"eve", "any", "alice-password", bad, "unknown user"},
		{"gone", "any", "alice-password", banned, "disabled"},
		{"gone", "any", "wrong-password", bad, "wrong password"},
	}
	for _, c := range cases {
		resp, err := f.Authenticate(t.Context(), request(c.user, c.clientID, c.password))
		require.NoError(t, err)
		require.Equal(t, c.want, resp.GetReason(), c)
		require.Contains(t, resp.GetDetail(), c.detail)
		require.NotContains(t, resp.GetDetail(), "-password")
		require.NotContains(t, resp.GetDetail(), "$")
		if c.want == ok {
			require.Equal(t, c.user, resp.GetIdentity())
		}
	}
	resp, err := f.Authenticate(
		t.Context(),
		&pluginv1.AuthenticateRequest{Connection: &pluginv1.Connection{ClientId: "c"}, HasPassword: true},
	)
	require.NoError(t, err)
	require.Equal(t, "no user name", resp.GetDetail())
	resp, err = f.Authenticate(
		t.Context(),
		&pluginv1.AuthenticateRequest{Connection: &pluginv1.Connection{HasUsername: true, Username: "alice"}},
	)
	require.NoError(t, err)
	require.Equal(t, "no password", resp.GetDetail())
}

func TestAuthorizeJudgesByTheUserNameWhoeverAdmittedTheClient(t *testing.T) {
	f := activate(t, twoUsers)
	ask := func(user, clientID, topic string) *pluginv1.Decision {
		resp, err := f.Authorize(t.Context(), &pluginv1.AuthorizeRequest{
			Client: &pluginv1.Client{
				Connection: &pluginv1.Connection{ClientId: clientID, HasUsername: user != "", Username: user}, AdmittedBy: "another",
			},
			Actions: []*pluginv1.Action{{Kind: pluginv1.ActionKind_ACTION_KIND_PUBLISH, Topic: topic}},
		})
		require.NoError(t, err)
		d := resp.GetDecisions()[0]
		require.NotEmpty(t, d.GetDetail())
		require.Positive(t, d.GetCacheMs())
		return d
	}
	require.True(t, ask("alice", "x", "anything").GetAllow())
	require.True(t, ask("bob", "bob-1", "state/bob/bob-1/x").GetAllow())
	require.False(t, ask("bob", "bob-1", "state/bob/bob-2/x").GetAllow())
	require.False(t, ask("bob", "other", "state/bob/other/x").GetAllow())
	require.False(t, ask("eve", "x", "anything").GetAllow())
	require.False(t, ask("", "x", "anything").GetAllow())
}

// follow collects revocations until the test ends.
func (f *fixture) follow(t *testing.T) func() map[string]bool {
	t.Helper()
	var mu sync.Mutex
	got := make(map[string]bool)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = f.Revocations(ctx, func(r *pluginv1.Revocation) error {
			mu.Lock()
			defer mu.Unlock()
			got[r.GetUsername()+r.GetIdentity()] = r.GetDisconnect()
			return nil
		})
	}()
	t.Cleanup(func() { stop(); <-done })
	return func() map[string]bool {
		mu.Lock()
		defer mu.Unlock()
		return maps.Clone(got)
	}
}

func TestAChangedFileIsReadAndWhatItTookAwayIsRevoked(t *testing.T) {
	line := func(name, more string) string {
		return "  - {username: " + name + ", password_hash: \"" + aliceHash + "\"" + more + "}\n"
	}
	f := activate(
		t,
		"users:\n"+line("stays", "")+line("removed", "")+line("disabled", "")+line("password", "")+line("ids", "")+line("rules", ""),
	)
	revoked := f.follow(t)
	require.Equal(t, ok, f.login("removed", "c", "alice-password"))

	f.write(t, "users:\n"+line("added", "")+line("stays", "")+line("disabled", ", disabled: true")+line("ids", ", client_ids: [x]")+
		line("rules", ", rules: [{effect: deny, topic: secret}]")+
		"  - {username: password, password_hash: \""+bobHash+"\"}\n")
	want := map[string]bool{"removed": true, "disabled": true, "password": true, "ids": true, "rules": false}
	eventually(t, func() bool { return len(revoked()) >= len(want) }, "revocations")
	require.Equal(t, want, revoked())
	for user, reason := range map[string]pluginv1.Reason{"added": ok, "stays": ok, "removed": bad, "disabled": banned, "password": bad, "ids": badID, "rules": ok} {
		require.Equal(t, reason, f.login(user, "c", "alice-password"), user)
	}
	require.Equal(t, ok, f.login("password", "c", "bob-password"))
	eventually(t, func() bool { return strings.Contains(f.log.String(), "users=6 added=1 changed=4 removed=1") }, "the line of the log")
	require.NotContains(t, f.log.String(), "$2a$")
}

func TestABrokenFileKeepsTheUsersOfBeforeAndHealthSaysWhy(t *testing.T) {
	f := activate(t, twoUsers)
	require.NoError(t, f.Health(t.Context()))
	revoked := f.follow(t)
	breaks := map[string]func(){
		"no YAML":                  func() { f.write(t, "users: [") },
		"names nobody":             func() { f.write(t, "users: []") },
		"users: is required":       func() { f.write(t, "") },
		"users[0].password_hash":   func() { f.write(t, "users: [{username: alice, password_hash: plain-text}]") },
		"users[0].pasword_hash":    func() { f.write(t, "users: [{username: alice, pasword_hash: x}]") },
		"no such file":             func() { require.NoError(t, os.Remove(f.path)) },
		"may be written by":        func() { f.write(t, twoUsers); require.NoError(t, os.Chmod(f.path, 0o666)) },
		"more than one":            func() { f.write(t, twoUsers+"---\n"+twoUsers) },
		"`users:` and a list":      func() { f.write(t, "just a text") },
		`is there before: "alice"`: func() { f.write(t, twoUsers+"  - {username: alice, password_hash: \""+bobHash+"\"}\n") },
	}
	for says, damage := range breaks {
		damage()
		eventually(t, func() bool { err := f.Health(t.Context()); return err != nil && strings.Contains(err.Error(), says) }, says)
		require.Equal(t, ok, f.login("alice", "c", "alice-password"), says)
		require.NotContains(t, f.Health(t.Context()).Error(), "plain-text")
		require.NotContains(t, f.Health(t.Context()).Error(), "\n")
		f.write(t, twoUsers)
		eventually(t, func() bool { return f.Health(t.Context()) == nil }, "healthy after "+says)
	}
	require.Empty(t, revoked())
	require.NotContains(t, f.log.String(), "plain-text")
	// Only the mode is wrong, and then right again.
	require.NoError(t, os.Chmod(f.path, 0o666))
	f.write(t, twoUsers+"# changed\n")
	require.NoError(t, os.Chmod(f.path, 0o666))
	eventually(t, func() bool { return f.Health(t.Context()) != nil }, "unhealthy")
	require.NoError(t, os.Chmod(f.path, 0o600))
	eventually(t, func() bool { return f.Health(t.Context()) == nil }, "healthy")
}

func TestATroubleIsLoggedOnce(t *testing.T) {
	f := activate(t, twoUsers)
	f.write(t, "users: [")
	eventually(t, func() bool { return f.Health(t.Context()) != nil }, "unhealthy")
	f.unwatch()
	for range 5 {
		f.store.reload() // after the watcher's reloads: several reloads, one log line
	}
	require.Equal(t, 1, strings.Count(f.log.String(), "level=ERROR"))
}

func TestRevocationsWaitForAStreamThatTakesThem(t *testing.T) {
	r := newRevocations()
	r.add([]revocation{{"a", true, ""}, {"b", false, ""}})
	r.add([]revocation{{"a", false, ""}, {"b", false, ""}})
	require.Error(t, r.stream(t.Context(), func(*pluginv1.Revocation) error { return context.Canceled }), "the stream broke")
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, r.stream(gone, func(*pluginv1.Revocation) error { t.Error("sent to nobody"); return nil }))

	ctx, stop := context.WithCancel(t.Context())
	got := make(map[string]bool)
	require.NoError(t, r.stream(ctx, func(v *pluginv1.Revocation) error {
		if got[v.GetUsername()+v.GetIdentity()] = v.GetDisconnect(); len(got) == 2 {
			stop()
		}
		return nil
	}))
	require.Equal(t, map[string]bool{"a": true, "b": false}, got, "a disconnect that waits stays one")
}

// slow is a hash that blocks until it is released, and counts how many run.
type slow struct {
	running chan struct{}
	letGo   chan struct{}
}

func (s *slow) matches([]byte) bool {
	s.running <- struct{}{}
	<-s.letGo
	return true
}

func TestOnlySoManyPasswordsAreHashedAtATime(t *testing.T) {
	f := activate(t, twoUsers)
	f.unwatch()
	h := &slow{running: make(chan struct{}, 10), letGo: make(chan struct{})}
	u := &user{entry: entry{Username: "slow"}, hash: h}
	f.store.now.Store(&users{byName: map[string]*user{"slow": u}, all: []*user{u}})
	results := make(chan pluginv1.Reason, 2)
	for range 2 {
		go func() { results <- f.login("slow", "c", "x") }()
	}
	<-h.running
	<-h.running
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := f.Authenticate(ctx, request("slow", "c", "x"))
	require.Equal(t, codes.Unavailable, status.Code(err), "the third waits for a place")
	require.ErrorContains(t, err, "max_concurrent_hashes")
	require.Empty(t, h.running)
	close(h.letGo)
	require.Equal(t, ok, <-results)
	require.Equal(t, ok, <-results)
}

func TestAUserWhoIsChangedWhileThePasswordIsHashedIsNotAdmitted(t *testing.T) {
	f := activate(t, twoUsers)
	f.unwatch()
	h := &slow{running: make(chan struct{}, 10), letGo: make(chan struct{})}
	u := &user{entry: entry{Username: "slow"}, hash: h}
	before := f.store.now.Load()
	f.store.now.Store(&users{byName: map[string]*user{"slow": u}, all: []*user{u}})
	result := make(chan pluginv1.Reason)
	go func() { result <- f.login("slow", "c", "x") }()
	<-h.running
	f.store.now.Store(before)
	close(h.letGo)
	require.Equal(t, notReady, <-result)
}

func TestAnUnknownUserCostsAsMuchAsSomeKnownOneAlwaysTheSame(t *testing.T) {
	list, problems := parseUsers([]byte(twoUsers), nil)
	require.Empty(t, problems)
	seen := make(map[*user]int)
	for i := range 200 {
		name := "nobody" + strings.Repeat("x", i)
		decoy, known := list.find(name)
		require.False(t, known)
		again, _ := list.find(name)
		require.Same(t, decoy, again)
		seen[decoy]++
	}
	require.Len(t, seen, 2, "the decoys are spread over the users: %v", seen)
}

func TestConfigureNamesEachProblemWithItsKey(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "good.yaml"), []byte(twoUsers), 0o600))
	require.NoError(
		t,
		os.WriteFile(
			filepath.Join(dir, "bad.yaml"),
			[]byte("users: [{username: a, password_hash: x, rules: [{effect: allow, topic: 'a/%{b}'}]}]"),
			0o600,
		),
	)
	cases := []struct{ block, key, message string }{
		{`{}`, "file", "is required"},
		{`{"file": "none.yaml"}`, "file", "no such file"},
		{`{"file": "."}`, "file", "is not a regular file"},
		{`{"file": "bad.yaml"}`, "file", "users[0].password_hash: is neither a bcrypt"},
		{`{"file": "bad.yaml"}`, "file", "users[0].rules[0].topic: %{b} is not known here"},
		{`{"file": "good.yaml", "reload_interval": "1ms"}`, "reload_interval", "100ms to 1h"},
		{`{"file": "good.yaml", "max_concurrent_hashes": 1000}`, "max_concurrent_hashes", "from 0 to 256"},
		{`{"files": "good.yaml"}`, "files", "did you mean file?"},
	}
	for _, c := range cases {
		problems := (&plugin{}).Configure(
			t.Context(),
			sdk.Setup{Config: []byte(c.block), ConfigDir: dir, Log: slog.New(slog.DiscardHandler)},
		)
		found := false
		for _, problem := range problems {
			if problem.Key == c.key && strings.Contains(problem.Message, c.message) {
				found = true
			}
		}
		require.True(t, found, "%s: %v says nothing of %q about %s", c.block, problems, c.message, c.key)
	}
}

func TestAnActivePluginComesBackAfterARollBack(t *testing.T) {
	f := activate(t, twoUsers)
	require.NoError(t, f.Deactivate(t.Context()))
	f.write(t, strings.ReplaceAll(twoUsers, "alice", "anna"))
	require.NoError(t, f.Activate(t.Context()))
	require.Equal(t, ok, f.login("anna", "c", "alice-password"))
}

func TestRulesThatGoByAClientIdentifierOfTheUsersChoiceAreWarnedOf(t *testing.T) {
	const rule = "rules: [{effect: allow, topic: \"cmd/%c/#\"}]"
	one := func(more string) string {
		return "users:\n  - {username: alice, password_hash: \"" + aliceHash + "\", " + more + "}\n"
	}
	for more, warned := range map[string]bool{
		rule:                             true,
		rule + ", client_ids: [alice-1]": false,
		"rules: [{effect: deny, topic: \"cmd/%c/#\"}, {effect: allow, topic: \"cmd/%u/#\"}]": false,
	} {
		f := activate(t, one(more))
		require.Equal(t, warned, strings.Contains(f.log.String(), "rules with %c"), "%s: %s", more, f.log)
		if warned {
			require.Contains(t, f.log.String(), "users=[alice]")
			continue
		}
		f.write(t, one(rule))
		require.Eventually(t, func() bool { return strings.Contains(f.log.String(), "rules with %c") }, time.Minute, 10*time.Millisecond, more)
	}
}

// A file from a repository often has the mode 0644.
func TestAFileOfUsersThatEverybodyMayReadIsUsedWithAWarning(t *testing.T) {
	f := activate(t, twoUsers)
	require.NotContains(t, f.log.String(), "every user of this machine")
	for d := filepath.Dir(f.path); len(d) > len(os.TempDir()); d = filepath.Dir(d) {
		require.NoError(t, os.Chmod(d, 0o755))
	}
	require.NoError(t, os.Chmod(f.path, 0o644))
	if !exposed.ToOthers(f.path) {
		t.Skip("the directory of temporary files is closed to others")
	}
	require.Eventually(t, func() bool { return strings.Contains(f.log.String(), "run chmod o-rwx on it") }, time.Minute, time.Millisecond)
	require.Equal(t, ok, f.login("alice", "c", "alice-password"))
	f.write(t, strings.ReplaceAll(twoUsers, "alice", "anna"))
	require.NoError(t, os.Chmod(f.path, 0o600))
	require.Eventually(t, func() bool { return f.login("anna", "c", "alice-password") == ok }, time.Minute, time.Millisecond)
	require.Equal(t, 1, strings.Count(f.log.String(), "run chmod o-rwx on it"))
}
