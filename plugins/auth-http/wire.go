package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// The JSON of requests and answers, as README.md describes it.

// connection describes a client, in both requests.
type connection struct {
	ClientID      string       `json:"client_id"`
	Username      *string      `json:"username,omitempty"`
	MQTTVersion   uint32       `json:"mqtt_version"`
	Listener      string       `json:"listener"`
	RemoteAddress string       `json:"remote_address"`
	Certificate   *certificate `json:"certificate,omitempty"`
}

type certificate struct {
	Subject    string   `json:"subject"`
	CommonName string   `json:"common_name"`
	DNSNames   []string `json:"dns_names,omitempty"`
	URIs       []string `json:"uris,omitempty"`
	SHA256     string   `json:"sha256"`
}

type authenticateQuestion struct {
	connection
	// At most one is set; neither if the CONNECT has no password.
	Password       *string `json:"password,omitempty"`
	PasswordBase64 []byte  `json:"password_base64,omitempty"`
}

type authenticateAnswer struct {
	Result     string            `json:"result"`
	Reason     string            `json:"reason"`
	Detail     string            `json:"detail"`
	Identity   string            `json:"identity"`
	Attributes map[string]string `json:"attributes"`
	ExpiresAt  int64             `json:"expires_at"`
}

type authorizeQuestion struct {
	connection
	Identity   string            `json:"identity"`
	Attributes map[string]string `json:"attributes,omitempty"`
	AdmittedBy string            `json:"admitted_by"`
	Actions    []action          `json:"actions"`
}

type action struct {
	Action     string `json:"action"`
	Topic      string `json:"topic"`
	QoS        uint32 `json:"qos"`
	Retain     bool   `json:"retain"`
	ShareGroup string `json:"share_group,omitempty"`
}

type authorizeAnswer struct {
	Decisions []decision `json:"decisions"`
}

type decision struct {
	Allow              *bool  `json:"allow"`
	Detail             string `json:"detail"`
	DependsOnQoSRetain bool   `json:"depends_on_qos_retain"`
}

func connectionOf(c *pluginv1.Connection) connection {
	out := connection{
		ClientID: c.GetClientId(), MQTTVersion: c.GetMqttVersion(), Listener: c.GetListener(), RemoteAddress: c.GetRemoteAddress(),
	}
	if c.GetHasUsername() {
		name := c.GetUsername()
		out.Username = &name
	}
	if cert := c.GetPeerCertificate(); cert != nil {
		out.Certificate = &certificate{
			Subject:    cert.GetSubject(),
			CommonName: cert.GetCommonName(),
			DNSNames:   cert.GetDnsNames(),
			URIs:       cert.GetUris(),
			SHA256:     cert.GetSha256(),
		}
	}
	return out
}

func questionOf(req *pluginv1.AuthenticateRequest) *authenticateQuestion {
	q := &authenticateQuestion{connection: connectionOf(req.GetConnection())}
	switch {
	case !req.GetHasPassword():
	case utf8.Valid(req.GetPassword()):
		text := string(req.GetPassword())
		q.Password = &text
	default:
		q.PasswordBase64 = req.GetPassword()
	}
	return q
}

var reasons = map[string]pluginv1.Reason{
	"":                pluginv1.Reason_REASON_BAD_CREDENTIALS,
	"bad_credentials": pluginv1.Reason_REASON_BAD_CREDENTIALS,
	"not_authorized":  pluginv1.Reason_REASON_NOT_AUTHORIZED,
	"bad_client_id":   pluginv1.Reason_REASON_BAD_CLIENT_ID,
	"banned":          pluginv1.Reason_REASON_BANNED,
	"unavailable":     pluginv1.Reason_REASON_UNAVAILABLE,
}

// response converts an answer to the plugin contract. An answer that is not clearly an admission is not one.
func (a *authenticateAnswer) response() (*pluginv1.AuthenticateResponse, error) {
	switch a.Result {
	case "allow":
		if a.Reason != "" {
			return nil, errors.New("the answer allows and has a reason")
		}
		resp := &pluginv1.AuthenticateResponse{Identity: a.Identity, Attributes: a.Attributes}
		switch {
		case a.ExpiresAt < 0:
			return nil, errors.New("the answer's expires_at is negative; it is in seconds since 1970")
		case a.ExpiresAt > 0:
			resp.ExpiresAtMs = min(a.ExpiresAt, farFuture) * 1000
		}
		return resp, nil
	case "deny":
		reason, known := reasons[a.Reason]
		if !known {
			return nil, fmt.Errorf("the answer has the unknown reason %.40q", a.Reason)
		}
		return &pluginv1.AuthenticateResponse{Reason: reason, Detail: line(a.Detail)}, nil
	}
	return nil, fmt.Errorf("the answer's result is %.40q, neither allow nor deny", a.Result)
}

// farFuture is 9999-12-31T23:59:59Z in seconds.
const farFuture = 253402300799

// decode reads an answer strictly: a misspelt member is an error, not a default.
func decode(text []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		var kind *json.UnmarshalTypeError
		switch {
		case errors.As(err, &kind):
			return fmt.Errorf("the answer's %s must not be a %.10s", kind.Field, kind.Value)
		case strings.HasPrefix(err.Error(), "json: unknown field"):
			return fmt.Errorf("the answer has an %.80s", strings.TrimPrefix(err.Error(), "json: "))
		}
		return errors.New("the answer is no JSON object")
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("the answer has something behind its JSON object")
	}
	return nil
}

// line makes a text of the webhook fit into one line of the log.
func line(text string) string {
	const most = 300
	text = strings.Join(strings.Fields(strings.ToValidUTF8(text, "?")), " ")
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "..."
	}
	return text
}
