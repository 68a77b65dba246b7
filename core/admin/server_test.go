package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/lmqgate/lmqgate/core/trace"
	"github.com/lmqgate/lmqgate/internal/leftover"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(leftover.Patient(m)) }

// backend is a node with answers that a test sets. It records the calls that change something.
type backend struct {
	topics   []Topic
	reloaded Reloaded
	err      error
	asked    []string
}

func (b *backend) note(format string, args ...any) {
	b.asked = append(b.asked, fmt.Sprintf(format, args...))
}

func (b *backend) Topics(context.Context) ([]Topic, error) { return b.topics, b.err }

func (b *backend) CreateTopic(_ context.Context, name string, queues int) (Topic, error) {
	b.note("create %q %d", name, queues)
	return Topic{Name: name, Queues: 4}, b.err
}

func (b *backend) DeleteTopic(_ context.Context, name string) error {
	b.note("delete %q", name)
	return b.err
}

func (*backend) Plugins() []Plugin            { return []Plugin{{Name: "auth-hmac"}} }
func (*backend) Nodes(context.Context) []Node { return []Node{{ID: "node"}} }
func (*backend) Info() Info                   { return Info{Node: "node"} }
func (*backend) Configuration() map[string]any {
	return map[string]any{"log": map[string]any{"level": "info"}}
}
func (*backend) LogLevel() string { return "info" }

func (b *backend) SetLogLevel(level string) error {
	b.note("level %q", level)
	return b.err
}

func (b *backend) Clients(_ context.Context, q ClientQuery) (List[Client], error) {
	b.note("clients %+v", q)
	return List[Client]{[]Client{{ClientID: "c"}}, "c", []Unanswered{{"other", "it is away"}}}, b.err
}

func (b *backend) Sessions(_ context.Context, q ClientQuery) (List[Session], error) {
	b.note("sessions %+v", q)
	return List[Session]{Items: []Session{{ClientID: "c"}}}, b.err
}

func (b *backend) Rebalance(_ context.Context, r RebalanceRequest) (Rebalanced, error) {
	b.note("rebalance %+v", r)
	return Rebalanced{}, b.err
}

func (b *backend) Client(_ context.Context, id string) (ClientDetail, error) {
	b.note("client %q", id)
	return ClientDetail{Client: Client{ClientID: id}, Backlog: 7}, b.err
}

func (b *backend) Subscriptions(_ context.Context, q SubscriptionQuery) (List[Subscription], error) {
	b.note("subscriptions %+v", q)
	return List[Subscription]{Items: []Subscription{{ClientID: "c", Filter: "T/#"}}}, b.err
}

func (b *backend) Bans(_ context.Context, p Page) List[Ban] {
	b.note("bans %+v", p)
	return List[Ban]{Items: []Ban{{Kind: "address", Name: "192.0.2.1/32", Reason: "why", Nodes: []string{"a"}}}, Next: "k"}
}

func (b *backend) AddBan(_ context.Context, r BanRequest) error {
	b.note("ban %s %q for %d", r.Kind, r.Name, r.Seconds)
	return b.err
}

func (b *backend) RemoveBan(_ context.Context, kind, name string) error {
	b.note("unban %s %q", kind, name)
	return b.err
}

func (b *backend) Kick(_ context.Context, clientID string) error {
	b.note("kick %q", clientID)
	return b.err
}

func (b *backend) Drain(over time.Duration) error {
	b.note("drain %s", over)
	return b.err
}

func (b *backend) Groups(_ context.Context, p Page) (List[Group], error) {
	b.note("groups %+v", p)
	return List[Group]{Items: []Group{{Name: "$share/g/T/#", Group: "g", Filter: "T/#", Members: 2, Backlog: 9}}}, b.err
}

func (*backend) Limits(context.Context) []Bound {
	use := 3.0
	return []Bound{{Key: "mqtt.max_connections", Use: &use, Limit: 5, Consumers: []Consumer{{"192.0.2.1", 2}}}}
}

