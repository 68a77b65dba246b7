package plugintest

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// brokenProfile is for the auth plugins of test/brokenplugins.
const brokenProfile = `
config:
  users:
    - {username: alice, password: alices-password}
    - {username: bob, password: bobs-password}
allow:
  - {client_id: a, username: alice, password: alices-password}
  - {client_id: a, username: alice, password: alices-password, publish: u/alice/x, qos: 1}
  - {client_id: b, username: bob, password: bobs-password, subscribe: "u/bob/#"}
deny:
  - {client_id: a, username: alice, password: bobs-password}
  - {client_id: a, username: carol, password: alices-password}
  - {client_id: a, username: alice, password: alices-password, publish: u/bob/x}
  - {client_id: b, username: bob, password: bobs-password, subscribe: "#"}
`

// broken builds test/brokenplugins once for the tests of this package.
var broken struct {
	once sync.Once
	path string
	text string
	err  error
}

// brokenPlugin returns the plugin with the given name.
func brokenPlugin(t *testing.T, name string) Target {
	t.Helper()
	broken.once.Do(func() {
		dir, err := os.MkdirTemp("", "lmqgate-broken-") //nolint:usetesting // it outlives the first test that needs it; TestMain removes it
		if err != nil {
			broken.err = err
			return
		}
		broken.path = filepath.Join(dir, "brokenplugins")
		cmd := exec.Command("go", "build", "-ldflags=-s -w", "-o", broken.path, "../../../test/brokenplugins")
		out, err := cmd.CombinedOutput()
		broken.text, broken.err = string(out), err
	})
	require.NoError(t, broken.err, broken.text)
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.Link(broken.path, path))
	return Executable(path)
}

// mostTime bounds a whole run of the kit on any plugin, however the plugin hangs, on a busy machine.
const mostTime = 2 * time.Minute

