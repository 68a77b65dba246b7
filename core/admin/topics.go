package admin

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
)

type topicsBody struct {
	Topics []Topic `json:"topics"`
}

type newTopic struct {
	Name   string `json:"name" minLength:"1" doc:"The text before the first / of its MQTT topics."`
	Queues int    `json:"queues,omitempty" minimum:"0" maximum:"1024" doc:"Physical queues on each broker; 0 for topics.queues."`
}

// registerTopics registers the operations about first-level topics.
func registerTopics(api huma.API, b Backend) {
	huma.Register(api, operation("list-topics", http.MethodGet, "/topics", "topics", "List the first-level topics"),
		func(ctx context.Context, _ *struct{}) (*body[topicsBody], error) {
			topics, err := b.Topics(ctx)
			if err != nil {
				return nil, failed(err)
			}
			return &body[topicsBody]{topicsBody{notNil(topics)}}, nil
		})
	op := operation("create-topic", http.MethodPost, "/topics", "topics", "Create a first-level topic")
	op.DefaultStatus = http.StatusCreated
	huma.Register(api, op, func(ctx context.Context, in *body[newTopic]) (*body[Topic], error) {
		t, err := b.CreateTopic(ctx, in.Body.Name, in.Body.Queues)
		if err != nil {
			return nil, failed(err)
		}
		return &body[Topic]{t}, nil
	})
	huma.Register(api, operation("delete-topic", http.MethodDelete, "/topics/{name}", "topics",
		"Delete a first-level topic and its messages"),
		func(ctx context.Context, in *struct {
			Name string `path:"name"`
		}) (*noContent, error) {
			if err := b.DeleteTopic(ctx, in.Name); err != nil {
				return nil, failed(err)
			}
			return &noContent{}, nil
		})
}