func (b *backend) Backup(context.Context) (Backup, error) {
	b.note("backup")
	return Backup{Directory: "d", Keys: 2}, b.err
}

func (b *backend) Backlog(context.Context) (BacklogSummary, error) {
	return BacklogSummary{Messages: 9}, b.err
}

func (b *backend) Trace(m trace.Match, viewer bool) (Watching, error) {
	b.note("trace %+v, viewer %t", m, viewer)
	return &fewEvents{left: 3}, b.err
}

// fewEvents returns some events, and then ends as if the time were over.
type fewEvents struct{ left int }

func (f *fewEvents) Next(context.Context) ([]trace.Entry, error) {
	if f.left--; f.left < 0 {
		return nil, context.Canceled
	}
	return []trace.Entry{{What: trace.In, ClientID: "c", Packet: "PUBLISH"}}, nil
}

func (*fewEvents) Close() {}

func (b *backend) Recent(_ context.Context, q RecentQuery) ([]Event, []Unanswered) {
	b.note("recent %+v", q)
	return []Event{{Kind: "refused", Node: "a", Reason: "not authorized"}}, []Unanswered{{Node: "other", Error: "it is away"}}
}

func (b *backend) Publish(_ context.Context, m Message) error {
	b.note("publish %s %q qos %d retain %t", m.Topic, m.Payload, m.QoS, m.Retain)
	return b.err
}

func (b *backend) Retained(_ context.Context, filter string, p Page) ([]RetainedMessage, string, error) {
	b.note("retained %s %+v", filter, p)
	return []RetainedMessage{{Topic: "T/a"}}, "", b.err
}

func (b *backend) RetainedMessage(_ context.Context, topic string) (Message, error) {
	b.note("value of %s", topic)
	return Message{Topic: topic, Payload: []byte{0xff}}, b.err
}

func (b *backend) EndSession(_ context.Context, clientID string) error {
	b.note("end %q", clientID)
	return b.err
}

func (b *backend) ReloadPlugins(_ context.Context, name string, force bool) (Reloaded, error) {
	b.note("reload %q %t", name, force)
	return b.reloaded, b.err
}

