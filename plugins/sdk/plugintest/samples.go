package plugintest

import (
	"fmt"
	"time"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// String describes the request, without the password.
func (r Request) String() string {
	who := fmt.Sprintf("client id %s", quote(r.ClientID))
	if r.Username != nil {
		who += fmt.Sprintf(", user name %s", quote(*r.Username))
	}
	switch {
	case r.Publish != nil:
		return fmt.Sprintf("publish %s at QoS %d by %s", quote(*r.Publish), r.QoS, who)
	case r.Subscribe != nil:
		return fmt.Sprintf("subscribe %s at QoS %d by %s", quote(*r.Subscribe), r.QoS, who)
	}
	if r.Password == nil {
		who += ", no password"
	}
	return "CONNECT of " + who
}

func (r Request) connection() *pluginv1.Connection {
	c := &pluginv1.Connection{ClientId: r.ClientID, MqttVersion: r.MQTTVersion, Listener: r.Listener, RemoteAddress: r.RemoteAddress}
	if c.GetMqttVersion() == 0 {
		c.MqttVersion = 4
	}
	if c.GetListener() == "" {
		c.Listener = "tcp"
	}
	if c.GetRemoteAddress() == "" {
		c.RemoteAddress = "127.0.0.1:50000"
	}
	if r.Username != nil {
		c.HasUsername, c.Username = true, *r.Username
	}
	return c
}

func (r Request) authenticate() *pluginv1.AuthenticateRequest {
	req := &pluginv1.AuthenticateRequest{Connection: r.connection()}
	if r.Password != nil {
		req.HasPassword, req.Password = true, []byte(*r.Password)
	}
	return req
}

// action is nil for a CONNECT.
func (r Request) action() *pluginv1.Action {
	switch {
	case r.Publish != nil:
		return &pluginv1.Action{Kind: pluginv1.ActionKind_ACTION_KIND_PUBLISH, Topic: *r.Publish, Qos: r.QoS, Retain: r.Retain}
	case r.Subscribe != nil:
		return &pluginv1.Action{Kind: pluginv1.ActionKind_ACTION_KIND_SUBSCRIBE, Topic: *r.Subscribe, Qos: r.QoS}
	}
	return nil
}

// connects returns the CONNECTs of the requests, each client once.
func connects(requests []Request) []Request {
	seen := make(map[string]bool)
	var out []Request
	for _, r := range requests {
		r.Publish, r.Subscribe, r.QoS, r.Retain = nil, nil, 0, false
		key := r.authenticate().String()
		if !seen[key] {
			seen[key] = true
			out = append(out, r)
		}
	}
	return out
}

// actions returns the requests that are more than a CONNECT.
func actions(requests []Request) []Request {
	var out []Request
	for _, r := range requests {
		if r.action() != nil {
			out = append(out, r)
		}
	}
	return out
}

// authenticate asks about a CONNECT and checks the rules that apply to every answer.
func (t *trial) authenticate(r *running, req *pluginv1.AuthenticateRequest) *pluginv1.AuthenticateResponse {
	t.touched = r
	resp, err := r.auth.Authenticate(t.ctx, req)
	t.must(err)
	if wrong := wrongAnswer(resp); wrong != "" {
		t.failf("%s", wrong)
	}
	return resp
}

// wrongAnswer says which rule for every answer to a CONNECT an answer breaks, or "".
func wrongAnswer(resp *pluginv1.AuthenticateResponse) string {
	if _, known := pluginv1.Reason_name[int32(resp.GetReason())]; !known {
		return fmt.Sprintf("the reason %d is none of the contract's", resp.GetReason())
	}
	if wrong := wrongDetail(resp.GetDetail()); wrong != "" {
		return wrong
	}
	if at := resp.GetExpiresAtMs(); resp.GetReason() == pluginv1.Reason_REASON_OK && at != 0 {
		if end := time.UnixMilli(at); end.Before(time.Now()) {
			return fmt.Sprintf(
				"it admits a client until %s, which is over; expires_at_ms is milliseconds since the epoch",
				end.UTC().Format(time.RFC3339),
			)
		}
	}
	return ""
}

// wrongDetail says why a detail is unfit for one line of the gateway's log, or "".
func wrongDetail(detail string) string {
	const most = 1024
	switch {
	case len(detail) > most:
		return fmt.Sprintf("a detail of %d bytes; it is for one line of the log and has up to %d", len(detail), most)
	case printable(detail) != detail:
		return fmt.Sprintf("the detail %s has line breaks or control characters; it is for one line of the log", quote(detail))
	}
	return ""
}

// clientOf returns an admitted client as Authorize sees it.
func (t *trial) clientOf(conn *pluginv1.Connection, resp *pluginv1.AuthenticateResponse) *pluginv1.Client {
	identity := resp.GetIdentity()
	if identity == "" {
		identity = conn.GetUsername()
	}
	return &pluginv1.Client{Connection: conn, Identity: identity, Attributes: resp.GetAttributes(), AdmittedBy: t.suite.describe.GetName()}
}

// admit authenticates the client of a sample, which must be admitted.
func (t *trial) admit(r *running, sample Request) *pluginv1.Client {
	req := sample.authenticate()
	resp := t.authenticate(r, req)
	if resp.GetReason() != pluginv1.Reason_REASON_OK {
		t.failf(
			"the client is denied (%s, %s), and the profile says that it is admitted: %s",
			resp.GetReason(),
			quote(resp.GetDetail()),
			sample,
		)
	}
	return t.clientOf(req.GetConnection(), resp)
}

// authorize asks about actions and checks the rules that apply to every answer.
func (t *trial) authorize(r *running, client *pluginv1.Client, actions ...*pluginv1.Action) []*pluginv1.Decision {
	t.touched = r
	resp, err := r.auth.Authorize(t.ctx, &pluginv1.AuthorizeRequest{Client: client, Actions: actions})
	t.must(err)
	if wrong := wrongDecisions(resp, len(actions)); wrong != "" {
		t.failf("%s", wrong)
	}
	return resp.GetDecisions()
}

// mostCached is the longest time that a decision may be cached: a revoked right must end eventually.
const mostCached = 24 * time.Hour

func wrongDecisions(resp *pluginv1.AuthorizeResponse, actions int) string {
	if n := len(resp.GetDecisions()); n != actions {
		return fmt.Sprintf("%d decisions for %d actions", n, actions)
	}
	for _, d := range resp.GetDecisions() {
		if ms := d.GetCacheMs(); ms < 0 || ms > mostCached.Milliseconds() {
			return fmt.Sprintf("a decision may be cached for %d ms; between 0 and %d (a day) is possible", ms, mostCached.Milliseconds())
		}
		if wrong := wrongDetail(d.GetDetail()); wrong != "" {
			return wrong
		}
	}
	return ""
}