func TestEachBrokenPluginFailsWithALineThatSaysWhy(t *testing.T) {
	t.Parallel()
	cases := []struct {
		plugin, fails string
		// what, asked and came are expected parts of the report; empty matches anything.
		what, asked, came string
		// waits says that the fault shows when a deadline passes, so that no more time than usual is given.
		waits bool
	}{
		{
			plugin: "start-wrong-version",
			fails:  "start/prints its handshake line",
			what:   "it speaks version 99 of the contract; the gateway offered 1",
			came:   "1|99|",
		},
		{plugin: "start-netrpc", fails: "start/prints its handshake line", what: `it speaks "netrpc"; a plugin must speak grpc`},
		{
			plugin: "start-other-address",
			fails:  "start/prints its handshake line",
			what:   `it listens on "192.0.2.1:80"; a plugin may listen on a unix socket or on a loopback address only`,
		},
		{plugin: "start-silent", fails: "start/prints its handshake line", what: "it did not start: no handshake line within 5s"},
		{
			plugin: "start-exits",
			fails:  "start/prints its handshake line",
			what:   `it did not start: the process ended before it printed a handshake line: exit status 3; its last line was: "cannot find my library"`,
		},
		{
			plugin: "start-needs-home",
			fails:  "start/prints its handshake line",
			what:   "it does start with the environment of this shell, so it needs a variable that a gateway does not pass on",
		},
		{
			plugin: "start-prints-first",
			fails:  "start/prints its handshake line",
			what:   `its first line is "my plugin, version 1"; it must be the handshake line`,
		},
		{
			plugin: "start-nobody-listens",
			fails:  "start/answers Describe",
			what:   "an answer was due, and an error came: gRPC error Unavailable",
			asked:  "Describe{}",
		},
		{
			plugin: "start-ignores-end-of-input",
			fails:  "life/ends with its standard input",
			what:   "does not end with its standard input; it would outlive its gateway",
			asked:  "the end of standard input right after its start",
			waits:  true,
		},
		{plugin: "start-ignores-sigterm", fails: "life/ends at SIGTERM", what: "the process does not end at SIGTERM", waits: true},
		{plugin: "start-leaves-a-child", fails: "life/ends with its standard input", what: "the plugin leaves processes behind", waits: true},
		{
			plugin: "start-always-active",
			fails:  "life/refuses calls before Activate",
			what:   "Activate before Configure is answered as if all were well",
		},

		{plugin: "auth-without-name", fails: "start/answers Describe", what: `the name is ""`},
		{
			plugin: "auth-hangs-in-configure",
			fails:  "start/takes the profile's configuration",
			what:   "no answer to Configure within the gateway's 9s",
			asked:  "Configure{config_json: <",
			waits:  true,
		},
		{plugin: "auth-cannot-activate", fails: "start/is ready after Activate", what: `gRPC error FailedPrecondition: "no port is free"`},
		{
			plugin: "auth-unwell",
			fails:  "start/is ready after Activate",
			what:   `Health says for 15s that it cannot do its work: "my database is away"`,
			waits:  true,
		},
		{
			plugin: "auth-takes-any-config",
			fails:  "configuration/an unknown key",
			what:   "it takes the unknown key plugintest_unknown",
			came:   "the configuration is accepted",
		},
		{plugin: "auth-blames-no-key", fails: "configuration/an unknown key", what: `no problem has the key "plugintest_unknown"`},
		{
			plugin: "auth-stops-at-unknown-keys",
			fails:  "configuration/a value of a wrong type",
			what:   "it takes true as users, which is of type list",
		},
		{
			plugin: "auth-claims-exclusive",
			fails:  "life/configures beside an active one",
			what:   "it declares that it is exclusive, and two are active at once",
		},
		{plugin: "auth-hangs-in-deactivate", fails: "life/can be activated again", what: "no answer to Deactivate within the gateway's 5s", waits: true},

		{
			plugin: "auth-allows-everything",
			fails:  "auth/denies what the profile says",
			what:   `it admits, and the profile denies: CONNECT of client id "a", user name "alice"`,
			asked:  "Authenticate{",
			came:   "AuthenticateResponse{",
		},
		{plugin: "auth-allows-everything", fails: "auth/denies strangers", what: "it admits a stranger"},
		{plugin: "auth-takes-any-password", fails: "auth/denies the right client with a wrong password", what: "with no password"},
		{
			plugin: "auth-denies-by-error",
			fails:  "auth/denies what the profile says",
			what:   "an answer was due, and an error came: gRPC error PermissionDenied",
		},
		{
			plugin: "auth-huge-answer",
			fails:  "auth/allows what the profile says",
			what:   "the answer is larger than the gateway takes: trying to send message larger than max (104857",
		},
		{
			plugin: "start-huge-answer",
			fails:  "auth/allows what the profile says",
			what:   "the answer is larger than the gateway takes: grpc: received message larger than max (104857",
		},
		{plugin: "auth-exits-after-a-call", fails: "auth/denies what the profile says", what: "the process ended"},
		{
			plugin: "auth-crashes-on-nobody",
			fails:  "auth/denies strangers",
			what:   "the process ended during the call: exit status 2; its last line was: \"panic: a user name was expected",
		},
		{
			plugin: "auth-panics-on-nobody",
			fails:  "auth/denies strangers",
			what:   "gRPC error Internal",
			came:   "the plugin panicked in /lmqgate.plugin.v1.Auth/Authenticate",
		},
		{plugin: "auth-hangs-on-strangers", fails: "auth/denies strangers", what: "no answer to Authenticate within the gateway's 3s", waits: true},
		{plugin: "auth-shows-the-password", fails: "life/shows no secret", what: "a text of the plugin repeats a secret", came: "<SECRET>"},
		{
			plugin: "auth-repeats-values",
			fails:  "life/shows no secret",
			what:   "a text of the plugin repeats a secret",
			came:   "Configure problem ",
		},
		{plugin: "auth-mixes-up-callers", fails: "auth/answers many at once", what: "among 8 calls at once it answers allow=false to"},
		{plugin: "auth-unknown-reason", fails: "auth/denies what the profile says", what: "the reason 77 is none of the contract's"},
		{
			plugin: "auth-expiry-in-seconds",
			fails:  "auth/allows what the profile says",
			what:   "which is over; expires_at_ms is milliseconds",
		},
		{
			plugin: "auth-allows-foreign-clients",
			fails:  "auth/treats clients that another plugin admitted",
			what:   "it declares FOREIGN_CLIENTS_DENY and allows a client that another plugin admitted",
		},
		{plugin: "auth-forgets-clients", fails: "auth/knows its clients again after a restart", what: "after a restart it denies"},
		{
			plugin: "auth-cached-for-ever",
			fails:  "auth/allows what the profile says",
			what:   "a decision may be cached for 1125899906842624 ms",
		},
		{plugin: "auth-one-decision", fails: "auth/answers one decision for each action", what: "1 decisions for 2 actions"},
		{plugin: "auth-decisions-reversed", fails: "auth/answers one decision for each action", what: "alone it was allow="},
		{plugin: "auth-allows-malformed-topics", fails: "auth/stands malformed actions", what: "it allows an action of the unknown kind 0"},
		{plugin: "auth-hides-qos", fails: "auth/says so where QoS or retain had a part", what: "QoS 2, retain false is allow=false"},
		{
			plugin: "auth-states-too-many-rights",
			fails:  "auth/states rights that Authorize allows too",
			what:   `the rights of client id "a" allow what Authorize denies`,
		},
		{
			plugin: "auth-states-rights-and-hides-qos",
			fails:  "auth/states rights that Authorize allows too",
			what:   `the rights of client id "a" allow what Authorize denies`,
		},
		{
			plugin: "auth-states-a-malformed-right",
			fails:  "auth/states rights that Authorize allows too",
			what:   "# must be the last level",
		},
		{
			plugin: "auth-states-rights-for-ever",
			fails:  "auth/states rights that Authorize allows too",
			what:   "rights may be used for 1125899906842624 ms",
		},
		{plugin: "auth-ends-revocations", fails: "auth/streams revocations", what: "the stream ended by itself after"},

		{
			plugin: "meta-forgets-at-restart",
			fails:  "meta/keeps what was answered over a restart",
			what:   "after it was stopped and started again: List lacks the key",
		},
		{plugin: "meta-expires-early", fails: "meta/lets entries expire", what: "is gone"},
		{plugin: "meta-ignores-ttl", fails: "meta/lets entries expire", what: "the entry is still there", waits: true},
		{plugin: "meta-trims-keys", fails: "meta/keeps unusual keys apart", what: "was "},
		{plugin: "meta-cuts-values-at-nul", fails: "meta/keeps values of every byte", what: "was put last"},
		{plugin: "meta-lists-in-no-order", fails: "meta/lists in key order", what: "keys come in the order of their bytes"},
		{plugin: "meta-drops-the-end-of-a-list", fails: "meta/lists in key order", what: "List lacks the key"},
		{
			plugin: "meta-huge-page",
			fails:  "meta/lists more than fits in one message",
			what:   "the answer is larger than the gateway takes: trying to send message larger than max",
			asked:  "List{namespace:",
		},
		{plugin: "meta-loses-a-revision", fails: "meta/counts revisions up", what: "and another key was changed at"},
		{plugin: "meta-checks-before-the-lock", fails: "meta/loses no update", what: "one of them must succeed"},
		{
			plugin: "meta-applies-half-a-batch",
			fails:  "meta/applies a batch whole or not at all",
			what:   `"before" is there, though atomic_batch is declared and the batch failed`,
		},
		{
			plugin: "meta-takes-any-value",
			fails:  "meta/refuses a value over its limit",
			what:   "a value of 2097153 bytes, one more than max_value_bytes, must be RESOURCE_EXHAUSTED",
		},
		{plugin: "meta-writes-what-it-refuses", fails: "meta/refuses a value over its limit", what: `and "small" was put last`},
		{
			plugin: "meta-watches-undeclared",
			fails:  "meta/watches if it declares watch",
			what:   "Describe does not declare watch; the answer must be UNIMPLEMENTED",
			waits:  true,
		},
		{plugin: "meta-forgets-watch-events", fails: "meta/tells a watch of every change", what: "change 5 was", asked: "Watch{namespace:"},
		{plugin: "meta-tells-no-removals", fails: "meta/tells a watch of every change", what: `was [delete "b"`},
		{plugin: "meta-watches-from-now", fails: "meta/tells a watch of what came between", what: "did not come within", waits: true},
		{plugin: "meta-watches-in-no-order", fails: "meta/tells a watch of what came between", what: "they come in revision order"},
		{plugin: "meta-ends-watches", fails: "meta/tells a watch of every change", what: "the stream ended by itself"},
		{
			plugin: "meta-waits-for-the-future",
			fails:  "meta/says compacted to a revision that it never had",
			what:   "a word of compaction did not come within 10s",
			waits:  true,
		},
		{plugin: "meta-forgets-before-a-restart", fails: "meta/streams what is old, or says compacted", what: "did not come within", waits: true},
		{plugin: "meta-forgets-old-changes", fails: "meta/streams what is old, or says compacted", what: "without a word of compaction"},
		{
			plugin: "meta-waits-for-slow-watches",
			fails:  "meta/goes on while a watch does not read",
			what:   "no answer to Put within the gateway's 10s",
			waits:  true,
		},
	}
	for _, c := range cases {
		t.Run(c.plugin+" "+c.fails, func(t *testing.T) {
			if !strings.Contains(c.plugin, "huge") { // 100 MB take long on a busy processor
				t.Parallel()
			}
			target, profile := brokenPlugin(t, c.plugin), Profile{}
			if !strings.HasPrefix(c.plugin, "meta-") {
				var err error
				profile, err = ParseProfile([]byte(brokenProfile))
				require.NoError(t, err)
			}
			group, _, _ := strings.Cut(c.fails, "/")
			only := "^" + regexp.QuoteMeta(c.fails)
			switch {
			case c.fails == "life/shows no secret":
				only = "^(auth/d|configuration)|shows no secret" // the cases whose output the last case inspects
			case group == "auth":
				only = "^auth/"
			}
			begin := time.Now()
			opts := Options{Only: regexp.MustCompile(only)}
			if c.waits {
				opts.Patience = 1
			}
			if c.plugin == "start-silent" {
				opts.StartTimeout = 5 * time.Second
			}
			report, err := Run(t.Context(), target, profile, opts)
			require.NoError(t, err)
			require.Less(t, time.Since(begin), mostTime)
			for _, res := range report.Results {
				if strings.HasPrefix(res.Group+"/"+res.Name, c.fails) {
					require.Equal(t, Failed, res.Outcome, "%s: %s", res.Name, res.Problem)
					require.Contains(t, res.Problem, c.what)
					require.Contains(t, res.Asked, c.asked)
					require.Contains(t, res.Came, c.came)
					require.NotContains(t, res.Problem+res.Asked+res.Came, "alices-password")
					return
				}
			}
			t.Fatalf("no case %s in %+v", c.fails, report.Results)
		})
	}
}

