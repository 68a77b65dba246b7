package main

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
	"github.com/lmqgate/lmqgate/plugins/sdk"
	"github.com/lmqgate/lmqgate/plugins/sdk/topicrules"
)

const pluginName = "auth-file"

// keepDecision is how long the gateway may cache a decision; a change of the file revokes it.
const keepDecision = 10 * time.Minute

// plugin decides about clients by the users in a file.
type plugin struct {
	config config
	store  *store
	// hashing is a semaphore: it holds one element for each hash in progress. Each hash occupies a processor and memory.
	hashing chan struct{}

	// Between Activate and Deactivate.
	stop    context.CancelFunc
	stopped sync.WaitGroup
}

var (
	_ sdk.AuthPlugin          = (*plugin)(nil)
	_ sdk.ForeignClientsJudge = (*plugin)(nil)
	_ sdk.Revoker             = (*plugin)(nil)
)

// Info implements sdk.Plugin.
func (p *plugin) Info() sdk.Info {
	return sdk.Info{Name: pluginName, Version: buildVersion, Config: config{}}
}

// Configure implements sdk.Plugin. An unusable file is a configuration problem here; later the last good users stay in use.
func (p *plugin) Configure(_ context.Context, setup sdk.Setup) []sdk.Problem {
	if problems := setup.Decode(&p.config); len(problems) > 0 {
		return problems
	}
	p.store = &store{path: setup.Path(p.config.File), log: setup.Log, revoked: newRevocations()}
	p.store.seen, p.store.since = stampOf(p.store.path), time.Now()
	first, wrong := readUsers(p.store.path, nil)
	if len(wrong) > 0 {
		return []sdk.Problem{sdk.Problemf("file", "%s: %v", p.store.path, &fileError{wrong})}
	}
	p.store.now.Store(first)
	p.store.warnOfReaders()
	p.store.warnOfClientIDs(first)
	p.hashing = make(chan struct{}, p.config.MaxConcurrentHashes)
	return nil
}

// Activate implements sdk.Plugin.
func (p *plugin) Activate(context.Context) error {
	p.store.reload() // time may have passed since Configure or Deactivate
	ctx, stop := context.WithCancel(context.Background())
	p.stop = stop
	p.stopped.Go(func() { p.store.watch(ctx, p.config.ReloadInterval) })
	return nil
}

// Deactivate implements sdk.Plugin.
func (p *plugin) Deactivate(context.Context) error {
	p.stop()
	p.stopped.Wait()
	return nil
}

// Health implements sdk.Plugin.
func (p *plugin) Health(context.Context) error { return p.store.health() }

// JudgesForeignClients implements sdk.ForeignClientsJudge: rules go by user names and client identifiers, whichever plugin admitted the
// client. A user name that is not in the file may do nothing.
func (p *plugin) JudgesForeignClients() bool { return true }

// Revocations implements sdk.Revoker.
func (p *plugin) Revocations(ctx context.Context, send func(*pluginv1.Revocation) error) error {
	return p.store.revoked.stream(ctx, send)
}

// Authenticate implements sdk.AuthPlugin. Without the password, a client cannot learn from the answer, or from how long it takes, whether
// the user exists, is disabled, or may use this client identifier.
func (p *plugin) Authenticate(ctx context.Context, req *pluginv1.AuthenticateRequest) (*pluginv1.AuthenticateResponse, error) {
	conn := req.GetConnection()
	refuse := func(reason pluginv1.Reason, detail string) (*pluginv1.AuthenticateResponse, error) {
		return &pluginv1.AuthenticateResponse{Reason: reason, Detail: detail}, nil
	}
	switch {
	case !conn.GetHasUsername():
		return refuse(pluginv1.Reason_REASON_BAD_CREDENTIALS, "no user name")
	case !req.GetHasPassword():
		return refuse(pluginv1.Reason_REASON_BAD_CREDENTIALS, "no password")
	}
	u, known := p.store.now.Load().find(conn.GetUsername())
	if u == nil {
		return refuse(pluginv1.Reason_REASON_BAD_CREDENTIALS, "no user has a password hash")
	}
	right, err := p.verify(ctx, u.hash, req.GetPassword())
	if err != nil {
		return nil, err
	}
	switch {
	case !known:
		return refuse(pluginv1.Reason_REASON_BAD_CREDENTIALS, "unknown user, or one without a password hash")
	case !right:
		return refuse(pluginv1.Reason_REASON_BAD_CREDENTIALS, "wrong password")
	}
	return p.admit(u, conn), nil
}

// admit decides about a client that has proven that it knows the password of a user.
func (p *plugin) admit(u *user, conn *pluginv1.Connection) *pluginv1.AuthenticateResponse {
	switch {
	case u.Disabled:
		return &pluginv1.AuthenticateResponse{Reason: pluginv1.Reason_REASON_BANNED, Detail: "the user is disabled"}
	case !u.mayUse(conn.GetClientId()):
		return &pluginv1.AuthenticateResponse{
			Reason: pluginv1.Reason_REASON_BAD_CLIENT_ID,
			Detail: "the user may not use this client identifier",
		}
	case p.store.now.Load().byName[u.Username] != u: // the revocation has been sent already, and would miss this client
		return &pluginv1.AuthenticateResponse{Reason: pluginv1.Reason_REASON_UNAVAILABLE, Detail: "the user was changed a moment ago"}
	}
	subject := topicrules.Subject{ClientID: conn.GetClientId(), Username: u.Username}
	return &pluginv1.AuthenticateResponse{Identity: u.Username, Rights: topicrules.RightsOrAll(u.Rules, subject, keepDecision)}
}

// verify hashes a password, once a slot in hashing is free.
func (p *plugin) verify(ctx context.Context, h hash, password []byte) (bool, error) {
	select {
	case p.hashing <- struct{}{}:
		defer func() { <-p.hashing }()
		return h.matches(password), nil
	case <-ctx.Done():
		return false, status.Error(
			codes.Unavailable,
			"too many passwords wait to be hashed; raise max_concurrent_hashes, or make cheaper hashes",
		)
	}
}

// Authorize implements sdk.AuthPlugin.
func (p *plugin) Authorize(_ context.Context, req *pluginv1.AuthorizeRequest) (*pluginv1.AuthorizeResponse, error) {
	conn := req.GetClient().GetConnection()
	// For a client that this plugin admitted, the identity names the user: with SCRAM, CONNECT may have had no user name.
	name, named := conn.GetUsername(), conn.GetHasUsername()
	if req.GetClient().GetAdmittedBy() == pluginName {
		name, named = req.GetClient().GetIdentity(), true
	}
	u, known := p.store.now.Load().byName[name]
	subject := topicrules.Subject{ClientID: conn.GetClientId(), Username: name}
	return topicrules.Answer(req, keepDecision, func(kind topicrules.Action, topic string) (bool, string) {
		switch {
		case !known || !named:
			return false, "unknown user"
		case u.Disabled:
			return false, "the user is disabled"
		case !u.mayUse(conn.GetClientId()):
			return false, "the user may not use this client identifier"
		}
		return topicrules.DecideOrAll(u.Rules, subject, kind, topic)
	}), nil
}
