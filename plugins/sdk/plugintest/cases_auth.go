package plugintest

import (
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

const groupAuth = "auth"

func authCases() []check {
	cases := []check{
		{name: "allows what the profile says is allowed", run: (*trial).allowed, rule: rule{
			text:  "With its configuration, the plugin admits the clients and allows the actions that its profile lists under allow",
			proto: "auth.proto, Auth.Authenticate and Auth.Authorize", section: "authenticate"}},
		{name: "denies what the profile says is denied, as an answer", run: (*trial).denied, rule: rule{
			text:  "A denial is an answer, not a gRPC error, with a reason other than REASON_OK or a decision that does not allow",
			proto: "auth.proto, Auth.Authenticate and Auth.Authorize", section: "authenticate"}},
		{name: "denies the right client with a wrong password", run: (*trial).wrongPasswords, rule: rule{
			text:  "A client whose password is changed, cut short or missing is not admitted",
			proto: "auth.proto, Auth.Authenticate", section: "authenticate"}},
		{name: "denies strangers", run: (*trial).strangers, rule: rule{
			text:  "A client that nothing in the configuration speaks for is not admitted; a plugin never allows everything",
			proto: "auth.proto, Auth.Authenticate", section: "authenticate"}},
		{name: "stands malformed CONNECTs and admits none", run: (*trial).malformedConnects, rule: rule{
			text:    "Whatever a CONNECT holds, the answer is a denial (or INVALID_ARGUMENT), never an admission, another error or the end of the plugin",
			proto:   "auth.proto, Auth.Authenticate",
			section: "authenticate",
		}},
		{name: "stands malformed actions and allows none", run: (*trial).malformedActions, rule: rule{
			text:  "An action of an unknown kind, and a topic name or filter that MQTT forbids, is denied (or INVALID_ARGUMENT)",
			proto: "auth.proto, Auth.Authorize", section: "authorize"}},
		{name: "answers one decision for each action, in order", run: (*trial).batches, rule: rule{
			text:  "Authorize answers one decision for each action, in order; a batch is decided as its actions one by one are",
			proto: "auth.proto, Auth.Authorize", section: "authorize"}},
		{name: "says so where QoS or retain had a part in a decision", run: (*trial).qosAndRetain, rule: rule{
			text:    "Where QoS or retain had a part in a decision that may be cached, depends_on_qos_retain is true; else the gateway uses it for every QoS",
			proto:   "auth.proto, Decision.depends_on_qos_retain",
			section: "authorize",
		}},
		{name: "states rights that Authorize allows too", run: (*trial).rights, rule: rule{
			text:    "What the rights in an admission allow, Authorize allows as well, at any QoS, retained or not, and in any share group",
			proto:   "auth.proto, Rights",
			section: "authenticate",
		}},
		{name: "treats clients that another plugin admitted as it declares", run: (*trial).foreignClients, rule: rule{
			text:    "With FOREIGN_CLIENTS_DENY each action of a client that another plugin admitted is denied; with FOREIGN_CLIENTS_JUDGE it is judged by client id and user name",
			proto:   "plugin.proto, ForeignClients",
			section: "authorize",
		}},
		{name: "knows its clients again after a restart", run: (*trial).authorizeAfterRestart, limit: longLimit, rule: rule{
			text:  "Identity and attributes are all that Authorize needs: connected clients stay when the plugin is started again",
			proto: "auth.proto, Client", section: "authorize"}},
		{name: "answers many at once, each its own", run: (*trial).manyAtOnce, limit: longLimit, rule: rule{
			text:  "Calls come from several goroutines of the gateway at once, and each gets the answer that it would get alone",
			proto: "auth.proto, Auth", section: "calls"}},
		{name: "judges several CONNECTs in one call as one by one, if it declares that", run: (*trial).allTogether, rule: rule{
			text:    "AuthenticateAll answers one response for each request, in order, as Authenticate would; UNIMPLEMENTED where Describe does not declare it",
			proto:   "auth.proto, Auth.AuthenticateAll",
			section: "authenticate",
		}},
		{name: "goes on after calls that were given up", run: (*trial).abandonedCalls, rule: rule{
			text:  "A caller may give a call up; the plugin goes on with the others",
			proto: "auth.proto, Auth", section: "calls"}},
		{name: "streams revocations if it declares them", run: (*trial).revocations, rule: rule{
			text:  "Revocations stays open where Describe declares it, and is UNIMPLEMENTED where it does not",
			proto: "auth.proto, Auth.Revocations", section: "revocations"}},
		{name: "serves enhanced authentication if it declares methods", run: (*trial).exchange, rule: rule{
			text:    "Exchange is UNIMPLEMENTED where Describe lists no methods; otherwise what does not fit is denied, and a step of an exchange that is not known never admits",
			proto:   "auth.proto, Auth.Exchange",
			section: "exchange",
		}},
	}
	for i := range cases {
		cases[i].group, cases[i].needs = groupAuth, needsActive
	}
	return cases
}

func (t *trial) allowed() {
	if len(t.profile.Allow) == 0 {
		t.skip("the profile has no requests under allow")
	}
	r := t.plugin()
	for _, sample := range t.profile.Allow {
		client := t.admit(r, sample)
		if a := sample.action(); a != nil {
			if d := t.authorize(r, client, a)[0]; !d.GetAllow() {
				t.failf("it denies (%s), and the profile allows: %s", quote(d.GetDetail()), sample)
			}
		}
	}
}

func (t *trial) denied() {
	if len(t.profile.Deny) == 0 {
		t.skip("the profile has no requests under deny; add some, they find a plugin that allows too much")
	}
	r := t.plugin()
	for _, sample := range t.profile.Deny {
		if a := sample.action(); a != nil {
			if t.authorize(r, t.admit(r, sample), a)[0].GetAllow() {
				t.failf("it allows, and the profile denies: %s", sample)
			}
		} else if t.authenticate(r, sample.authenticate()).GetReason() == pluginv1.Reason_REASON_OK {
			t.failf("it admits, and the profile denies: %s", sample)
		}
	}
}

func (t *trial) wrongPasswords() {
	r := t.plugin()
	tried := false
	for _, sample := range connects(t.profile.Allow) {
		if sample.Password == nil || *sample.Password == "" {
			continue
		}
		tried = true
		for _, wrong := range spoiled(*sample.Password) {
			spoiledSample := sample
			spoiledSample.Password = wrong.password
			if t.authenticate(r, spoiledSample.authenticate()).GetReason() == pluginv1.Reason_REASON_OK {
				t.failf("it admits %s with %s", sample, wrong.what)
			}
		}
	}
	if !tried {
		t.skip("the profile allows no request with a password")
	}
}

// spoiledPassword is a valid password that was altered.
type spoiledPassword struct {
	what     string
	password *string
}

func spoiled(password string) []spoiledPassword {
	at := func(s string) *string { return &s }
	middle := []byte(password)
	middle[len(middle)/2] ^= 1
	return []spoiledPassword{
		{"no password", nil},
		{"an empty password", at("")},
		{"a password that is longer by an x", at(password + "x")},
		{"a password without its first byte", at(password[1:])},
		{"a password with another byte in the middle", at(string(middle))},
	}
}

// anonymous reports whether the profile allows a CONNECT without user name and password.
func (t *trial) anonymous() bool {
	for _, r := range t.profile.Allow {
		if r.Username == nil && r.Password == nil {
			return true
		}
	}
	return false
}

func (t *trial) strangers() {
	if t.anonymous() {
		t.skip("the profile allows clients without user name and password")
	}
	r := t.plugin()
	text := func(s string) *string { return &s }
	for _, stranger := range []Request{
		{ClientID: "stranger-" + t.id},
		{ClientID: "stranger-" + t.id, Username: text("stranger-" + t.id)},
		{ClientID: "stranger-" + t.id, Username: text("stranger-" + t.id), Password: text("stranger-" + t.id)},
		{ClientID: "stranger-" + t.id, Password: text("stranger-" + t.id)},
		{ClientID: "admin", Username: text("admin"), Password: text("admin")},
	} {
		if t.authenticate(r, stranger.authenticate()).GetReason() == pluginv1.Reason_REASON_OK {
			t.failf("it admits a stranger: %s", stranger)
		}
	}
}

func (t *trial) malformedConnects() {
	if t.anonymous() {
		t.skip("the profile allows clients without user name and password")
	}
	r := t.plugin()
	long := strings.Repeat("x", 65535)
	names := []string{"", " ", "\x00", "a\nb", "../../etc/passwd", "' OR '1'='1", "%s%n%d", "*", "*)(uid=*", "\u202e\ufeff", long}
	for _, sample := range connects(t.profile.Allow) {
		if sample.Username != nil {
			names = append(names, *sample.Username+"\x00", *sample.Username+" ", " "+*sample.Username)
			break
		}
	}
	var requests []*pluginv1.AuthenticateRequest
	for _, name := range names {
		for _, password := range []string{"", "\x00\xff\xfe", "' OR '1'='1", long} {
			requests = append(requests,
				&pluginv1.AuthenticateRequest{HasPassword: true, Password: []byte(password),
					Connection: &pluginv1.Connection{ClientId: name, HasUsername: true, Username: name, MqttVersion: 4, Listener: "tcp"}})
		}
	}
	requests = append(requests,
		&pluginv1.AuthenticateRequest{},
		&pluginv1.AuthenticateRequest{Connection: &pluginv1.Connection{}},
		&pluginv1.AuthenticateRequest{Password: []byte("unsaid"), Connection: &pluginv1.Connection{Username: "unsaid", MqttVersion: 99}},
		&pluginv1.AuthenticateRequest{Connection: &pluginv1.Connection{MqttVersion: 5, Listener: "tls", RemoteAddress: "no address",
			PeerCertificate: &pluginv1.PeerCertificate{Chain: [][]byte{{1, 2, 3}}, Subject: "CN=", Sha256: "zz"}}},
	)
	for _, req := range requests {
		resp, err := r.auth.Authenticate(t.ctx, req)
		if status.Code(err) == codes.InvalidArgument {
			continue
		}
		t.must(err)
		if wrong := wrongAnswer(resp); wrong != "" {
			t.failf("%s", wrong)
		}
		if resp.GetReason() == pluginv1.Reason_REASON_OK {
			t.failf("it admits a malformed CONNECT")
		}
	}
}

// anyClient returns an admitted client of the profile, preferably one with an allowed action.
func (t *trial) anyClient(r *running) (*pluginv1.Client, *pluginv1.Action) {
	samples := append(actions(t.profile.Allow), t.profile.Allow...)
	if len(samples) == 0 {
		t.skip("the profile has no requests under allow")
	}
	return t.admit(r, samples[0]), samples[0].action()
}

func (t *trial) malformedActions() {
	r := t.plugin()
	client, action := t.anyClient(r)
	topic := action.GetTopic()
	plain := strings.NewReplacer("+", "x", "#", "x").Replace(topic)
	if plain == "" {
		plain = "a"
	}
	const publish, subscribe = pluginv1.ActionKind_ACTION_KIND_PUBLISH, pluginv1.ActionKind_ACTION_KIND_SUBSCRIBE
	long := plain + "/" + strings.Repeat("x", 65536)
	for _, a := range []*pluginv1.Action{
		{Topic: plain}, {Kind: 99, Topic: plain},
		{Kind: publish}, {Kind: subscribe},
		{Kind: publish, Topic: plain + "/+"}, {Kind: publish, Topic: plain + "/#"}, {Kind: publish, Topic: "#"},
		{Kind: publish, Topic: plain + "\x00"}, {Kind: publish, Topic: long},
		{Kind: subscribe, Topic: plain + "/#/x"}, {Kind: subscribe, Topic: plain + "#"}, {Kind: subscribe, Topic: plain + "/x+"},
		{Kind: subscribe, Topic: "#/" + plain}, {Kind: subscribe, Topic: plain + "\x00"}, {Kind: subscribe, Topic: long},
	} {
		resp, err := r.auth.Authorize(t.ctx, &pluginv1.AuthorizeRequest{Client: client, Actions: []*pluginv1.Action{a}})
		if status.Code(err) == codes.InvalidArgument {
			continue
		}
		t.must(err)
		if wrong := wrongDecisions(resp, 1); wrong != "" {
			t.failf("%s", wrong)
		}
		if resp.GetDecisions()[0].GetAllow() {
			t.failf("it allows %s", malformation(a))
		}
	}
	// An unspecified client may do nothing.
	if !t.anonymous() {
		for _, nobody := range []*pluginv1.Client{nil, {AdmittedBy: t.suite.describe.GetName()}} {
			resp, err := r.auth.Authorize(
				t.ctx,
				&pluginv1.AuthorizeRequest{Client: nobody, Actions: []*pluginv1.Action{{Kind: publish, Topic: plain}}},
			)
			if status.Code(err) == codes.InvalidArgument {
				continue
			}
			t.must(err)
			if len(resp.GetDecisions()) != 1 || resp.GetDecisions()[0].GetAllow() {
				t.failf("it allows a client without client id, user name, identity and attributes")
			}
		}
	}
}

func malformation(a *pluginv1.Action) string {
	switch a.GetKind() {
	case pluginv1.ActionKind_ACTION_KIND_PUBLISH:
		return "a publish to " + quote(a.GetTopic()) + ", which is no topic name"
	case pluginv1.ActionKind_ACTION_KIND_SUBSCRIBE:
		return "a subscribe to " + quote(a.GetTopic()) + ", which is no topic filter"
	}
	return fmt.Sprintf("an action of the unknown kind %d", a.GetKind())
}

// largestBatch is the largest batch that the gateway sends.
const largestBatch = 256

func (t *trial) batches() {
	r := t.plugin()
	client, _ := t.anyClient(r)
	var kinds []*pluginv1.Action
	for _, list := range [][]Request{t.profile.Allow, t.profile.Deny} {
		for _, sample := range actions(list) {
			kinds = append(kinds, sample.action())
		}
	}
	kinds = append(kinds,
		&pluginv1.Action{Kind: pluginv1.ActionKind_ACTION_KIND_PUBLISH, Topic: "plugintest/" + t.id},
		&pluginv1.Action{Kind: pluginv1.ActionKind_ACTION_KIND_SUBSCRIBE, Topic: "plugintest/" + t.id + "/#"})
	alone := make([]bool, len(kinds))
	for i, a := range kinds {
		alone[i] = t.authorize(r, client, a)[0].GetAllow()
	}
	t.authorize(r, client)
	for _, n := range []int{2, 3, 17, largestBatch} {
		batch := make([]*pluginv1.Action, n)
		for i := range batch {
			batch[i] = kinds[(i*7+i/len(kinds))%len(kinds)]
		}
		for i, d := range t.authorize(r, client, batch...) {
			if want := alone[(i*7+i/len(kinds))%len(kinds)]; d.GetAllow() != want {
				t.failf(
					"decision %d of a batch of %d is allow=%v, alone it was allow=%v, for %s",
					i,
					n,
					d.GetAllow(),
					want,
					render(batch[i]),
				)
			}
		}
	}
}

func (t *trial) qosAndRetain() {
	samples := append(actions(t.profile.Allow), actions(t.profile.Deny)...)
	if len(samples) == 0 {
		t.skip("the profile has no publish or subscribe requests")
	}
	r := t.plugin()
	for _, sample := range samples {
		client := t.admit(r, sample)
		first := t.authorize(r, client, sample.action())[0]
		for qos := range uint32(3) {
			for _, retain := range []bool{false, true} {
				other := sample.action()
				other.Qos, other.Retain = qos, retain && sample.Publish != nil
				d := t.authorize(r, client, other)[0]
				cached := first.GetCacheMs() > 0 && !first.GetDependsOnQosRetain() || d.GetCacheMs() > 0 && !d.GetDependsOnQosRetain()
				if d.GetAllow() != first.GetAllow() && cached {
					t.failf(
						"QoS %d, retain %v is allow=%v, and %s is allow=%v; one of the decisions may be cached for both",
						qos,
						other.GetRetain(),
						d.GetAllow(),
						sample,
						first.GetAllow(),
					)
				}
			}
		}
	}
}

func (t *trial) foreignClients() {
	r := t.plugin()
	foreign := func(sample Request) *pluginv1.Client {
		c := &pluginv1.Client{Connection: sample.connection(), AdmittedBy: "plugintest-other"}
		c.Identity = c.GetConnection().GetUsername()
		return c
	}
	judges := t.suite.describe.GetAuth().GetForeignClients() == pluginv1.ForeignClients_FOREIGN_CLIENTS_JUDGE
	tried, allowed, denied := false, false, ""
	for _, sample := range actions(t.profile.Allow) {
		tried = true
		switch d := t.authorize(r, foreign(sample), sample.action())[0]; {
		case d.GetAllow() && !judges:
			t.failf("it declares FOREIGN_CLIENTS_DENY and allows a client that another plugin admitted: %s", sample)
		case d.GetAllow():
			allowed = true
		default:
			denied = fmt.Sprintf("(%s) %s", quote(d.GetDetail()), sample)
		}
	}
	// Some may be denied: rules can depend on what only the plugin's own admission establishes, such as the claims of a token.
	if judges && denied != "" && !allowed {
		t.failf(
			"it declares FOREIGN_CLIENTS_JUDGE and denies everything that its rules allow to a client that another plugin admitted, at last %s",
			denied,
		)
	}
	for _, sample := range actions(t.profile.Deny) {
		tried = true
		if t.authorize(r, foreign(sample), sample.action())[0].GetAllow() {
			t.failf("it allows a client that another plugin admitted what it denies to its own: %s", sample)
		}
	}
	if !tried {
		t.skip("the profile has no publish or subscribe requests")
	}
}

func (t *trial) authorizeAfterRestart() {
	samples := actions(t.profile.Allow)
	if len(samples) == 0 {
		t.skip("the profile allows no publish or subscribe")
	}
	r := t.plugin()
	clients := make([]*pluginv1.Client, len(samples))
	for i, sample := range samples {
		clients[i] = t.admit(r, sample)
	}
	r = t.restart(true)
	for i, sample := range samples {
		if d := t.authorize(r, clients[i], sample.action())[0]; !d.GetAllow() {
			t.failf("after a restart it denies (%s) a client that it admitted before: %s", quote(d.GetDetail()), sample)
		}
	}
}