func TestThePluginsThatTheBrokenOnesAreMadeOfPass(t *testing.T) {
	t.Parallel()
	for name, profileText := range map[string]string{"auth-sound": brokenProfile, "start-sound": brokenProfile, "meta-sound": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			profile, err := ParseProfile([]byte(profileText))
			require.NoError(t, err)
			var text strings.Builder
			report, err := Run(t.Context(), brokenPlugin(t, name), profile, Options{Progress: io.Writer(&text)})
			require.NoError(t, err)
			require.Zero(t, report.Count(Failed), text.String())
			require.Greater(t, report.Count(Passed), 25)
		})
	}
}

func TestAPluginThatHangsInEveryCallIsGivenUp(t *testing.T) {
	t.Parallel()
	target := brokenPlugin(t, "meta-hangs")
	begin := time.Now()
	report, err := Run(t.Context(), target, Profile{}, Options{Patience: 1})
	require.NoError(t, err)
	require.Less(t, time.Since(begin), mostTime)
	require.Equal(t, mostLate, report.Count(Failed), "%+v", report.Results)
	last := report.Results[len(report.Results)-1]
	require.Equal(t, NotApplicable, last.Outcome)
	require.Contains(t, last.Problem, "the plugin did not answer in time in 4 cases one after the other; nothing more is tried")
}

func TestARunThatIsInterruptedEndsAtOnceAndBlamesNobody(t *testing.T) {
	t.Parallel()
	target := brokenPlugin(t, "start-silent")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	begin := time.Now()
	report, err := Run(ctx, target, Profile{}, Options{})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Less(t, time.Since(begin), defaultStart)
	require.Zero(t, report.Count(Failed))
}
