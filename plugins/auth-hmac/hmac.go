package main

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"time"

	"github.com/lmqgate/lmqgate/plugins/auth-hmac/credential"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
	"github.com/lmqgate/lmqgate/plugins/sdk"
	"github.com/lmqgate/lmqgate/plugins/sdk/topicrules"
)

// keepDecision is how long the gateway may cache a decision. Rules change only with the configuration, and a new configuration empties the
// gateway's cache.
const keepDecision = 10 * time.Minute

// plugin decides about clients by signatures of their identifiers. It is immutable after Configure.
type plugin struct {
	users map[string]user
	// nobody is the key used for unknown users, so that refusing an unknown user takes as long as refusing a known one.
	nobody string
}

var (
	_ sdk.AuthPlugin          = (*plugin)(nil)
	_ sdk.ForeignClientsJudge = (*plugin)(nil)
	_ sdk.QuickAuthenticator  = (*plugin)(nil)
)

// Info implements sdk.Plugin.
func (p *plugin) Info() sdk.Info {
	return sdk.Info{Name: "auth-hmac", Version: buildVersion, Config: config{}}
}

// Configure implements sdk.Plugin.
func (p *plugin) Configure(_ context.Context, setup sdk.Setup) []sdk.Problem {
	var c config
	if problems := setup.Decode(&c); len(problems) > 0 {
		return problems
	}
	p.users = make(map[string]user, len(c.Users))
	for _, u := range c.Users {
		p.users[u.Username] = u
	}
	p.nobody = rand.Text()
	return nil
}

// Activate implements sdk.Plugin; there is nothing to open.
func (p *plugin) Activate(context.Context) error { return nil }

// Deactivate implements sdk.Plugin.
func (p *plugin) Deactivate(context.Context) error { return nil }

// Health implements sdk.Plugin.
func (p *plugin) Health(context.Context) error { return nil }

// JudgesForeignClients implements sdk.ForeignClientsJudge: rules go by user names and client identifiers, whichever plugin admitted the
// client. A user name that is not in the configuration may do nothing.
func (p *plugin) JudgesForeignClients() bool { return true }

// AuthenticatesQuickly implements sdk.QuickAuthenticator.
func (p *plugin) AuthenticatesQuickly() bool { return true }

// Authenticate implements sdk.AuthPlugin.
func (p *plugin) Authenticate(_ context.Context, req *pluginv1.AuthenticateRequest) (*pluginv1.AuthenticateResponse, error) {
	conn := req.GetConnection()
	refuse := func(detail string) (*pluginv1.AuthenticateResponse, error) {
		return &pluginv1.AuthenticateResponse{Reason: pluginv1.Reason_REASON_BAD_CREDENTIALS, Detail: detail}, nil
	}
	if !conn.GetHasUsername() {
		return refuse("no user name")
	}
	u, known := p.users[conn.GetUsername()]
	key := p.nobody
	if known {
		key = u.SecretKey
	}
	right := hmac.Equal([]byte(credential.Password(key, conn.GetClientId())), req.GetPassword())
	switch {
	case !known:
		return refuse("unknown user")
	case !req.GetHasPassword():
		return refuse("no password")
	case !right:
		return refuse("wrong signature: the password is not Base64(HMAC-SHA1(secret_key, client id))")
	}
	rights := topicrules.RightsOrAll(u.Rules, subjectOf(conn), keepDecision)
	return &pluginv1.AuthenticateResponse{Reason: pluginv1.Reason_REASON_OK, Identity: u.Username, Rights: rights}, nil
}

// subjectOf returns who rules are applied to.
func subjectOf(conn *pluginv1.Connection) topicrules.Subject {
	return topicrules.Subject{ClientID: conn.GetClientId(), Username: conn.GetUsername()}
}

// Authorize implements sdk.AuthPlugin.
func (p *plugin) Authorize(_ context.Context, req *pluginv1.AuthorizeRequest) (*pluginv1.AuthorizeResponse, error) {
	conn := req.GetClient().GetConnection()
	u, known := p.users[conn.GetUsername()]
	known = known && conn.GetHasUsername()
	subject := subjectOf(conn)
	return topicrules.Answer(req, keepDecision, func(kind topicrules.Action, topic string) (bool, string) {
		if !known {
			return false, "unknown user"
		}
		return topicrules.DecideOrAll(u.Rules, subject, kind, topic)
	}), nil
}