// do sends a request to a server, with a loopback host if host is empty, and returns the status and the body.
func do(t *testing.T, o Options, method, path, body, host string, header map[string]string) (int, string) {
	t.Helper()
	if o.Backend == nil {
		o.Backend = &backend{}
	}
	o.Gatherer = prometheus.NewRegistry()
	r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	r.Host = "127.0.0.1:8080"
	if host != "" {
		r.Host = host
	}
	for k, v := range header {
		r.Header.Set(k, v)
	}
	w := httptest.NewRecorder()
	New(o).http.Handler.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func TestTheAPIIsForThoseWithTheToken(t *testing.T) {
	cases := []struct {
		name   string
		given  string // Authorization
		status int
	}{
		{"the token", "Bearer secret", http.StatusOK},
		{"none", "", http.StatusUnauthorized},
		{"another one", "Bearer Secret", http.StatusUnauthorized},
		{"a part of it", "Bearer secre", http.StatusUnauthorized},
		{"more than it", "Bearer secrets", http.StatusUnauthorized},
		{"an empty one", "Bearer ", http.StatusUnauthorized},
		{"another scheme", "Basic secret", http.StatusUnauthorized},
		{"no scheme", "secret", http.StatusUnauthorized},
	}
	for _, tc := range cases {
		for _, host := range []string{"127.0.0.1:8080", "gateway.example:8080"} {
			t.Run(tc.name+" for "+host, func(t *testing.T) {
				status, body := do(t, Options{Token: "secret"}, "GET", "/api/v1/info", "", host, map[string]string{"Authorization": tc.given})
				require.Equal(t, tc.status, status)
				if tc.status != http.StatusOK {
					require.Contains(t, body, "admin token")
					require.NotContains(t, body, "secret")
				}
			})
		}
	}
}

func TestWithoutTheTokenProbesAndMetricsAreForLoopbackNamesOnly(t *testing.T) {
	for host, status := range map[string]int{
		"127.0.0.1:8080":         http.StatusOK,
		"127.0.0.1":              http.StatusOK,
		"127.1.2.3:8080":         http.StatusOK,
		"localhost:8080":         http.StatusOK,
		"localhost":              http.StatusOK,
		"[::1]:8080":             http.StatusOK,
		"[::1]":                  http.StatusOK,
		"evil.example:8080":      http.StatusForbidden, // a name that an attacker points to loopback
		"localhost.evil.example": http.StatusForbidden,
		"127.0.0.1.evil.example": http.StatusForbidden,
		"10.0.0.1:8080":          http.StatusForbidden,
		"0.0.0.0:8080":           http.StatusForbidden,
	} {
		got, body := do(t, Options{Token: "secret"}, "GET", "/metrics", "", host, nil)
		require.Equal(t, status, got, host)
		if status != http.StatusOK {
			require.Contains(t, body, "admin token", host)
		}
	}
}

func TestPagesOfOtherOriginsAreRefused(t *testing.T) {
	cases := []struct {
		origin string
		status int
	}{
		{"", http.StatusOK},
		{"http://127.0.0.1:8080", http.StatusOK},
		{"http://127.0.0.1:8081", http.StatusForbidden},
		{"http://evil.example", http.StatusForbidden},
		{"http://127.0.0.1:8080.evil.example", http.StatusForbidden},
		{"http://127.0.0.1:8080@evil.example", http.StatusForbidden},
		{"null", http.StatusForbidden},
		{"%", http.StatusForbidden},
	}
	for _, tc := range cases {
		for _, path := range []string{"/api/v1/info", "/metrics"} {
			status, _ := do(t, Options{Token: "secret"}, "GET", path, "", "", map[string]string{"Authorization": "Bearer secret", "Origin": tc.origin})
			require.Equal(t, tc.status, status, "origin %q, %s", tc.origin, path)
		}
	}
}

// A request without permission must not reach an operation, whatever its path and method.
func TestTheGuardStandsBeforeEveryCall(t *testing.T) {
	for _, call := range []string{
		"GET /api/v1/info", "GET /api/v1/topics", "POST /api/v1/topics", "DELETE /api/v1/topics/T", "GET /api/v1/plugins",
		"POST /api/v1/plugins/reload", "GET /api/v1/clients", "GET /api/v1/subscriptions", "GET /api/v1/nodes",
		"GET /api/v1/sessions", "POST /api/v1/rebalance", "GET /api/v1/groups", "GET /api/v1/backlog", "GET /api/v1/trace?client_id=c", "GET /api/v1/limits", "POST /api/v1/backup",
		"POST /api/v1/clients/c/kick", "DELETE /api/v1/sessions/c", "GET /api/v1/clients/c", "GET /api/v1/config", "PUT /api/v1/log-level", "POST /api/v1/publish",
		"GET /api/v1/bans", "POST /api/v1/bans", "DELETE /api/v1/bans/client/c",
		"GET /api/v1/retained", "DELETE /api/v1/retained/message?topic=T", "GET /api/v1/nothing", "PUT /api/v1/topics",
	} {
		method, path, _ := strings.Cut(call, " ")
		b := &backend{}
		status, _ := do(t, Options{Token: "secret", Backend: b}, method, path, `{"name": "T"}`, "", nil)
		require.Equal(t, http.StatusUnauthorized, status, call)
		status, _ = do(t, Options{Backend: b}, method, path, `{"name": "T"}`, "", nil)
		require.Equal(t, http.StatusUnauthorized, status, "%s: a server without a token admits nobody", call)
		status, _ = do(t, Options{Token: "secret", Backend: b}, method, path, `{"name": "T"}`, "",
			map[string]string{"Authorization": "Bearer secret", "Origin": "http://evil.example"})
		require.Equal(t, http.StatusForbidden, status, call)
		require.Empty(t, b.asked, call)
	}
}

func TestProbesAndMetricsNeedNoToken(t *testing.T) {
	for _, path := range []string{"/healthz", "/metrics"} {
		status, _ := do(t, Options{Token: "secret"}, "GET", path, "", "", nil)
		require.Equal(t, http.StatusOK, status, path)
	}
	status, body := do(t, Options{Token: "secret"}, "GET", "/readyz", "", "", nil)
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.Equal(t, "starting\n", body)
}

func TestReadinessIsOneLineAndWhatIsToBeSaidBesides(t *testing.T) {
	s := New(Options{Backend: &backend{}, Gatherer: prometheus.NewRegistry()})
	for _, tc := range []struct {
		err    error
		notice string
		status int
		body   string
	}{
		{nil, "", http.StatusOK, "ready\n"},
		{nil, "c\nd\n", http.StatusOK, "ready\nc\nd\n"},
		{errors.Join(errors.New("a"), errors.New("b")), "", http.StatusServiceUnavailable, "a; b\n"},
		{errors.New("a"), "c\n", http.StatusServiceUnavailable, "a\nc\n"},
	} {
		s.SetReady(func() error { return tc.err })
		s.SetNotice(func() string { return tc.notice })
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/readyz", nil)
		r.Host = "localhost"
		s.http.Handler.ServeHTTP(w, r)
		require.Equal(t, tc.status, w.Code)
		require.Equal(t, tc.body, w.Body.String())
	}
}

func TestCallsAreAnsweredAsTheBackendSays(t *testing.T) {
	invalid, missing, conflict := fmt.Errorf("%w: why", ErrInvalid), fmt.Errorf("%w: why", ErrNotFound), Conflict("why")
	cases := []struct {
		call   string
		body   string
		b      backend
		status int
		answer string // expected part of the answer
		asked  string
	}{
		{call: "GET /api/v1/info", status: 200, answer: `"node":"node"`},
		{call: "GET /api/v1/topics", status: 200, answer: `{"topics":[]}`},
		{call: "GET /api/v1/topics", b: backend{topics: []Topic{{Name: "T", Queues: 2, Brokers: []string{"b"}}}}, status: 200,
			answer: `{"topics":[{"name":"T","queues":2,"brokers":["b"]}]}`},
		{call: "GET /api/v1/topics", b: backend{err: errors.New("no broker")}, status: 503, answer: `{"error":"no broker"}`},
		{call: "POST /api/v1/topics", body: `{"name": "T", "queues": 8}`, status: 201, answer: `"name":"T"`, asked: `create "T" 8`},
		{call: "POST /api/v1/topics", body: `{"name": "T"}`, status: 201, answer: `"queues":4`, asked: `create "T" 0`},
		{call: "POST /api/v1/topics", body: `{"name": "T", "queues": 1025}`, status: 400, answer: "queues: expected number <= 1024"},
		{call: "POST /api/v1/topics", body: `{"name": "T", "queues": -1}`, status: 400, answer: "queues: expected number >= 0"},
		{call: "POST /api/v1/topics", body: `{"topic": "T"}`, status: 400, answer: "unexpected property"},
		{call: "POST /api/v1/topics", body: `name=T`, status: 400, answer: `"error":`},
		{call: "POST /api/v1/topics", body: `{"name": "` + strings.Repeat("T", 64<<10) + `"}`, status: 413, answer: "too large"},
		{call: "POST /api/v1/topics", body: `{"name": "a/b"}`, b: backend{err: invalid}, status: 400, answer: "why", asked: `create "a/b" 0`},
		{call: "DELETE /api/v1/topics/T", status: 204, asked: `delete "T"`},
		{call: "DELETE /api/v1/topics/T%2Fa", status: 204, asked: `delete "T/a"`},
		{call: "DELETE /api/v1/topics/T", b: backend{err: missing}, status: 404, answer: "not found: why", asked: `delete "T"`},
		{call: "GET /api/v1/clients", status: 200, answer: `"next":"c"`, asked: "clients {Page:{After: Limit:1000} Prefix: Username: State:connected Backlog:false}"},
		{call: "GET /api/v1/clients?limit=5&after=b&prefix=c&username=u&state=all", status: 200, answer: `"client_id":"c"`,
			asked: "clients {Page:{After:b Limit:5} Prefix:c Username:u State:all Backlog:false}"},
		{call: "GET /api/v1/clients", status: 200, answer: `"unanswered":[{"node":"other","error":"it is away"}]`,
			asked: "clients {Page:{After: Limit:1000} Prefix: Username: State:connected Backlog:false}"},
		{call: "GET /api/v1/sessions?prefix=c", status: 200, answer: `"sessions":[{"client_id":"c"`,
			asked: "sessions {Page:{After: Limit:1000} Prefix:c Username: State:all Backlog:false}"},
		{call: "GET /api/v1/clients?limit=0", status: 400, answer: "limit"},
		{call: "GET /api/v1/clients?limit=10001", status: 400, answer: "limit"},
		{call: "GET /api/v1/clients?state=gone", status: 400, answer: "state"},
		{call: "GET /api/v1/clients?prefx=c", status: 400, answer: "prefx"},
		{call: "GET /api/v1/clients/a%2Fb", status: 200, answer: `"backlog":7`, asked: `client "a/b"`},
		{call: "GET /api/v1/clients/c", b: backend{err: missing}, status: 404, answer: "why", asked: `client "c"`},
		{call: "GET /api/v1/subscriptions?client_id=c&matching=T/a", status: 200, answer: `"filter":"T/#"`,
			asked: "subscriptions {Page:{After: Limit:1000} ClientID:c Matching:T/a Filter:}"},
		{call: "GET /api/v1/sessions?backlog=true", status: 200, answer: `"client_id":"c"`,
			asked: "sessions {Page:{After: Limit:1000} Prefix: Username: State:all Backlog:true}"},
		{call: "GET /api/v1/groups?limit=3", status: 200, answer: `"members":2,"backlog":9`, asked: "groups {After: Limit:3}"},
		{call: "GET /api/v1/limits", status: 200, answer: `"use":3,"limit":5,"effects":0,"consumers":[{"name":"192.0.2.1","use":2}]`},
		{call: "POST /api/v1/backup", status: 201, answer: `"directory":"d","keys":2`, asked: "backup"},
		{call: "POST /api/v1/backup", b: backend{err: conflict}, status: 409, answer: "why", asked: "backup"},
		{call: "GET /api/v1/backlog", status: 200, answer: `"messages":9,"sessions":0,"behind":0,"largest":[]`},
		{call: "GET /api/v1/backlog", b: backend{err: errors.New("no broker")}, status: 503, answer: "no broker"},
		{call: "POST /api/v1/drain", body: `{"seconds": 30}`, status: 202, asked: "drain 30s"},
		{call: "POST /api/v1/drain", body: `{"seconds": 3601}`, status: 400, answer: "seconds"},
		{call: "POST /api/v1/drain", body: `{"seconds": 1}`, b: backend{err: conflict}, status: 409, answer: "why", asked: "drain 1s"},
		{call: "POST /api/v1/rebalance", body: `{}`, status: 202, answer: `{"moves":[]}`, asked: "rebalance {Node: Keep:-1 Rate:50}"},
		{call: "POST /api/v1/rebalance", body: `{"node": "n", "keep": 0, "rate": 7}`, status: 202, asked: "rebalance {Node:n Keep:0 Rate:7}"},
		{call: "POST /api/v1/rebalance", body: `{"rate": 0}`, status: 400, answer: "rate"},
		{call: "POST /api/v1/rebalance", body: `{}`, b: backend{err: conflict}, status: 409, answer: "why", asked: "rebalance {Node: Keep:-1 Rate:50}"},
		{call: "GET /api/v1/recent", status: 200, answer: `"node":"a","kind":"refused"`, asked: "recent {ClientID: Username: Kind:}"},
		{call: "GET /api/v1/recent?client_id=c&username=u&kind=refused", status: 200, answer: `"unanswered":[{"node":"other"`,
			asked: "recent {ClientID:c Username:u Kind:refused}"},
		{call: "GET /api/v1/recent?kind=lost", status: 400, answer: "kind"},
		{call: "GET /api/v1/nodes", status: 200, answer: `{"nodes":[{"id":"node"`},
		{call: "GET /api/v1/plugins", status: 200, answer: `{"plugins":[{"name":"auth-hmac"`},
		{call: "GET /api/v1/config", status: 200, answer: `"level":"info"`},
		{call: "GET /api/v1/log-level", status: 200, answer: `{"level":"info"}`},
		{call: "PUT /api/v1/log-level", body: `{"level": "debug"}`, status: 200, asked: `level "debug"`},
		{call: "PUT /api/v1/log-level", body: `{"level": "loud"}`, status: 400, answer: "level"},
		{call: "POST /api/v1/clients/a%2Fb/kick", status: 204, asked: `kick "a/b"`},
		{call: "DELETE /api/v1/sessions/a%2Fb", status: 204, asked: `end "a/b"`},
		{call: "DELETE /api/v1/sessions/c", b: backend{err: missing}, status: 404, answer: "not found: why", asked: `end "c"`},
		{call: "GET /api/v1/bans", status: 200, answer: `"nodes":["a"]}],"next":"k"`, asked: "bans {After: Limit:1000}"},
		{call: "GET /api/v1/bans?limit=2&after=client/c", status: 200, answer: `"name":"192.0.2.1/32"`, asked: "bans {After:client/c Limit:2}"},
		{call: "POST /api/v1/bans", body: `{"kind": "client", "name": "c", "seconds": 60}`, status: 204, asked: `ban client "c" for 60`},
		{call: "DELETE /api/v1/bans/address/192.0.2.1%2F32", status: 204, asked: `unban address "192.0.2.1/32"`},
		{call: "DELETE /api/v1/bans/planet/x", status: 400, answer: "kind"},
		{call: "POST /api/v1/clients/c/kick", b: backend{err: missing}, status: 404, answer: "why", asked: `kick "c"`},
		{call: "POST /api/v1/publish", body: `{"messages": [{"topic": "T/a", "payload": "x", "qos": 1}, {"topic": "T/b", "payload_base64": "/w=="}]}`,
			status: 200, answer: `"published":2`, asked: "publish T/a \"x\" qos 1 retain false;publish T/b \"\\xff\" qos 0 retain false"},
		{call: "POST /api/v1/publish", body: `{"messages": [{"topic": "T/a", "payload": "x", "payload_base64": "/w=="}]}`, status: 400, answer: "both"},
		{call: "POST /api/v1/publish", body: `{"messages": [{"topic": "T/a", "qos": 3}]}`, status: 400, answer: "qos"},
		{call: "POST /api/v1/publish", body: `{"messages": []}`, status: 400, answer: "messages"},
		{call: "POST /api/v1/publish", body: `{"messages": [{"topic": "T/a"}]}`, b: backend{err: errors.New("no broker")}, status: 503,
			answer: "no broker", asked: `publish T/a "" qos 0 retain false`},
		{call: "GET /api/v1/retained?filter=T/%23", status: 200, answer: `"topic":"T/a"`, asked: "retained T/# {After: Limit:1000}"},
		{call: "GET /api/v1/retained/message?topic=T/a", status: 200, answer: `"payload_base64":"/w=="`, asked: "value of T/a"},
		{call: "GET /api/v1/retained/message", status: 400, answer: "topic"},
		{call: "PUT /api/v1/retained/message", body: `{"topic": "T/a", "payload": "x"}`, status: 204, asked: `publish T/a "x" qos 0 retain true`},
		{call: "PUT /api/v1/retained/message", body: `{"topic": "T/a"}`, status: 400, answer: "DELETE"},
		{call: "DELETE /api/v1/retained/message?topic=T/a", status: 204, asked: `value of T/a;publish T/a "" qos 1 retain true`},
		{call: "POST /api/v1/plugins/reload", status: 200, asked: `reload "" false`},
		{call: "POST /api/v1/plugins/reload", body: `{"name": "auth", "force": true}`, status: 200, asked: `reload "auth" true`},
		{call: "POST /api/v1/plugins/reload", b: backend{err: conflict, reloaded: Reloaded{Plugins: []ReloadedPlugin{{Name: "p", Result: Swapped}}}},
			status: 409, answer: `"error":"why","plugins":[{`, asked: `reload "" false`},
		{call: "GET /api/v1/nothing", status: 404, answer: "not found: GET /api/v1/nothing"},
		{call: "PUT /api/v1/topics", status: 404, answer: "not found: PUT /api/v1/topics"},
		{call: "GET /api/v1/openapi.json", status: 200, answer: `"operationId":"kick-client"`},
		{call: "GET /api/v1/", status: 200, answer: "/api/v1/clients/{id}/kick"},
		{call: "GET /elsewhere", status: 404},
	}
	for _, tc := range cases {
		t.Run(tc.call, func(t *testing.T) {
			method, path, _ := strings.Cut(tc.call, " ")
			status, body := do(t, Options{Token: "secret", Backend: &tc.b}, method, path, tc.body, "", map[string]string{"Authorization": "Bearer secret"})
			require.Equal(t, tc.status, status, body)
			require.Contains(t, body, tc.answer)
			require.Equal(t, tc.asked, strings.Join(tc.b.asked, ";"))
			if strings.HasPrefix(path, "/api/") && path != "/api/v1/" && body != "" {
				require.True(t, json.Valid([]byte(body)), body)
			}
		})
	}
}

func TestATraceIsALineForEachEventUpToTheLimit(t *testing.T) {
	for path, lines := range map[string]int{"/api/v1/trace?client_id=c": 3, "/api/v1/trace?topic=T/%23&limit=2": 2} {
		status, body := do(t, Options{Token: "secret"}, "GET", path, "", "", map[string]string{"Authorization": "Bearer secret"})
		require.Equal(t, http.StatusOK, status)
		got := strings.Split(strings.TrimSuffix(body, "\n"), "\n")
		require.Len(t, got, lines)
		for _, line := range got {
			var e trace.Entry
			require.NoError(t, json.Unmarshal([]byte(line), &e))
			require.Equal(t, "c", e.ClientID)
		}
	}
	status, body := do(t, Options{Token: "secret", Backend: &backend{err: fmt.Errorf("%w: why", ErrInvalid)}}, "GET", "/api/v1/trace", "", "",
		map[string]string{"Authorization": "Bearer secret"})
	require.Equal(t, http.StatusBadRequest, status)
	require.Contains(t, body, "why")
}

func TestAServerServesUntilItIsClosed(t *testing.T) {
	s := New(Options{Address: "127.0.0.1:0", Backend: &backend{}, Gatherer: prometheus.NewRegistry()})
	require.NoError(t, s.Start())
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	ask := func() error {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.Addr().String()+"/healthz", nil)
		require.NoError(t, err)
		res, err := client.Do(r)
		if err != nil {
			return err
		}
		defer func() { _ = res.Body.Close() }()
		_, err = io.ReadAll(res.Body)
		require.Equal(t, http.StatusOK, res.StatusCode)
		return err
	}
	require.NoError(t, ask())
	taken := New(Options{Address: s.Addr().String(), Backend: &backend{}, Gatherer: prometheus.NewRegistry()})
	err := taken.Start()
	require.ErrorContains(t, err, "admin.address "+s.Addr().String())
	require.ErrorContains(t, err, "choose a free address")
	taken.Close() // nothing to close
	s.Close()
	require.Error(t, ask())
}
