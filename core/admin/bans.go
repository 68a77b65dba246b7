package admin

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// Ban keeps an address, a user or a client out of nodes for a while. A node itself bans addresses, and clients that flap.
type Ban struct {
	Kind   string    `json:"kind" enum:"address,user,client,flapping,login"`
	Name   string    `json:"name" doc:"An address or network, a user name, a client id, or, of a client that flaps or whose logins fail, USER/CLIENT@ADDRESS. Parts are quoted where they could be mistaken; of a name of more than 256 bytes there is the beginning and a digest."`
	Reason string    `json:"reason"`
	Until  time.Time `json:"until"`
	Nodes  []string  `json:"nodes" doc:"Where it is in force."`
}

// BanRequest asks for a Ban.
type BanRequest struct {
	Kind    string `json:"kind" enum:"address,user,client"`
	Name    string `json:"name" minLength:"1" doc:"An address or network, a user name, or a client id."`
	Reason  string `json:"reason,omitempty" doc:"For those who read the list."`
	Seconds int64  `json:"seconds" minimum:"1" maximum:"315360000" doc:"How long."`
}

type bansBody struct {
	Bans       []Ban        `json:"bans"`
	Next       string       `json:"next,omitempty"`
	Unanswered []Unanswered `json:"unanswered,omitempty" doc:"Nodes that did not answer: their bans are missing."`
}

type banInput struct {
	Kind string `path:"kind" enum:"address,user,client,flapping,login"`
	Name string `path:"name" doc:"As in the list."`
}

type banBody struct{ Body BanRequest }

func registerBans(api huma.API, b Backend) {
	huma.Register(api, operation("list-bans", http.MethodGet, "/bans", "bans", "List who is kept out, of which nodes, and until when"),
		func(ctx context.Context, in *struct{ PageInput }) (*body[bansBody], error) {
			list := b.Bans(ctx, in.page())
			return &body[bansBody]{bansBody{notNil(list.Items), list.Next, list.Unanswered}}, nil
		})
	huma.Register(api, operation("add-ban", http.MethodPost, "/bans", "bans", "Keep an address, a user or a client out of every node; its connections are closed"),
		func(ctx context.Context, in *banBody) (*noContent, error) {
			if err := b.AddBan(ctx, in.Body); err != nil {
				return nil, failed(err)
			}
			return &noContent{}, nil
		})
	huma.Register(api, operation("remove-ban", http.MethodDelete, "/bans/{kind}/{name}", "bans", "End a ban on every node"),
		func(ctx context.Context, in *banInput) (*noContent, error) {
			if err := b.RemoveBan(ctx, in.Kind, in.Name); err != nil {
				return nil, failed(err)
			}
			return &noContent{}, nil
		})
}
