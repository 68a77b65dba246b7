package sdk

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// Info describes a plugin. It is requested before Configure and must not depend on the configuration.
type Info struct {
	// Name as written in the gateway's configuration, for instance "auth-hmac". It is also the name of the executable.
	Name string
	// Version of the plugin's own code, shown to operators only.
	Version string
	// Config is a value of the struct that Setup.Decode is given, or nil for a plugin without configuration. Its fields
	// describe the configuration to operators; see Decode for the tags.
	Config any
	// Exclusive is true if Activate takes something that a second instance cannot hold at the same time, such as a locked file.
	Exclusive bool
}

// Setup is the argument of Configure.
type Setup struct {
	// Config is the plugin's block of the gateway's configuration, a JSON object.
	Config json.RawMessage
	// NodeID is the id of the gateway node that runs this plugin.
	NodeID string
	// DataDir is the absolute path of the gateway's data directory.
	DataDir string
	// ConfigDir is the absolute path that relative paths in the configuration are relative to.
	ConfigDir string
	// Log goes to the gateway's log under the plugin's name. Never log a secret or a payload.
	Log *slog.Logger
}

// Decode decodes the configuration into dst, a pointer to a struct, strictly; see the function Decode. If that finds no problem and dst is
// a Checker, Decode also calls Check.
func (s Setup) Decode(dst any) []Problem {
	problems := Decode(s.Config, dst)
	if c, ok := dst.(Checker); ok && len(problems) == 0 {
		return c.Check()
	}
	return problems
}

// Checker is implemented by a configuration struct with rules that its types cannot express.
type Checker interface {
	Check() []Problem
}

// Path resolves a path from the configuration: absolute paths stay, others are relative to ConfigDir. "" stays "".
func (s Setup) Path(path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(s.ConfigDir, path)
}

// Problem is one error in the configuration.
type Problem struct {
	// Key is the dotted path within the block, for instance "users[0].secret_key"; empty for the block as a whole.
	Key string
	// Message says what is wrong and what to do, without any secret.
	Message string
}

// Problemf makes a Problem.
func Problemf(key, format string, args ...any) Problem {
	return Problem{Key: key, Message: fmt.Sprintf(format, args...)}
}

// Plugin is what every plugin implements, whatever its kind. See the package comment for the order of the calls.
type Plugin interface {
	// Info describes the plugin. It has no side effects.
	Info() Info
	// Configure validates the whole configuration and keeps it. It opens nothing exclusive. An empty result accepts the configuration.
	Configure(ctx context.Context, setup Setup) []Problem
	// Activate opens what only one process can hold and makes the plugin ready for calls. It must not wait for a service
	// that is down: the plugin activates anyway, and Health says what is missing.
	Activate(ctx context.Context) error
	// Deactivate releases what Activate opened.
	Deactivate(ctx context.Context) error
	// Health returns why the plugin cannot do its work now, or nil. It must return at once.
	Health(ctx context.Context) error
}

// AuthPlugin decides who may connect, publish and subscribe. Messages are documented in plugins/proto.
//
// A denial is an answer; an error means that no decision was possible.
type AuthPlugin interface {
	Plugin
	Authenticate(ctx context.Context, req *pluginv1.AuthenticateRequest) (*pluginv1.AuthenticateResponse, error)
	Authorize(ctx context.Context, req *pluginv1.AuthorizeRequest) (*pluginv1.AuthorizeResponse, error)
}

// ForeignClientsJudge is implemented by an AuthPlugin that applies its own rules to clients that another plugin admitted; without it all
// their actions are denied after a swap.
type ForeignClientsJudge interface {
	JudgesForeignClients() bool
}

// QuickAuthenticator is implemented by an AuthPlugin whose Authenticate only calculates, for microseconds: it waits for nothing and has no
// expensive hash to compute. The gateway then asks about several CONNECTs in one call, and Authenticate is called for one after the other.
type QuickAuthenticator interface {
	AuthenticatesQuickly() bool
}

// Revoker is implemented by an AuthPlugin that revokes earlier decisions. Revocations sends until ctx ends.
type Revoker interface {
	Revocations(ctx context.Context, send func(*pluginv1.Revocation) error) error
}

// MetaPlugin keeps the gateway's metadata. Messages and gRPC status codes are documented in plugins/proto; return errors
// made with google.golang.org/grpc/status.
type MetaPlugin interface {
	Plugin
	// Traits describes the capabilities and limits of the backend. It is called before Configure.
	Traits() *pluginv1.MetaTraits
	Get(ctx context.Context, req *pluginv1.GetRequest) (*pluginv1.GetResponse, error)
	// List calls send for each page.
	List(ctx context.Context, req *pluginv1.ListRequest, send func(*pluginv1.ListResponse) error) error
	Put(ctx context.Context, req *pluginv1.PutRequest) (*pluginv1.PutResponse, error)
	Delete(ctx context.Context, req *pluginv1.DeleteRequest) (*pluginv1.DeleteResponse, error)
	Batch(ctx context.Context, req *pluginv1.BatchRequest) (*pluginv1.BatchResponse, error)
}

// Watcher is implemented by a MetaPlugin whose traits say watch. Watch sends until ctx ends.
type Watcher interface {
	Watch(ctx context.Context, req *pluginv1.WatchRequest, send func(*pluginv1.WatchResponse) error) error
}
