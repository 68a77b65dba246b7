// Command v1 is a plugin that was written when the contract had version 1, with the generated code of then, and that is not
// changed any more: today's gateway must go on working with it for as long as it says that it speaks version 1. It imports
// nothing of this module but its own copy of the generated code. Under a name that begins with "frozen-auth" it is an auth
// plugin, else a meta plugin.
//
// Its files are listed with their checksums in SHA256SUMS; a test holds them to that. It is removed when gateways stop
// speaking version 1; a version that follows gets a directory of its own beside this one. See
// plugins/proto/COMPATIBILITY.md.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lmqgate/lmqgate/test/frozenplugin/v1/pluginv1"
)

func main() {
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	name := filepath.Base(os.Args[0])
	p := &frozen{name: name, meta: !strings.HasPrefix(name, "frozen-auth")}
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: plugin.HandshakeConfig{
			MagicCookieKey: "LMQGATE_PLUGIN", MagicCookieValue: "b5d1f1c8-lmqgate-plugin-4f0a7a52c9d3",
		},
		VersionedPlugins: map[int]plugin.PluginSet{1: {"lmqgate": &served{plugin: p}}},
		GRPCServer:       plugin.DefaultGRPCServer,
	})
}

// served registers the plugin's services.
type served struct {
	plugin.NetRPCUnsupportedPlugin
	plugin *frozen
}

func (s *served) GRPCServer(_ *plugin.GRPCBroker, g *grpc.Server) error {
	pluginv1.RegisterPluginServer(g, s.plugin)
	if s.plugin.meta {
		pluginv1.RegisterMetaServer(g, &metaService{plugin: s.plugin})
	} else {
		pluginv1.RegisterAuthServer(g, &authService{plugin: s.plugin})
	}
	return nil
}

func (s *served) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, errors.New("a plugin is no client")
}

// frozen is the life of the plugin, of either kind.
type frozen struct {
	pluginv1.UnimplementedPluginServer
	name string
	meta bool

	mu         sync.Mutex
	configured bool
	active     bool
	config     struct {
		Password string `json:"password"`
	}
	store *store
	file  string
}

var errNotActive = status.Error(codes.Unavailable, "not active")

func (f *frozen) Describe(context.Context, *pluginv1.DescribeRequest) (*pluginv1.DescribeResponse, error) {
	d := &pluginv1.DescribeResponse{Name: f.name, Version: "1.0.0", Kind: pluginv1.Kind_KIND_AUTH, Exclusive: f.meta}
	if f.meta {
		d.Kind = pluginv1.Kind_KIND_META
		d.Meta = &pluginv1.MetaTraits{CompareAndSet: true, AtomicBatch: true}
		return d, nil
	}
	d.Auth = &pluginv1.AuthTraits{ForeignClients: pluginv1.ForeignClients_FOREIGN_CLIENTS_DENY}
	d.ConfigKeys = []*pluginv1.ConfigKey{{Path: "password", Type: "string", Required: true, Secret: true, Description: "everybody's password"}}
	return d, nil
}

func (f *frozen) Configure(_ context.Context, req *pluginv1.ConfigureRequest) (*pluginv1.ConfigureResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var block map[string]json.RawMessage
	resp := &pluginv1.ConfigureResponse{}
	problem := func(key, message string) {
		resp.Problems = append(resp.Problems, &pluginv1.ConfigProblem{Key: key, Message: message})
	}
	if err := json.Unmarshal(req.GetConfigJson(), &block); err != nil {
		problem("", "is not a JSON object")
		return resp, nil
	}
	for key, value := range block {
		switch {
		case f.meta || key != "password":
			problem(key, "unknown key")
		case json.Unmarshal(value, &f.config.Password) != nil:
			problem(key, "must be a string")
		}
	}
	if _, there := block["password"]; !f.meta && !there {
		problem("password", "is required")
	}
	f.file = filepath.Join(req.GetDataDir(), "frozen.json")
	f.configured = len(resp.GetProblems()) == 0
	return resp, nil
}

func (f *frozen) Activate(context.Context, *pluginv1.ActivateRequest) (*pluginv1.ActivateResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.configured {
		return nil, status.Error(codes.FailedPrecondition, "not configured")
	}
	if f.meta && !f.active {
		var err error
		if f.store, err = openStore(f.file); err != nil {
			return nil, status.Error(codes.FailedPrecondition, err.Error())
		}
	}
	f.active = true
	return &pluginv1.ActivateResponse{}, nil
}

func (f *frozen) Deactivate(context.Context, *pluginv1.DeactivateRequest) (*pluginv1.DeactivateResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.active = false
	if f.store != nil {
		f.store.close()
		f.store = nil
	}
	return &pluginv1.DeactivateResponse{}, nil
}

func (f *frozen) Health(context.Context, *pluginv1.HealthRequest) (*pluginv1.HealthResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.active {
		return &pluginv1.HealthResponse{Reason: "not active"}, nil
	}
	return &pluginv1.HealthResponse{Ok: true}, nil
}

// authService admits whoever knows the password, under names of letters, and lets each use its own branch, "u/{user name}/".
type authService struct {
	pluginv1.UnimplementedAuthServer
	plugin *frozen
}

func (a *authService) Authenticate(_ context.Context, req *pluginv1.AuthenticateRequest) (*pluginv1.AuthenticateResponse, error) {
	a.plugin.mu.Lock()
	defer a.plugin.mu.Unlock()
	if !a.plugin.active {
		return nil, errNotActive
	}
	name := req.GetConnection().GetUsername()
	if !letters(name) || !req.GetHasPassword() || string(req.GetPassword()) != a.plugin.config.Password {
		return &pluginv1.AuthenticateResponse{Reason: pluginv1.Reason_REASON_BAD_CREDENTIALS, Detail: "wrong user name or password"}, nil
	}
	return &pluginv1.AuthenticateResponse{Identity: name, Attributes: map[string]string{"branch": "u/" + name + "/"}}, nil
}

func letters(s string) bool {
	for i := range len(s) {
		if s[i] < 'a' || s[i] > 'z' {
			return false
		}
	}
	return s != ""
}

func (a *authService) Authorize(_ context.Context, req *pluginv1.AuthorizeRequest) (*pluginv1.AuthorizeResponse, error) {
	a.plugin.mu.Lock()
	defer a.plugin.mu.Unlock()
	if !a.plugin.active {
		return nil, errNotActive
	}
	branch := req.GetClient().GetAttributes()["branch"]
	resp := &pluginv1.AuthorizeResponse{}
	for _, action := range req.GetActions() {
		topic := action.GetTopic()
		kind := action.GetKind()
		d := &pluginv1.Decision{CacheMs: 1000, Detail: fmt.Sprintf("the branch is %q", branch)}
		d.Allow = branch != "" && req.GetClient().GetAdmittedBy() == a.plugin.name && strings.HasPrefix(topic, branch) &&
			len(topic) <= 65535 && !strings.ContainsAny(topic, "+#\x00") &&
			(kind == pluginv1.ActionKind_ACTION_KIND_PUBLISH || kind == pluginv1.ActionKind_ACTION_KIND_SUBSCRIBE)
		resp.Decisions = append(resp.Decisions, d)
	}
	return resp, nil
}
