package topicrules

import (
	"time"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
	"github.com/lmqgate/lmqgate/plugins/sdk/topicfilter"
)

// What the gateway reads of a client's rights; see pluginv1.Rights.
const (
	maxRights      = 16
	maxRightsBytes = 4 << 10
)

// Rights returns what Decide allows a client, for AuthenticateResponse.Rights, so that the gateway need not ask. keep is how long the
// gateway may use them. Where they cannot say it, the gateway asks.
func Rights(rules []Rule, s Subject, keep time.Duration) *pluginv1.Rights {
	out := &pluginv1.Rights{CacheMs: keep.Milliseconds()}
	bytes := 0
	for _, r := range rules {
		filter, sound := r.filterFor(s)
		if !sound && r.Effect == Allow {
			continue
		}
		if bytes += len(filter); !sound || len(out.Rights) == maxRights || bytes > maxRightsBytes {
			break // what comes after that rule is asked about
		}
		out.Rights = append(out.Rights, &pluginv1.Right{
			Allow: r.Effect == Allow, Publish: r.Action&Publish != 0, Subscribe: r.Action&Subscribe != 0, Filter: filter,
		})
	}
	return out
}

// RightsOrAll is Rights for users who may do everything if they have no rules.
func RightsOrAll(rules []Rule, s Subject, keep time.Duration) *pluginv1.Rights {
	if len(rules) > 0 {
		return Rights(rules, s, keep)
	}
	everything := &pluginv1.Right{Allow: true, Publish: true, Subscribe: true, Filter: "#"}
	return &pluginv1.Rights{CacheMs: keep.Milliseconds(), Rights: []*pluginv1.Right{everything}}
}

// Allows reports whether rights allow an action, as the gateway reads them; if not, the gateway asks. It is for tests of plugins.
func Allows(rights *pluginv1.Rights, kind Action, topic string) bool {
	for _, r := range rights.GetRights() {
		concerned := false
		switch {
		case kind == Publish:
			concerned = r.GetPublish() && topicfilter.Match(r.GetFilter(), topic)
		case kind == Subscribe && r.GetAllow():
			concerned = r.GetSubscribe() && topicfilter.Covers(r.GetFilter(), topic)
		case kind == Subscribe:
			concerned = r.GetSubscribe() && topicfilter.Overlaps(r.GetFilter(), topic)
		}
		if concerned {
			return r.GetAllow()
		}
	}
	return false
}
