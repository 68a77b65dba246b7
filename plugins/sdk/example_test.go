package sdk_test

import (
	"context"
	"fmt"
	"time"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
	"github.com/lmqgate/lmqgate/plugins/sdk"
	"github.com/lmqgate/lmqgate/plugins/sdk/topicfilter"
)

// config is the plugin's block of the gateway's configuration.
type config struct {
	Password string        `config:"password,required,secret" doc:"the password of every client"`
	Cache    time.Duration `config:"cache" default:"1m" doc:"how long the gateway may cache a decision"`
}

// onePassword admits every client that knows the password, and lets each use the topics below its client id.
type onePassword struct{ config config }

func (p *onePassword) Info() sdk.Info {
	return sdk.Info{Name: "auth-one-password", Version: "1.0.0", Config: config{}}
}

func (p *onePassword) Configure(_ context.Context, setup sdk.Setup) []sdk.Problem {
	return setup.Decode(&p.config)
}

func (p *onePassword) Activate(context.Context) error   { return nil }
func (p *onePassword) Deactivate(context.Context) error { return nil }
func (p *onePassword) Health(context.Context) error     { return nil }

func (p *onePassword) Authenticate(_ context.Context, req *pluginv1.AuthenticateRequest) (*pluginv1.AuthenticateResponse, error) {
	if string(req.GetPassword()) != p.config.Password {
		return &pluginv1.AuthenticateResponse{Reason: pluginv1.Reason_REASON_BAD_CREDENTIALS, Detail: "wrong password"}, nil
	}
	return &pluginv1.AuthenticateResponse{Reason: pluginv1.Reason_REASON_OK, Identity: req.GetConnection().GetClientId()}, nil
}

func (p *onePassword) Authorize(_ context.Context, req *pluginv1.AuthorizeRequest) (*pluginv1.AuthorizeResponse, error) {
	own := req.GetClient().GetConnection().GetClientId() + "/#"
	resp := &pluginv1.AuthorizeResponse{}
	for _, action := range req.GetActions() {
		resp.Decisions = append(resp.Decisions, &pluginv1.Decision{
			Allow:   topicfilter.Validate(own) == nil && topicfilter.Covers(own, action.GetTopic()),
			CacheMs: p.config.Cache.Milliseconds(),
		})
	}
	return resp, nil
}

// The main function of an auth plugin.
func ExampleServeAuth() {
	sdk.ServeAuth(&onePassword{})
}

// Configure reports each problem with the key that it concerns. The gateway prints them and does not start.
func ExampleSetup_Decode() {
	p := &onePassword{}
	for _, problem := range p.Configure(context.Background(), sdk.Setup{Config: []byte(`{"pasword": "x", "cache": "soon"}`)}) {
		fmt.Println(problem.Key)
	}
	fmt.Println(len(p.Configure(context.Background(), sdk.Setup{Config: []byte(`{"password": "x", "cache": "5s"}`)})), p.config.Cache)
	// Output:
	// password
	// cache
	// pasword
	// 0 5s
}
