package topicrules

import (
	"time"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// Answer decides each action of a request, in order; decide is asked for Publish or Subscribe only. keep is how long the
// gateway may go on using the decisions.
func Answer(req *pluginv1.AuthorizeRequest, keep time.Duration, decide func(kind Action, topic string) (allowed bool, why string)) *pluginv1.AuthorizeResponse {
	resp := &pluginv1.AuthorizeResponse{Decisions: make([]*pluginv1.Decision, len(req.GetActions()))}
	for i, a := range req.GetActions() {
		d := &pluginv1.Decision{CacheMs: keep.Milliseconds()}
		if kind := ActionOf(a.GetKind()); kind == 0 {
			d.Detail = "unknown kind of action"
		} else {
			d.Allow, d.Detail = decide(kind, a.GetTopic())
		}
		resp.Decisions[i] = d
	}
	return resp
}
