package admin

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// Reloaded is the result of a reload.
type Reloaded struct {
	Error      string           `json:"error,omitempty" doc:"Why not all of it was done."`
	Plugins    []ReloadedPlugin `json:"plugins"`
	Applied    []string         `json:"applied,omitempty" doc:"Keys that have changed in the configuration and that are in force now, besides those of plugins."`
	NotApplied []string         `json:"not_applied,omitempty" doc:"Keys that have changed in the configuration and that need a restart."`
}

// Results of a reload for a plugin.
const (
	Swapped   = "swapped"
	Unchanged = "unchanged"
)

// ReloadedPlugin says what a reload did with one plugin.
type ReloadedPlugin struct {
	Kind   string `json:"kind" enum:"auth,meta"`
	From   string `json:"from" doc:"The plugin before."`
	Name   string `json:"name" doc:"The one that the configuration wants."`
	Result string `json:"result" enum:"swapped,unchanged" doc:"With an error, the plugin before serves on."`
	Error  string `json:"error,omitempty"`
	// Version and Checksum are those of the new plugin.
	Version  string `json:"version,omitempty"`
	Checksum string `json:"checksum,omitempty"`
	PID      int    `json:"pid,omitempty"`
}

// reloadFailed is the answer to a reload that failed in part: it says what was done.
type reloadFailed struct {
	status int
	Reloaded
}

// Error implements error.
func (r *reloadFailed) Error() string { return r.Reloaded.Error }

// GetStatus implements huma.StatusError.
func (r *reloadFailed) GetStatus() int { return r.status }

// reloadWrite bounds a reload and its answer. It is long, because each plugin may take plugins.start_timeout, at most ten minutes.
const reloadWrite = 25 * time.Minute

// withTime gives an operation a longer write timeout.
func withTime(d time.Duration) huma.Middlewares {
	return huma.Middlewares{func(ctx huma.Context, next func(huma.Context)) {
		_, w := humago.Unwrap(ctx)
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(d)) // on an error the usual timeout stays
		next(ctx)
	}}
}

type nodesBody struct {
	Nodes []Node `json:"nodes"`
}

type pluginsBody struct {
	Plugins []Plugin `json:"plugins"`
}

type levelBody struct {
	Level string `json:"level" enum:"debug,info,warn,error"`
}

type drainInput struct {
	Body struct {
		Seconds int `json:"seconds" minimum:"0" maximum:"3600" doc:"Over what time."`
	}
}

type rebalanceInput struct {
	Body struct {
		Node string `json:"node,omitempty" doc:"Only this node; empty: every node that has more than its share."`
		Keep *int   `json:"keep,omitempty" minimum:"0" doc:"How many clients it keeps; not given: the average of the nodes that are ready."`
		Rate int    `json:"rate,omitempty" minimum:"1" maximum:"10000" default:"50" doc:"How many clients a node sends off in a second."`
	}
}

type reloadInput struct {
	Body *struct {
		Name  string `json:"name,omitempty" doc:"Only this plugin, and nothing else; empty for all that changed."`
		Force bool   `json:"force,omitempty" doc:"Also where nothing changed."`
	}
}

// body wraps the output of an operation.
type body[T any] struct{ Body T }

// registerNode registers the operations about the node itself.
func registerNode(api huma.API, b Backend) {
	huma.Register(api, operation("get-info", http.MethodGet, "/info", "node", "Describe this node"),
		func(ctx context.Context, _ *struct{}) (*body[Info], error) {
			info := b.Info()
			info.Role = roleOf(ctx).String()
			return &body[Info]{info}, nil
		})
	huma.Register(api, operation("list-nodes", http.MethodGet, "/nodes", "node", "List the nodes that live"),
		func(ctx context.Context, _ *struct{}) (*body[nodesBody], error) {
			return &body[nodesBody]{nodesBody{notNil(b.Nodes(ctx))}}, nil
		})
	huma.Register(api, operation("get-config", http.MethodGet, "/config", "node", "Show the configuration in force, without secrets"),
		func(context.Context, *struct{}) (*body[map[string]any], error) {
			return &body[map[string]any]{b.Configuration()}, nil
		})
	huma.Register(api, operation("get-log-level", http.MethodGet, "/log-level", "node", "Show from which level on lines are logged"),
		func(context.Context, *struct{}) (*body[levelBody], error) {
			return &body[levelBody]{levelBody{b.LogLevel()}}, nil
		})
	huma.Register(api, operation("set-log-level", http.MethodPut, "/log-level", "node", "Set the log level until the node ends or reloads its configuration"),
		func(_ context.Context, in *body[levelBody]) (*body[levelBody], error) {
			if err := b.SetLogLevel(in.Body.Level); err != nil {
				return nil, failed(err)
			}
			return &body[levelBody]{levelBody{b.LogLevel()}}, nil
		})
	drain := operation("drain-node", http.MethodPost, "/drain", "node", "Move the clients of this node off, evenly over a time, and end it")
	drain.DefaultStatus = http.StatusAccepted
	huma.Register(api, drain, func(_ context.Context, in *drainInput) (*noContent, error) {
		if err := b.Drain(time.Duration(in.Body.Seconds) * time.Second); err != nil {
			return nil, failed(err)
		}
		return &noContent{}, nil
	})
	rebalance := operation("rebalance", http.MethodPost, "/rebalance", "node", "Send clients of nodes that have too many to the others")
	rebalance.DefaultStatus = http.StatusAccepted
	huma.Register(api, rebalance, func(ctx context.Context, in *rebalanceInput) (*body[Rebalanced], error) {
		r := RebalanceRequest{Node: in.Body.Node, Keep: -1, Rate: in.Body.Rate}
		if in.Body.Keep != nil {
			r.Keep = *in.Body.Keep
		}
		done, err := b.Rebalance(ctx, r)
		if err != nil {
			return nil, failed(err)
		}
		done.Moves = notNil(done.Moves)
		return &body[Rebalanced]{done}, nil
	})
	huma.Register(api, operation("list-plugins", http.MethodGet, "/plugins", "plugins", "List the plugins that run"),
		func(context.Context, *struct{}) (*body[pluginsBody], error) {
			return &body[pluginsBody]{pluginsBody{notNil(b.Plugins())}}, nil
		})
	op := operation("reload-plugins", http.MethodPost, "/plugins/reload", "plugins", "Read the configuration again, apply log level and limits, and swap plugins that changed")
	op.Middlewares = withTime(reloadWrite)
	huma.Register(api, op, func(ctx context.Context, in *reloadInput) (*body[Reloaded], error) {
		var name string
		var force bool
		if in.Body != nil {
			name, force = in.Body.Name, in.Body.Force
		}
		// A reload that has begun continues even if the client leaves.
		out, err := b.ReloadPlugins(context.WithoutCancel(ctx), name, force)
		out.Plugins = notNil(out.Plugins)
		if err != nil {
			out.Error = err.Error()
			return nil, &reloadFailed{statusOf(err), out}
		}
		return &body[Reloaded]{out}, nil
	})
}

// notNil turns nil into an empty list, so that JSON has [].
func notNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
