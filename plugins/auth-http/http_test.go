package main

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lmqgate/lmqgate/plugins/internal/clientcert/clientcerttest"
	"github.com/lmqgate/lmqgate/plugins/internal/webclient"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
	"github.com/lmqgate/lmqgate/plugins/sdk"
)

// service is a webhook that gives the answers that a test sets, and records its requests.
type service struct {
	*httptest.Server
	mu     sync.Mutex
	status int
	header http.Header
	body   string
	asked  []string // bodies
	paths  []string
	got    http.Header
	// before, if set, runs before each answer.
	before func(w http.ResponseWriter, r *http.Request)
}

func newService(t *testing.T) *service {
	t.Helper()
	s := &service{status: http.StatusOK, header: http.Header{}, body: `{"result": "allow"}`}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		s.asked, s.paths, s.got = append(s.asked, string(body)), append(s.paths, r.Method+" "+r.URL.Path), r.Header
		status, answer, before := s.status, s.body, s.before
		maps.Copy(w.Header(), s.header)
		s.mu.Unlock()
		if before != nil {
			before(w, r)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *service) answer(status int, body string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status, s.body = status, body
}

func (s *service) cacheControl(values ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.header["Cache-Control"] = values
}

// questions returns the requests since the last call.
func (s *service) questions() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.asked
	s.asked = nil
	return out
}

type block = map[string]any

func activate(t *testing.T, s *service, more block) *plugin {
	t.Helper()
	b := block{
		"authenticate_url": s.URL + "/authenticate",
		"authorize_url":    s.URL + "/authorize",
		"headers":          block{"X-Secret": "hidden"},
		"timeout":          "10s",
	}
	maps.Copy(b, more)
	text, err := json.Marshal(b)
	require.NoError(t, err)
	p := &plugin{}
	require.Empty(t, p.Configure(t.Context(), sdk.Setup{Config: text}))
	require.NoError(t, p.Activate(t.Context()))
	t.Cleanup(func() { require.NoError(t, p.Deactivate(context.Background())) })
	return p
}

var device = &pluginv1.Connection{
	ClientId: "dev1", HasUsername: true, Username: "sensor", MqttVersion: 5, Listener: "tls", RemoteAddress: "192.0.2.1:4711",
	PeerCertificate: &pluginv1.PeerCertificate{Subject: "CN=dev1", CommonName: "dev1", DnsNames: []string{"dev1.example"}, Sha256: "ab12"},
}

func login(p *plugin, password []byte) (*pluginv1.AuthenticateResponse, error) {
	return p.Authenticate(
		context.Background(),
		&pluginv1.AuthenticateRequest{Connection: device, HasPassword: password != nil, Password: password},
	)
}

func ask(p *plugin, actions ...*pluginv1.Action) (*pluginv1.AuthorizeResponse, error) {
	return p.Authorize(context.Background(), &pluginv1.AuthorizeRequest{
		Client: &pluginv1.Client{
			Connection: device,
			Identity:   "acme/sensor",
			Attributes: map[string]string{"role": "sensor"},
			AdmittedBy: name,
		},
		Actions: actions,
	})
}

func publish(topic string) *pluginv1.Action {
	return &pluginv1.Action{Kind: pluginv1.ActionKind_ACTION_KIND_PUBLISH, Topic: topic, Qos: 1, Retain: true}
}

func subscribe(filter string) *pluginv1.Action {
	return &pluginv1.Action{Kind: pluginv1.ActionKind_ACTION_KIND_SUBSCRIBE, Topic: filter, Qos: 2, ShareGroup: "g"}
}

