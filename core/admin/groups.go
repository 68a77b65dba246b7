package admin

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
)

type groupsBody struct {
	Groups     []Group      `json:"groups"`
	Next       string       `json:"next,omitempty"`
	Unanswered []Unanswered `json:"unanswered,omitempty" doc:"Nodes that did not answer: their members are missing."`
}

// registerGroups registers the operations about shared groups and backlogs.
func registerGroups(api huma.API, b Backend) {
	huma.Register(api, operation("list-groups", http.MethodGet, "/groups", "groups",
		"List the shared groups with their members and what waits for them; a page has 200 at most"),
		func(ctx context.Context, in *struct{ PageInput }) (*body[groupsBody], error) {
			list, err := b.Groups(ctx, in.page())
			if err != nil {
				return nil, failed(err)
			}
			return &body[groupsBody]{groupsBody{notNil(list.Items), list.Next, list.Unanswered}}, nil
		})
	huma.Register(api, operation("get-backlog", http.MethodGet, "/backlog", "clients",
		"Say what waits for durable sessions of the whole cluster, and which are furthest behind"),
		func(ctx context.Context, _ *struct{}) (*body[BacklogSummary], error) {
			s, err := b.Backlog(ctx)
			if err != nil {
				return nil, failed(err)
			}
			s.Largest = notNil(s.Largest)
			return &body[BacklogSummary]{s}, nil
		})
}
