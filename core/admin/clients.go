package admin

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
)

type clientsInput struct {
	PageInput
	Prefix   string `query:"prefix" doc:"Only client ids that begin with this."`
	Username string `query:"username" doc:"Only clients of this user."`
	State    string `query:"state" enum:"connected,sleeping,all" default:"connected" doc:"sleeping: sessions whose client is away."`
	Backlog  bool   `query:"backlog" doc:"Count what waits for each; a page has 200 items at most then."`
}

type clientsBody struct {
	Clients    []Client     `json:"clients"`
	Next       string       `json:"next,omitempty"`
	Unanswered []Unanswered `json:"unanswered,omitempty" doc:"Nodes that did not answer: what they know is missing."`
}

type sessionsInput struct {
	PageInput
	Prefix   string `query:"prefix" doc:"Only client ids that begin with this."`
	Username string `query:"username" doc:"Only sessions of this user."`
	State    string `query:"state" enum:"connected,sleeping,all" default:"all" doc:"sleeping: the client is away."`
	Backlog  bool   `query:"backlog" doc:"Count what waits for each; a page has 200 items at most then."`
}

type sessionsBody struct {
	Sessions []Session `json:"sessions"`
	Next     string    `json:"next,omitempty"`
}

type subscriptionsInput struct {
	PageInput
	ClientID string `query:"client_id" doc:"Only of this client, also of one whose session sleeps."`
	Matching string `query:"matching" doc:"Only filters that match this topic name."`
	Filter   string `query:"filter" doc:"Only this filter, as in SUBSCRIBE: $share/{group}/{filter} has the members of a group."`
}

type subscriptionsBody struct {
	Subscriptions []Subscription `json:"subscriptions"`
	Next          string         `json:"next,omitempty"`
	Unanswered    []Unanswered   `json:"unanswered,omitempty" doc:"Nodes that did not answer: what they know is missing."`
}

type recentInput struct {
	ClientID string `query:"client_id" doc:"Only of this client."`
	Username string `query:"username" doc:"Only of this user."`
	Kind     string `query:"kind" enum:"refused,disconnected" doc:"Only these."`
}

type recentBody struct {
	Events     []Event      `json:"events"`
	Unanswered []Unanswered `json:"unanswered,omitempty" doc:"Nodes that did not answer: what they know is missing."`
}

type clientInput struct {
	ID string `path:"id"`
}

// registerClients registers the operations about clients, their sessions and subscriptions.
func registerClients(api huma.API, b Backend) {
	huma.Register(api, operation("list-clients", http.MethodGet, "/clients", "clients", "List clients of the whole cluster"),
		func(ctx context.Context, in *clientsInput) (*body[clientsBody], error) {
			list, err := b.Clients(ctx, ClientQuery{Page: in.page(), Prefix: in.Prefix, Username: in.Username, State: in.State,
				Backlog: in.Backlog})
			if err != nil {
				return nil, failed(err)
			}
			return &body[clientsBody]{clientsBody{notNil(list.Items), list.Next, list.Unanswered}}, nil
		})
	huma.Register(api, operation("list-sessions", http.MethodGet, "/sessions", "clients",
		"List the sessions that outlive their connections"),
		func(ctx context.Context, in *sessionsInput) (*body[sessionsBody], error) {
			list, err := b.Sessions(ctx, ClientQuery{Page: in.page(), Prefix: in.Prefix, Username: in.Username, State: in.State,
				Backlog: in.Backlog})
			if err != nil {
				return nil, failed(err)
			}
			return &body[sessionsBody]{sessionsBody{notNil(list.Items), list.Next}}, nil
		})
	huma.Register(api, operation("get-client", http.MethodGet, "/clients/{id}", "clients",
		"Describe a client, connected or sleeping, and how far it is behind in each subscription"),
		func(ctx context.Context, in *clientInput) (*body[ClientDetail], error) {
			c, err := b.Client(ctx, in.ID)
			if err != nil {
				return nil, failed(err)
			}
			c.Queues = notNil(c.Queues)
			return &body[ClientDetail]{c}, nil
		})
	huma.Register(api, operation("list-recent", http.MethodGet, "/recent", "clients",
		"List the last refusals and disconnections on all nodes, the last first; each node remembers 256"),
		func(ctx context.Context, in *recentInput) (*body[recentBody], error) {
			events, missing := b.Recent(ctx, RecentQuery{ClientID: in.ClientID, Username: in.Username, Kind: in.Kind})
			return &body[recentBody]{recentBody{notNil(events), missing}}, nil
		})
	do := func(op huma.Operation, f func(ctx context.Context, id string) error) {
		huma.Register(api, op, func(ctx context.Context, in *clientInput) (*noContent, error) {
			if err := f(ctx, in.ID); err != nil {
				return nil, failed(err)
			}
			return &noContent{}, nil
		})
	}
	do(operation("kick-client", http.MethodPost, "/clients/{id}/kick", "clients", "Close a client's connection, on whichever node it is; its session stays"), b.Kick)
	do(operation("end-session", http.MethodDelete, "/sessions/{id}", "clients", "End a session for good, with its connection"),
		b.EndSession)
	huma.Register(api, operation("list-subscriptions", http.MethodGet, "/subscriptions", "clients",
		"List the subscriptions of connected clients, or of one client"),
		func(ctx context.Context, in *subscriptionsInput) (*body[subscriptionsBody], error) {
			list, err := b.Subscriptions(ctx, SubscriptionQuery{Page: in.page(), ClientID: in.ClientID, Matching: in.Matching,
				Filter: in.Filter})
			if err != nil {
				return nil, failed(err)
			}
			return &body[subscriptionsBody]{subscriptionsBody{notNil(list.Items), list.Next, list.Unanswered}}, nil
		})
}
