package topicrules

import (
	"errors"
	"time"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
	"github.com/lmqgate/lmqgate/plugins/sdk/topicfilter"
)

// Answer decides each action of a request, in order. decide is called only for Publish or Subscribe, with a topic name or topic filter that
// MQTT allows; everything else is denied. keep is how long the gateway may cache the decisions.
func Answer(
	req *pluginv1.AuthorizeRequest,
	keep time.Duration,
	decide func(kind Action, topic string) (allowed bool, why string),
) *pluginv1.AuthorizeResponse {
	resp := &pluginv1.AuthorizeResponse{Decisions: make([]*pluginv1.Decision, len(req.GetActions()))}
	for i, a := range req.GetActions() {
		d := &pluginv1.Decision{CacheMs: keep.Milliseconds()}
		kind := ActionOf(a.GetKind())
		if err := Malformed(kind, a.GetTopic()); err != nil {
			d.Detail = err.Error()
		} else {
			d.Allow, d.Detail = decide(kind, a.GetTopic())
		}
		resp.Decisions[i] = d
	}
	return resp
}

// Malformed returns why an action is invalid for everybody, or nil. The gateway itself asks only about valid topics.
func Malformed(kind Action, topic string) error {
	switch kind {
	case Publish:
		return topicfilter.ValidateName(topic)
	case Subscribe:
		return topicfilter.Validate(topic)
	}
	return errors.New("unknown kind of action")
}