func TestAConnectIsAskedAboutAsDescribed(t *testing.T) {
	s := newService(t)
	p := activate(t, s, nil)
	at := time.Now().Add(time.Hour).Unix()
	text, err := json.Marshal(block{"result": "allow", "identity": "acme/sensor", "attributes": block{"role": "sensor"}, "expires_at": at})
	require.NoError(t, err)
	s.answer(http.StatusOK, string(text))
	resp, err := login(p, []byte("pass\"word"))
	require.NoError(t, err)
	require.Equal(t, pluginv1.Reason_REASON_OK, resp.GetReason())
	require.Equal(t, "acme/sensor", resp.GetIdentity())
	require.Equal(t, map[string]string{"role": "sensor"}, resp.GetAttributes())
	require.Equal(t, at*1000, resp.GetExpiresAtMs())
	const known = `"client_id": "dev1", "username": "sensor", "mqtt_version": 5, "listener": "tls", "remote_address": "192.0.2.1:4711",
		"certificate": {"subject": "CN=dev1", "common_name": "dev1", "dns_names": ["dev1.example"], "sha256": "ab12"}`
	asked := s.questions()
	require.Len(t, asked, 1)
	require.JSONEq(t, `{`+known+`, "password": "pass\"word"}`, asked[0])
	require.Equal(t, []string{"POST /authenticate"}, s.paths)
	require.Equal(t, "hidden", s.got.Get("X-Secret"))
	require.Equal(t, "application/json", s.got.Get("Content-Type"))

	_, err = login(p, []byte{0xff, 0x00})
	require.NoError(t, err)
	require.JSONEq(t, `{`+known+`, "password_base64": "/wA="}`, s.questions()[0])
	_, err = login(p, nil)
	require.NoError(t, err)
	require.JSONEq(t, `{`+known+`}`, s.questions()[0])
	_, err = p.Authenticate(
		t.Context(),
		&pluginv1.AuthenticateRequest{Connection: &pluginv1.Connection{ClientId: "c", MqttVersion: 4}, HasPassword: true},
	)
	require.NoError(t, err)
	require.JSONEq(t, `{"client_id": "c", "mqtt_version": 4, "listener": "", "remote_address": "", "password": ""}`, s.questions()[0])
}

func TestActionsAreAskedAboutAsDescribed(t *testing.T) {
	s := newService(t)
	p := activate(t, s, nil)
	s.answer(
		http.StatusOK,
		`{"decisions": [{"allow": true, "detail": "its own"}, {"allow": false, "detail": "not\n its", "depends_on_qos_retain": true}]}`,
	)
	resp, err := ask(p, publish("a/b"), &pluginv1.Action{Topic: "a"}, subscribe("a/#"), publish("a/+"))
	require.NoError(t, err)
	d := resp.GetDecisions()
	require.Len(t, d, 4)
	require.True(t, d[0].GetAllow())
	require.False(t, d[1].GetAllow(), "an unknown kind is not asked about")
	require.False(t, d[2].GetAllow())
	require.Equal(t, "not its", d[2].GetDetail())
	require.True(t, d[2].GetDependsOnQosRetain())
	require.False(t, d[3].GetAllow(), "a wildcard in a topic name is not asked about")
	require.JSONEq(t, `{"client_id": "dev1", "username": "sensor", "mqtt_version": 5, "listener": "tls", "remote_address": "192.0.2.1:4711",
		"certificate": {"subject": "CN=dev1", "common_name": "dev1", "dns_names": ["dev1.example"], "sha256": "ab12"},
		"identity": "acme/sensor", "attributes": {"role": "sensor"}, "admitted_by": "auth-http", "actions": [
		{"action": "publish", "topic": "a/b", "qos": 1, "retain": true}, {"action": "subscribe", "topic": "a/#", "qos": 2, "retain": false, "share_group": "g"}]}`,
		s.questions()[0])
	resp, err = ask(p, publish("a/+"))
	require.NoError(t, err)
	require.False(t, resp.GetDecisions()[0].GetAllow())
	require.Empty(t, s.questions())
}

func TestADenialHasTheReasonOfTheWebhookAndNeverThePassword(t *testing.T) {
	s := newService(t)
	p := activate(t, s, nil)
	for reason, want := range reasons {
		s.answer(http.StatusOK, `{"result": "deny", "reason": "`+reason+`", "detail": "no \n pass-word here"}`)
		resp, err := login(p, []byte("pass-word"))
		require.NoError(t, err)
		require.Equal(t, want, resp.GetReason())
		require.Equal(t, "no *** here", resp.GetDetail())
	}
}

