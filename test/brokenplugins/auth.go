package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
	"github.com/lmqgate/lmqgate/plugins/sdk"
	"github.com/lmqgate/lmqgate/plugins/sdk/topicfilter"
)

type authConfig struct {
	Users   []authUser    `config:"users,required"`
	Timeout time.Duration `config:"timeout" default:"1s"`
}

type authUser struct {
	Username string `config:"username,required"`
	Password string `config:"password,required,secret"`
}

// auth admits users by password; a user may publish and subscribe below u/{user name}.
type auth struct {
	users map[string]string

	mu sync.Mutex
	// latest is shared by all calls, which is a fault; known are the clients that this process has admitted.
	latest string
	known  map[string]bool
	// called says that there was a call.
	called atomic.Bool
	// callers pairs calls that are between two uses of latest.
	callers meeting
}

var _ sdk.AuthPlugin = (*auth)(nil)

func (a *auth) Info() sdk.Info {
	info := sdk.Info{Name: fault, Version: "1", Config: authConfig{}}
	switch fault {
	case "auth-without-name":
		info.Name = ""
	case "auth-claims-exclusive":
		info.Exclusive = true
	}
	return info
}

func (a *auth) Configure(_ context.Context, setup sdk.Setup) []sdk.Problem {
	if is("auth-hangs-in-configure") {
		time.Sleep(time.Hour)
	}
	var c authConfig
	problems := setup.Decode(&c)
	switch {
	case is("auth-takes-any-config"):
		problems = nil
	case is("auth-blames-no-key"):
		for i := range problems {
			problems[i].Key = ""
		}
	case is("auth-repeats-values"):
		for i := range problems {
			problems[i].Message += ": " + string(setup.Config)
		}
	case is("auth-stops-at-unknown-keys"): // it reports unknown keys, and nothing else
		problems = slices.DeleteFunc(problems, func(p sdk.Problem) bool { return !strings.Contains(p.Message, "unknown key") })
	}
	a.users, a.known = map[string]string{}, map[string]bool{}
	for _, u := range c.Users {
		a.users[u.Username] = u.Password
	}
	return problems
}

func (a *auth) Activate(context.Context) error {
	if is("auth-cannot-activate") {
		return fmt.Errorf("no port is free")
	}
	return nil
}

func (a *auth) Deactivate(context.Context) error {
	if is("auth-hangs-in-deactivate") {
		time.Sleep(time.Hour)
	}
	return nil
}

func (a *auth) Health(context.Context) error {
	if is("auth-unwell") {
		return fmt.Errorf("my database is away")
	}
	return nil
}

func (a *auth) Authenticate(_ context.Context, req *pluginv1.AuthenticateRequest) (*pluginv1.AuthenticateResponse, error) {
	name := req.GetConnection().GetUsername()
	password, known := a.users[name]
	right := known && req.GetHasPassword() && password == string(req.GetPassword())
	denial := &pluginv1.AuthenticateResponse{Reason: pluginv1.Reason_REASON_BAD_CREDENTIALS, Detail: "wrong user name or password"}
	switch fault {
	case "auth-allows-everything":
		right = true
	case "auth-takes-any-password":
		right = known
	case "auth-denies-by-error":
		if !right {
			return nil, status.Error(codes.PermissionDenied, "wrong user name or password")
		}
	case "auth-huge-answer":
		return &pluginv1.AuthenticateResponse{Reason: denial.Reason, Detail: huge}, nil
	case "auth-exits-after-a-call":
		if a.called.Swap(true) {
			select {} // the exit is due, and on a busy machine it may be late
		}
		time.AfterFunc(5*time.Millisecond, func() { os.Exit(0) })
	case "auth-crashes-on-nobody":
		if name == "" {
			go panic("a user name was expected")
			select {}
		}
	case "auth-panics-on-nobody":
		if name == "" {
			panic("a user name was expected")
		}
	case "auth-hangs-on-strangers":
		if !known {
			time.Sleep(time.Hour)
		}
	case "auth-shows-the-password":
		denial.Detail = fmt.Sprintf("the password of %s is %s", name, password)
	case "auth-mixes-up-callers":
		a.set(name)
		a.callers.wait(250 * time.Millisecond)
		right = right && a.get() == name
	case "auth-unknown-reason":
		denial.Reason = 77
	}
	if !right {
		return denial, nil
	}
	a.mu.Lock()
	a.known[name] = true
	a.mu.Unlock()
	resp := &pluginv1.AuthenticateResponse{Identity: name}
	if is("auth-expiry-in-seconds") {
		resp.ExpiresAtMs = time.Now().Add(time.Hour).Unix()
	}
	switch fault {
	case "auth-states-too-many-rights":
		resp.Rights = rights("u/#")
	case "auth-states-rights-and-hides-qos":
		resp.Rights = rights("u/" + name + "/#")
	case "auth-states-a-malformed-right":
		resp.Rights = rights("u/" + name + "/#/x")
	case "auth-states-rights-for-ever":
		resp.Rights = rights("u/" + name + "/x")
		resp.Rights.CacheMs = 1 << 50
	}
	return resp, nil
}

// rights allows everything that a filter matches.
func rights(filter string) *pluginv1.Rights {
	return &pluginv1.Rights{CacheMs: 1000, Rights: []*pluginv1.Right{{Allow: true, Publish: true, Subscribe: true, Filter: filter}}}
}

func (a *auth) set(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.latest = name
}

func (a *auth) get() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.latest
}

func (a *auth) Authorize(_ context.Context, req *pluginv1.AuthorizeRequest) (*pluginv1.AuthorizeResponse, error) {
	client := req.GetClient()
	name := client.GetIdentity()
	_, known := a.users[name]
	if client.GetAdmittedBy() != fault && !is("auth-allows-foreign-clients") {
		known = false
	}
	if is("auth-forgets-clients") {
		a.mu.Lock()
		known = known && a.known[name]
		a.mu.Unlock()
	}
	resp := &pluginv1.AuthorizeResponse{}
	for _, action := range req.GetActions() {
		d := &pluginv1.Decision{Allow: known && mayUse(name, action), CacheMs: 1000, Detail: "by the rule of the branch"}
		if (is("auth-hides-qos") || is("auth-states-rights-and-hides-qos")) && action.GetQos() == 2 {
			d.Allow = false
		}
		if is("auth-cached-for-ever") {
			d.CacheMs = 1 << 50
		}
		resp.Decisions = append(resp.Decisions, d)
	}
	switch {
	case is("auth-one-decision") && len(resp.GetDecisions()) > 1:
		resp.Decisions = resp.Decisions[:1]
	case is("auth-decisions-reversed"):
		slices.Reverse(resp.Decisions)
	}
	return resp, nil
}

func mayUse(name string, a *pluginv1.Action) bool {
	branch := "u/" + name + "/"
	if is("auth-allows-malformed-topics") {
		return strings.HasPrefix(a.GetTopic(), branch)
	}
	switch a.GetKind() {
	case pluginv1.ActionKind_ACTION_KIND_PUBLISH:
		return topicfilter.ValidateName(a.GetTopic()) == nil && strings.HasPrefix(a.GetTopic(), branch)
	case pluginv1.ActionKind_ACTION_KIND_SUBSCRIBE:
		return topicfilter.Validate(a.GetTopic()) == nil && strings.HasPrefix(a.GetTopic(), branch)
	}
	return false
}

// revoking is auth with a stream of revocations that ends by itself.
type revoking struct{ *auth }

func (r revoking) Revocations(context.Context, func(*pluginv1.Revocation) error) error { return nil }
