package auth

import (
	"strings"

	"github.com/lmqgate/lmqgate/core/topic"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// rightsMost bounds the rights that are kept of a client, and rightsBytes their filters, in bytes. The plugin is asked about the rest.
const (
	rightsMost  = 16
	rightsBytes = 4 << 10
)

// right is one of the rights that a plugin stated when it admitted a client. The first that concerns an action decides.
type right struct {
	filter string
	kinds  [Subscribe + 1]bool
	// allow is false for actions that the plugin has to be asked about.
	allow bool
}

// rightsOf copies the rights in a plugin's answer, as far as they are kept.
func rightsOf(r *pluginv1.Rights) []right {
	var list []right
	bytes := 0
	for _, one := range r.GetRights() {
		bytes += len(one.GetFilter())
		if len(list) == rightsMost || bytes > rightsBytes {
			break
		}
		if list == nil {
			list = make([]right, 0, min(rightsMost, len(r.GetRights())))
		}
		one := right{filter: strings.Clone(one.GetFilter()), allow: one.GetAllow(),
			kinds: [...]bool{Publish: one.GetPublish(), Subscribe: one.GetSubscribe()}}
		list = append(list, one)
	}
	return list
}

// concerns reports whether a right decides about an action.
func (r *right) concerns(a Action) bool {
	switch {
	case a.Kind > Subscribe || !r.kinds[a.Kind]:
		return false
	case a.Kind == Publish:
		return !topic.IsWildcard(a.Topic) && topic.Match(r.filter, a.Topic)
	case r.allow:
		return topic.Covers(r.filter, a.Topic)
	default:
		return topic.Overlap(r.filter, a.Topic)
	}
}

// allows reports whether rights allow an action. If not, nothing is decided.
func allows(rights []right, a Action) bool {
	for i := range rights {
		if rights[i].concerns(a) {
			return rights[i].allow
		}
	}
	return false
}

// keepRights keeps the rights with which a plugin admitted p, as decisions that were asked for at moment. It drops them if anybody's
// decisions have been revoked since: who p is, and so whether that concerns p, was not known then.
func (a *Auth) keepRights(p *Principal, rights *pluginv1.Rights, moment uint64) {
	if rights.GetCacheMs() <= 0 || len(rights.GetRights()) == 0 {
		return
	}
	epoch := a.epochs.of(p) // before now; see epochs.revoke
	if a.epochs.now() != moment {
		return
	}
	p.cache.begin(rightsOf(rights), a.now()+jittered(rights.GetCacheMs()), epoch)
}