func TestWhatIsNoClearAnswerAdmitsNobodyAndAllowsNothing(t *testing.T) {
	s := newService(t)
	p := activate(t, s, block{"max_answer_bytes": 2000})
	cases := []struct {
		status     int
		body, says string
	}{
		{201, `{"result": "allow"}`, "status 201"},
		{204, ``, "status 204"},
		{302, ``, "redirect"},
		{401, `{"result": "allow"}`, "status 401"},
		{500, `{"result": "allow"}`, "status 500"},
		{200, ``, "no JSON"},
		{200, `null`, "neither allow nor deny"},
		{200, `true`, "must not be a bool"},
		{200, `allow`, "no JSON"},
		{200, `{}`, "neither allow nor deny"},
		{200, `{"result": "ALLOW"}`, `"ALLOW"`},
		{200, `{"result": true}`, "result must not be a bool"},
		{200, `{"result": "allow", "reason": "banned"}`, "has a reason"},
		{200, `{"result": "deny", "reason": "because"}`, `"because"`},
		{200, `{"result": "allow", "expire_at": 1}`, `unknown field "expire_at"`},
		{200, `{"result": "allow", "expires_at": -1}`, "negative"},
		{200, `{"result": "allow", "expires_at": "2030-01-01"}`, "expires_at must not be a string"},
		{200, `{"result": "allow"} {}`, "behind its JSON"},
		{200, `{"result": "allow", "detail": "` + strings.Repeat("x", 2000) + `"}`, "larger than 2000"},
	}
	for _, c := range cases {
		s.answer(c.status, c.body)
		resp, err := login(p, []byte("pass-word"))
		require.Nil(t, resp, c.body)
		require.Equal(t, codes.Unavailable, status.Code(err), c.body)
		require.ErrorContains(t, err, c.says)
		require.NotContains(t, err.Error(), "\n")
		require.ErrorContains(t, p.Health(t.Context()), c.says)
	}
	for says, body := range map[string]string{
		"1 decisions to 2": `{"decisions": [{"allow": true}]}`,
		"3 decisions to 2": `{"decisions": [{"allow": true}, {"allow": true}, {"allow": true}]}`,
		"0 decisions to 2": `{}`,
		"lacks allow":      `{"decisions": [{"allow": true}, {"detail": "yes"}]}`,
		"unknown field":    `{"decisions": [{"allow": true}, {"allowed": true}]}`,
		"must not be a st": `{"decisions": [{"allow": "yes"}, {"allow": true}]}`,
	} {
		s.answer(http.StatusOK, body)
		resp, err := ask(p, publish("a"), subscribe("b"))
		require.Nil(t, resp, body)
		require.Equal(t, codes.Unavailable, status.Code(err), body)
		require.ErrorContains(t, err, says)
		require.ErrorContains(t, p.Health(t.Context()), says)
	}
	s.answer(http.StatusOK, `{"result": "deny"}`)
	_, err := login(p, nil)
	require.NoError(t, err)
	require.NoError(t, p.Health(t.Context()), "a denial is an answer")
}

func TestOnlyWhatIsSafeIsAskedASecondTime(t *testing.T) {
	s := newService(t)
	p := activate(t, s, nil)
	// A request about a CONNECT that the webhook has seen is not retried.
	s.answer(http.StatusServiceUnavailable, "")
	_, err := login(p, []byte("x"))
	require.Error(t, err)
	require.Len(t, s.questions(), 1)
	// A request about actions is retried once.
	_, err = ask(p, publish("a"))
	require.ErrorContains(t, err, "status 503")
	require.Len(t, s.questions(), 2)
	for _, code := range []int{400, 401, 404, 500} {
		s.answer(code, "")
		_, err = ask(p, publish("a"))
		require.Error(t, err)
		require.Len(t, s.questions(), 1, "status %d", code)
	}
	// The connection breaks during the first request.
	var broken sync.Once
	s.mu.Lock()
	s.before = func(http.ResponseWriter, *http.Request) {
		broken.Do(func() { panic(http.ErrAbortHandler) })
	}
	s.mu.Unlock()
	s.answer(http.StatusOK, `{"decisions": [{"allow": true}]}`)
	resp, err := ask(p, publish("a"))
	require.NoError(t, err)
	require.True(t, resp.GetDecisions()[0].GetAllow())
	require.Len(t, s.questions(), 2)
}

// unlucky fails to reach the webhook with its first requests.
type unlucky struct {
	asker
	misses int
}

func (u *unlucky) Do(ctx context.Context, method, target string, header http.Header, body []byte) (*webclient.Answer, error) {
	if u.misses--; u.misses >= 0 {
		target = "http://" + nobody
	}
	return u.asker.Do(ctx, method, target, header, body)
}

// nobody listens here: the address is loopback, and the port is privileged.
const nobody = "127.0.0.1:1"

