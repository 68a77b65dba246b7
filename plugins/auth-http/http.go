package main

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lmqgate/lmqgate/plugins/internal/webclient"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
	"github.com/lmqgate/lmqgate/plugins/sdk"
	"github.com/lmqgate/lmqgate/plugins/sdk/topicrules"
)

const name = "auth-http"

// minSecret is the length, in bytes, of the shortest password that is redacted from a webhook's texts: shorter ones occur in ordinary
// words.
const minSecret = 6

// plugin decides about clients by the answers of a webhook.
type plugin struct {
	config  config
	webhook *webhook

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

// Configure implements sdk.Plugin. It does not contact the webhook, which may start later.
func (p *plugin) Configure(_ context.Context, setup sdk.Setup) []sdk.Problem {
	if problems := setup.Decode(&p.config); len(problems) > 0 {
		return problems
	}
	c := p.config
	client, problems := webclient.New(setup, "tls", webclient.Options{
		TLS: c.TLS, MaxConnections: c.MaxConnections, MaxAnswer: c.MaxAnswerBytes, Redirects: c.AllowRedirects,
	})
	if len(problems) > 0 {
		return problems
	}
	header := webclient.Headers(c.Headers)
	header.Set("Content-Type", "application/json")
	header.Set("Accept", "application/json")
	if header.Get("User-Agent") == "" {
		header.Set("User-Agent", "lmqgate-"+name)
	}
	p.webhook = &webhook{client: client, header: header, timeout: c.Timeout, health: &health{probed: c.HealthURL != ""}}
	return nil
}

// Activate implements sdk.Plugin.
func (p *plugin) Activate(context.Context) error {
	ctx, stop := context.WithCancel(context.Background())
	p.stop = stop
	if p.config.HealthURL != "" {
		p.stopped.Go(func() { p.webhook.probe(ctx, p.config.HealthURL, p.config.HealthInterval) })
	}
	return nil
}

// Deactivate implements sdk.Plugin.
func (p *plugin) Deactivate(context.Context) error {
	p.stop()
	p.stopped.Wait()
	p.webhook.client.Close()
	return nil
}

// Health implements sdk.Plugin.
func (p *plugin) Health(context.Context) error { return p.webhook.health.get() }

// JudgesForeignClients implements sdk.ForeignClientsJudge: the request names the plugin that admitted the client, and the webhook decides.
func (p *plugin) JudgesForeignClients() bool { return true }

// Authenticate implements sdk.AuthPlugin. A request that the webhook may have seen is not retried: a password may be valid only once, and
// the webhook may count wrong ones.
func (p *plugin) Authenticate(ctx context.Context, req *pluginv1.AuthenticateRequest) (*pluginv1.AuthenticateResponse, error) {
	var answer authenticateAnswer
	if _, err := p.webhook.ask(ctx, p.config.AuthenticateURL, questionOf(req), &answer, false); err != nil {
		return nil, err
	}
	if password := string(req.GetPassword()); len(password) >= minSecret {
		answer.Detail = strings.ReplaceAll(answer.Detail, password, "***")
	}
	resp, err := answer.response()
	if err != nil {
		return nil, p.unclear("%v", err)
	}
	if p.config.AuthorizeURL == "" && resp.GetReason() == pluginv1.Reason_REASON_OK {
		conn := req.GetConnection()
		subject := topicrules.Subject{ClientID: conn.GetClientId(), Username: resp.GetIdentity(), Values: resp.GetAttributes()}
		if subject.Username == "" {
			subject.Username = conn.GetUsername() // as the gateway fills it in
		}
		resp.Rights = topicrules.RightsOrAll(p.config.Rules, subject, p.config.MaxCache)
	}
	return resp, nil
}

// Authorize implements sdk.AuthPlugin.
func (p *plugin) Authorize(ctx context.Context, req *pluginv1.AuthorizeRequest) (*pluginv1.AuthorizeResponse, error) {
	if p.config.AuthorizeURL == "" {
		return p.byRules(req), nil
	}
	client := req.GetClient()
	question := &authorizeQuestion{
		connection: connectionOf(client.GetConnection()), Identity: client.GetIdentity(), Attributes: client.GetAttributes(),
		AdmittedBy: client.GetAdmittedBy(), Actions: make([]action, 0, len(req.GetActions())),
	}
	var asked []int // indices of the actions that the webhook decides
	resp := &pluginv1.AuthorizeResponse{Decisions: make([]*pluginv1.Decision, len(req.GetActions()))}
	for i, a := range req.GetActions() {
		kind := topicrules.ActionOf(a.GetKind())
		if err := topicrules.Malformed(kind, a.GetTopic()); err != nil {
			resp.Decisions[i] = &pluginv1.Decision{Detail: err.Error(), CacheMs: p.config.MaxCache.Milliseconds()}
			continue
		}
		asked = append(asked, i)
		question.Actions = append(question.Actions, action{
			Action: kind.String(), Topic: a.GetTopic(), QoS: a.GetQos(), Retain: a.GetRetain(), ShareGroup: a.GetShareGroup(),
		})
	}
	if len(asked) == 0 {
		return resp, nil
	}
	var answer authorizeAnswer
	header, err := p.webhook.ask(ctx, p.config.AuthorizeURL, question, &answer, true)
	if err != nil {
		return nil, err
	}
	if have := len(answer.Decisions); have != len(asked) {
		return nil, p.unclear("the answer has %d decisions to %d actions", have, len(asked))
	}
	for n, d := range answer.Decisions {
		if d.Allow == nil {
			return nil, p.unclear("decision %d lacks allow", n+1)
		}
		resp.Decisions[asked[n]] = &pluginv1.Decision{
			Allow: *d.Allow, Detail: line(d.Detail), DependsOnQosRetain: d.DependsOnQoSRetain,
			CacheMs: keep(header, p.config.Cache, p.config.MaxCache).Milliseconds(),
		}
	}
	return resp, nil
}

// unclear reports an answer that contains no decision.
func (p *plugin) unclear(format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	p.webhook.health.called(err)
	return status.Errorf(codes.Unavailable, "the webhook: %v", err)
}

// byRules decides without the webhook. %u is the identity.
func (p *plugin) byRules(req *pluginv1.AuthorizeRequest) *pluginv1.AuthorizeResponse {
	client := req.GetClient()
	subject := topicrules.Subject{ClientID: client.GetConnection().GetClientId(), Username: client.GetIdentity()}
	if client.GetAdmittedBy() == name {
		subject.Values = client.GetAttributes()
	}
	return topicrules.Answer(req, p.config.MaxCache, func(kind topicrules.Action, topic string) (bool, string) {
		return topicrules.DecideOrAll(p.config.Rules, subject, kind, topic)
	})
}
