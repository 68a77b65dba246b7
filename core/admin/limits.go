package admin

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
)

// Bound is a limit of a node: how much of it is used, and how often it took effect.
type Bound struct {
	Key       string     `json:"key" doc:"Of the configuration, where it has one."`
	What      string     `json:"what"`
	Unit      string     `json:"unit" enum:"count,bytes,per second"`
	Use       *float64   `json:"use,omitempty" doc:"Missing where the bound is one of each client or address."`
	Limit     float64    `json:"limit" doc:"0: none, or none that is one number."`
	Effects   float64    `json:"effects" doc:"How often something was refused, closed, or had to wait because of it, since the node started."`
	Consumers []Consumer `json:"consumers,omitempty" doc:"Who uses most of it."`
}

// Consumer is a large user of a bound.
type Consumer struct {
	Name string  `json:"name"`
	Use  float64 `json:"use" doc:"Connections, messages or filters."`
}

type boundsBody struct {
	Limits []Bound `json:"limits"`
}

// registerLimits registers the operations that show limits.
func registerLimits(api huma.API, b Backend) {
	huma.Register(api, operation("list-limits", http.MethodGet, "/limits", "node",
		"List the bounds of this node: how much of each is used, by whom, and how often it had an effect"),
		func(ctx context.Context, _ *struct{}) (*body[boundsBody], error) {
			return &body[boundsBody]{boundsBody{notNil(b.Limits(ctx))}}, nil
		})
}