func TestAConnectThatNoServerSawIsAskedAboutAgain(t *testing.T) {
	s := newService(t)
	p := activate(t, s, nil)
	real := p.webhook.client
	p.webhook.client = &unlucky{asker: real, misses: 1}
	_, err := login(p, []byte("x"))
	require.NoError(t, err)
	require.Len(t, s.questions(), 1)
	p.webhook.client = &unlucky{asker: real, misses: 2}
	_, err = login(p, []byte("x"))
	require.Equal(t, codes.Unavailable, status.Code(err))
	require.ErrorContains(t, err, "refused")
	require.Empty(t, s.questions())
}

func TestAWebhookThatHangsIsGivenUpInTime(t *testing.T) {
	s := newService(t)
	s.mu.Lock()
	s.before = func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	s.mu.Unlock()
	p := activate(t, s, block{"timeout": "1s"})
	begun := time.Now()
	_, err := ask(p, publish("a"))
	require.Equal(t, codes.Unavailable, status.Code(err))
	require.ErrorContains(t, err, "deadline")
	require.Less(t, time.Since(begun), 20*time.Second)
	require.LessOrEqual(t, len(s.questions()), 1, "no time is left for a second try")
}

func TestConnectionsAreUsedAgainAndBounded(t *testing.T) {
	s := newService(t)
	var mu sync.Mutex
	remotes := make(map[string]bool)
	s.mu.Lock()
	s.before = func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		remotes[r.RemoteAddr] = true
	}
	s.mu.Unlock()
	p := activate(t, s, block{"max_connections": 3, "timeout": "10s"})
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			for range 10 {
				if _, err := login(p, []byte("x")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	require.LessOrEqual(t, len(remotes), 3)
}

func TestDecisionsAreKeptAsLongAsTheAnswerSays(t *testing.T) {
	s := newService(t)
	p := activate(t, s, block{"cache": "20s", "max_cache": "5m"})
	s.answer(http.StatusOK, `{"decisions": [{"allow": true}]}`)
	cases := []struct {
		values []string
		want   time.Duration
	}{
		{nil, 20 * time.Second},
		{[]string{"max-age=60"}, time.Minute},
		{[]string{"private, Max-Age=60"}, time.Minute},
		{[]string{"private", "max-age=60"}, time.Minute},
		{[]string{`max-age="60"`}, time.Minute},
		{[]string{"max-age=86400"}, 5 * time.Minute},
		{[]string{"max-age=0"}, 0},
		{[]string{"max-age=-1"}, 0},
		{[]string{"max-age=soon"}, 0},
		{[]string{"max-age=99999999999999999999"}, 0},
		{[]string{"no-store"}, 0},
		{[]string{"max-age=60, no-cache"}, 0},
		{[]string{"private"}, 0},
	}
	for _, c := range cases {
		s.cacheControl(c.values...)
		resp, err := ask(p, publish("a"))
		require.NoError(t, err)
		require.Equal(t, c.want.Milliseconds(), resp.GetDecisions()[0].GetCacheMs(), "%q", c.values)
	}
	require.Equal(t, 40*time.Second, keep(http.Header{"Cache-Control": {"max-age=60"}, "Age": {"20"}}, 0, time.Hour))
	require.Zero(t, keep(http.Header{"Cache-Control": {"max-age=60"}, "Age": {"70"}}, 0, time.Hour))
}

func TestRulesDecideWhereTheWebhookDoesNot(t *testing.T) {
	s := newService(t)
	p := activate(
		t,
		s,
		block{
			"authorize_url": "",
			"rules":         []block{{"effect": "allow", "topic": "%u/%c/#"}, {"effect": "allow", "topic": "role/%{role}/%c"}},
		},
	)
	role := "sensor"
	may := func(by, identity, topic string) bool {
		resp, err := p.Authorize(t.Context(), &pluginv1.AuthorizeRequest{
			Client: &pluginv1.Client{
				Connection: device,
				Identity:   identity,
				Attributes: map[string]string{"role": role},
				AdmittedBy: by,
			},
			Actions: []*pluginv1.Action{publish(topic)},
		})
		require.NoError(t, err)
		return resp.GetDecisions()[0].GetAllow()
	}
	require.True(t, may(name, "acme", "acme/dev1/x"))
	require.False(t, may(name, "acme", "sensor/dev1/x"))
	require.True(t, may(name, "acme", "role/sensor/dev1"))
	require.False(t, may("another", "acme", "role/sensor/dev1"), "attributes of another plugin are not ours")
	role = "p2p"
	require.False(t, may(name, "acme", "role/p2p/dev1"), "an attribute does not make a topic point to point")
	require.Empty(t, s.questions())
}

func TestHealthAsksItsURLWhereThereIsOne(t *testing.T) {
	s := newService(t)
	p := activate(t, s, block{"health_url": s.URL + "/healthz", "health_interval": "1s"})
	s.answer(http.StatusInternalServerError, "")
	require.Eventually(t, func() bool {
		err := p.Health(t.Context())
		return err != nil && strings.Contains(err.Error(), "status 500")
	}, time.Minute, 10*time.Millisecond)
	s.answer(http.StatusNoContent, "")
	require.Eventually(t, func() bool { return p.Health(t.Context()) == nil }, time.Minute, 10*time.Millisecond)
	_, err := login(p, nil)
	require.Error(t, err)
	require.NoError(t, p.Health(t.Context()), "only the URL decides")
	s.mu.Lock()
	defer s.mu.Unlock()
	require.True(t, slices.Contains(s.paths, "GET /healthz"))
}

func TestACallThatFailedIsForgottenAfterAWhile(t *testing.T) {
	h := &health{}
	h.called(io.ErrUnexpectedEOF)
	require.Error(t, h.get())
	h.at = h.at.Add(-2 * remember)
	require.NoError(t, h.get())
}

func TestConfigureNamesEachProblemWithItsKey(t *testing.T) {
	with := func(more block) block {
		b := block{"authenticate_url": "https://auth.example/authenticate"}
		maps.Copy(b, more)
		return b
	}
	cases := []struct {
		b            block
		key, message string
	}{
		{block{}, "authenticate_url", "is required"},
		{with(block{"authenticate_url": "http://auth.example"}), "authenticate_url", "allow_plain_http"},
		{with(block{"authorize_url": "https://user:hidden@auth.example"}), "authorize_url", "must not hold"},
		{with(block{"health_url": "auth.example"}), "health_url", "https://"},
		{with(block{"timeout": "1ms"}), "timeout", "from 100ms to 10s"},
		{with(block{"health_interval": "1ms"}), "health_interval", "from 1s to 10m"},
		{with(block{"cache": "-1s"}), "cache", "from 0s to 24h"},
		{with(block{"max_cache": "48h"}), "max_cache", "from 0s to 24h"},
		{with(block{"max_connections": 0}), "max_connections", "from 1 to 1024"},
		{with(block{"max_answer_bytes": 10}), "max_answer_bytes", "from 1024"},
		{with(block{"headers": block{"X-Secret": "hidden\n"}}), "headers", "X-Secret has a line end"},
		{with(block{"tls": block{"ca_file": "none.pem"}}), "tls.ca_file", "no such file"},
		{with(block{"authorize_url": "https://a.example", "rules": []block{{"effect": "allow", "topic": "a"}}}), "rules", "both set"},
		{with(block{"rules": []block{{"effect": "allow", "topic": "#/a"}}}), "rules[0].topic", "# must be the last"},
		{with(block{"url": "x"}), "url", "unknown key"},
	}
	for _, c := range cases {
		text, err := json.Marshal(c.b)
		require.NoError(t, err)
		problems := (&plugin{}).Configure(t.Context(), sdk.Setup{Config: text, ConfigDir: t.TempDir()})
		found := false
		for _, problem := range problems {
			found = found || problem.Key == c.key && strings.Contains(problem.Message, c.message)
			require.NotContains(t, problem.Message, "hidden")
		}
		require.True(t, found, "%v: %v says nothing of %q about %s", c.b, problems, c.message, c.key)
	}
	text, err := json.Marshal(with(block{"authenticate_url": "http://auth.example", "allow_plain_http": true}))
	require.NoError(t, err)
	require.Empty(t, (&plugin{}).Configure(t.Context(), sdk.Setup{Config: text}))
}

func TestTheHeadersAreDeclaredSecret(t *testing.T) {
	for _, k := range sdk.ConfigKeys((&plugin{}).Info().Config) {
		require.Equal(t, k.GetPath() == "headers", k.GetSecret(), k.GetPath())
	}
}

func TestAPrivateKeyThatEverybodyMayReadIsRefused(t *testing.T) {
	clientcerttest.RefusesAnExposedKey(t, "tls.key_file", func(dir string) []sdk.Problem {
		text, err := json.Marshal(block{"authenticate_url": "https://a.example", "tls": block{"cert_file": "cert.pem", "key_file": "key.pem"}})
		require.NoError(t, err)
		return (&plugin{}).Configure(t.Context(), sdk.Setup{Config: text, ConfigDir: dir})
	})
}
