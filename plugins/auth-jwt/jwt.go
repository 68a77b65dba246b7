package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
	"github.com/lmqgate/lmqgate/plugins/sdk"
	"github.com/lmqgate/lmqgate/plugins/sdk/topicrules"
)

// keepDecision is how long the gateway may cache a decision: rules come from the configuration and from the token, and neither changes
// while a client is connected.
const keepDecision = 10 * time.Minute

const name = "auth-jwt"

// plugin decides about clients by their tokens.
type plugin struct {
	config   config
	verifier *verifier

	// Between Activate and Deactivate.
	stop    context.CancelFunc
	stopped sync.WaitGroup
}

var (
	_ sdk.AuthPlugin          = (*plugin)(nil)
	_ sdk.ForeignClientsJudge = (*plugin)(nil)
)

// Info implements sdk.Plugin.
func (p *plugin) Info() sdk.Info {
	return sdk.Info{Name: name, Version: buildVersion, Config: config{}}
}

// Configure implements sdk.Plugin.
func (p *plugin) Configure(_ context.Context, setup sdk.Setup) []sdk.Problem {
	problems := setup.Decode(&p.config)
	if len(problems) > 0 {
		return problems
	}
	var static keys
	for i, c := range p.config.Keys {
		k, wrong := c.configured(setup, fmt.Sprintf("keys[%d]", i))
		static, problems = append(static, k), append(problems, wrong...)
	}
	var sources []*source
	for i, c := range p.config.JWKS {
		s, wrong := newSource(c, setup, fmt.Sprintf("jwks[%d]", i))
		sources, problems = append(sources, s), append(problems, wrong...)
	}
	if len(problems) > 0 {
		return problems
	}
	if len(sources) > 0 && len(p.config.Audiences) == 0 {
		setup.Log.Warn(
			"tokens for any audience are taken; whoever else trusts these keys can be sent tokens that are good here: set audiences",
		)
	}
	if p.config.ClientIDClaim == "" && topicrules.UsesClientID(p.config.Rules) {
		setup.Log.Warn("rules with %c, and client identifiers that clients choose: each can do what the rules allow to any other client; set client_id_claim")
	}
	p.verifier = newVerifier(&p.config, static, sources)
	return nil
}

// Activate implements sdk.Plugin. Keys are read in the background; until then Health reports that they are missing.
func (p *plugin) Activate(context.Context) error {
	ctx, stop := context.WithCancel(context.Background())
	p.stop = stop
	for _, s := range p.verifier.sources {
		s.announce()
		p.stopped.Go(func() { s.run(ctx) })
	}
	return nil
}

// Deactivate implements sdk.Plugin.
func (p *plugin) Deactivate(context.Context) error {
	p.stop()
	p.stopped.Wait()
	return nil
}

// Health implements sdk.Plugin.
func (p *plugin) Health(context.Context) error {
	var wrong []error
	for _, s := range p.verifier.sources {
		wrong = append(wrong, s.health())
	}
	return errors.Join(wrong...)
}

// JudgesForeignClients implements sdk.ForeignClientsJudge. Authorize checks the configuration key foreign_clients, which is not known when
// this is called.
func (p *plugin) JudgesForeignClients() bool { return true }

// Authenticate implements sdk.AuthPlugin.
func (p *plugin) Authenticate(ctx context.Context, req *pluginv1.AuthenticateRequest) (*pluginv1.AuthenticateResponse, error) {
	conn := req.GetConnection()
	token, there := string(req.GetPassword()), req.GetHasPassword()
	if p.config.Token == inUsername {
		token, there = conn.GetUsername(), conn.GetHasUsername()
	}
	if !there || token == "" {
		return refused(pluginv1.Reason_REASON_BAD_CREDENTIALS, "no token in the %s", p.config.Token), nil
	}
	return p.judge(ctx, conn, token), nil
}

func refused(reason pluginv1.Reason, format string, args ...any) *pluginv1.AuthenticateResponse {
	return &pluginv1.AuthenticateResponse{Reason: reason, Detail: fmt.Sprintf(format, args...)}
}

