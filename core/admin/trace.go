package admin

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/lmqgate/lmqgate/core/trace"
)

// Watching is a trace in progress.
type Watching interface {
	// Next waits for events.
	Next(ctx context.Context) ([]trace.Entry, error)
	Close()
}

// maxTrace bounds the duration of a trace. After traceTick without events an empty line is sent, which detects that nobody reads any more.
const (
	maxTrace  = time.Hour
	traceTick = 5 * time.Second
)

type traceInput struct {
	ClientID string `query:"client_id" doc:"Only of this client."`
	Topic    string `query:"topic" doc:"Only messages to topics that this filter matches, and subscriptions within it."`
	Address  string `query:"address" doc:"Only from this address, or this network, such as 192.0.2.0/24."`
	Seconds  int    `query:"seconds" minimum:"1" maximum:"3600" default:"60" doc:"How long."`
	Limit    int    `query:"limit" minimum:"1" maximum:"100000" default:"10000" doc:"How many events at most."`
}

// registerTrace registers the live trace.
func registerTrace(api huma.API, b Backend) {
	op := operation("trace", http.MethodGet, "/trace", "clients",
		"Watch what happens to a client, to a topic, or from an address, on all nodes: an event a line, as JSON, as it happens")
	op.Middlewares = withTime(maxTrace + time.Minute)
	event := api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[trace.Entry](), true, "Entry")
	op.Responses = map[string]*huma.Response{"200": {Description: "Events, one a line, without payloads. Empty lines mean nothing.",
		Content: map[string]*huma.MediaType{"application/x-ndjson": {Schema: event}}}}
	huma.Register(api, op, func(ctx context.Context, in *traceInput) (*huma.StreamResponse, error) {
		w, err := b.Trace(trace.Match{ClientID: in.ClientID, Topic: in.Topic, Address: in.Address}, roleOf(ctx) < Administrator)
		if err != nil {
			return nil, failed(err)
		}
		return &huma.StreamResponse{Body: func(hc huma.Context) {
			defer w.Close()
			ctx, cancel := context.WithTimeout(hc.Context(), time.Duration(in.Seconds)*time.Second)
			defer cancel()
			_, out := humago.Unwrap(hc)
			stream(ctx, w, out, in.Limit)
		}}, nil
	})
}

// stream writes events until limit is reached, ctx ends, or nobody reads.
func stream(ctx context.Context, w Watching, out http.ResponseWriter, limit int) {
	out.Header().Set("Content-Type", "application/x-ndjson")
	out.Header().Set("X-Content-Type-Options", "nosniff")
	out.Header().Set("Cache-Control", "no-store")
	enc, flush := json.NewEncoder(out), http.NewResponseController(out).Flush
	out.WriteHeader(http.StatusOK)
	for flush() == nil && limit > 0 {
		tick, cancel := context.WithTimeout(ctx, traceTick)
		events, err := w.Next(tick)
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, context.DeadlineExceeded):
			_, err = out.Write([]byte("\n"))
		}
		if err != nil {
			return
		}
		for _, e := range events[:min(len(events), limit)] {
			if enc.Encode(e) != nil {
				return
			}
		}
		limit -= len(events)
	}
}