// judge decides about a client that presents a token.
func (p *plugin) judge(ctx context.Context, conn *pluginv1.Connection, token string) *pluginv1.AuthenticateResponse {
	c, expires, err := p.verifier.verify(ctx, token)
	switch {
	case errors.Is(err, errNoKeys):
		return refused(pluginv1.Reason_REASON_UNAVAILABLE, "%v", err)
	case err != nil:
		return refused(pluginv1.Reason_REASON_BAD_CREDENTIALS, "%v", err)
	}
	identity, _ := c.text(p.config.IdentityClaim)
	if identity == "" {
		return refused(
			pluginv1.Reason_REASON_NOT_AUTHORIZED,
			"the token lacks the claim %s, which says who the client is",
			p.config.IdentityClaim,
		)
	}
	for name, want := range p.config.RequiredClaims {
		if have := c.texts(name); !slices.Contains(have, want) && (want != "" || len(have) == 0) {
			return refused(
				pluginv1.Reason_REASON_NOT_AUTHORIZED,
				"the token lacks the claim %s that is required, or it has another value",
				name,
			)
		}
	}
	if claim := p.config.UsernameClaim; claim != "" {
		if want, ok := c.text(claim); !ok || !conn.GetHasUsername() || want != conn.GetUsername() {
			return refused(pluginv1.Reason_REASON_BAD_CREDENTIALS, "the user name is not what the claim %s says", claim)
		}
	}
	if claim := p.config.ClientIDClaim; claim != "" && !slices.Contains(c.texts(claim), conn.GetClientId()) {
		return refused(pluginv1.Reason_REASON_BAD_CLIENT_ID, "the client identifier is not what the claim %s says", claim)
	}
	var own []topicrules.Rule
	if claim := p.config.RulesClaim; claim != "" {
		if v, there := c.get(claim); there {
			if own, err = rulesOf(v); err != nil {
				return refused(pluginv1.Reason_REASON_NOT_AUTHORIZED, "the claim %s of the token: %v", claim, err)
			}
		}
	}
	resp := &pluginv1.AuthenticateResponse{Identity: identity, Attributes: attributesOf(c, p.config.Rules, own)}
	subject := topicrules.Subject{ClientID: conn.GetClientId(), Username: identity, Values: valuesOf(resp.GetAttributes())}
	if rules := slices.Concat(p.config.Rules, own); p.config.RulesClaim == "" {
		resp.Rights = topicrules.RightsOrAll(rules, subject, keepDecision)
	} else {
		resp.Rights = topicrules.Rights(rules, subject, keepDecision)
	}
	if !expires.IsZero() {
		resp.ExpiresAtMs = expires.Add(p.config.Leeway).UnixMilli()
	}
	return resp
}

// Authorize implements sdk.AuthPlugin. %u in rules is the identity: the user name of a CONNECT proves nothing here.
func (p *plugin) Authorize(_ context.Context, req *pluginv1.AuthorizeRequest) (*pluginv1.AuthorizeResponse, error) {
	client := req.GetClient()
	subject := topicrules.Subject{ClientID: client.GetConnection().GetClientId(), Username: client.GetIdentity()}
	rules := p.config.Rules
	refusal := ""
	if client.GetAdmittedBy() == name {
		subject.Values = valuesOf(client.GetAttributes())
		if text, there := client.GetAttributes()[rulesAttribute]; there {
			own, err := decodeRules([]byte(text))
			if err != nil { // not written by this plugin, whatever the request says
				refusal = "the rules of the client's token cannot be read"
			}
			rules = slices.Concat(rules, own)
		}
	} else if p.config.ForeignClients == denyForeign {
		refusal = fmt.Sprintf("%q admitted the client, and foreign_clients is deny", client.GetAdmittedBy())
	}
	return topicrules.Answer(req, keepDecision, func(kind topicrules.Action, topic string) (bool, string) {
		switch {
		case refusal != "":
			return false, refusal
		case p.config.RulesClaim == "":
			return topicrules.DecideOrAll(rules, subject, kind, topic)
		}
		return topicrules.Decide(rules, subject, kind, topic)
	}), nil
}
