package plugintest

import (
	"fmt"
	"strings"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
	"github.com/lmqgate/lmqgate/plugins/sdk/topicfilter"
	"github.com/lmqgate/lmqgate/plugins/sdk/topicrules"
)

// rights asks about what the rights in admissions allow: the samples of the profile, and what the rights themselves name.
func (t *trial) rights() {
	r := t.plugin()
	stated := false
	all := append(actions(t.profile.Allow), actions(t.profile.Deny)...)
	for _, sample := range connects(t.profile.Allow) {
		req := sample.authenticate()
		resp := t.authenticate(r, req)
		if resp.GetReason() != pluginv1.Reason_REASON_OK {
			t.failf("the client is denied (%s), and the profile says that it is admitted: %s", quote(resp.GetDetail()), sample)
		}
		rights := resp.GetRights()
		if rights == nil {
			continue
		}
		stated = true
		if wrong := wrongRights(rights); wrong != "" {
			t.failf("%s", wrong)
		}
		client := t.clientOf(req.GetConnection(), resp)
		for _, a := range append(actionsIn(rights), actionsOf(all)...) {
			t.allowedAsStated(r, client, rights, a)
		}
	}
	if !stated {
		t.skip("no admission states rights; the gateway then asks about every action")
	}
}

// allowedAsStated asks Authorize about an action if rights allow it.
func (t *trial) allowedAsStated(r *running, client *pluginv1.Client, rights *pluginv1.Rights, a *pluginv1.Action) {
	kind := topicrules.ActionOf(a.GetKind())
	if topicrules.Malformed(kind, a.GetTopic()) != nil || !topicrules.Allows(rights, kind, a.GetTopic()) {
		return
	}
	var asked []*pluginv1.Action
	for qos := range uint32(3) {
		asked = append(asked, &pluginv1.Action{Kind: a.GetKind(), Topic: a.GetTopic(), Qos: qos})
		if kind == topicrules.Publish {
			asked = append(asked, &pluginv1.Action{Kind: a.GetKind(), Topic: a.GetTopic(), Qos: qos, Retain: true})
		} else {
			asked = append(asked, &pluginv1.Action{Kind: a.GetKind(), Topic: a.GetTopic(), Qos: qos, ShareGroup: "plugintest"})
		}
	}
	for i, d := range t.authorize(r, client, asked...) {
		if !d.GetAllow() {
			t.failf("the rights of client id %s allow what Authorize denies (%s): %s",
				quote(client.GetConnection().GetClientId()), quote(d.GetDetail()), render(asked[i]))
		}
	}
}

// actionsIn returns actions that the filters of rights name.
func actionsIn(rights *pluginv1.Rights) []*pluginv1.Action {
	const publish, subscribe = pluginv1.ActionKind_ACTION_KIND_PUBLISH, pluginv1.ActionKind_ACTION_KIND_SUBSCRIBE
	var out []*pluginv1.Action
	for _, right := range rights.GetRights() {
		plain := strings.NewReplacer("+", "plugintest", "#", "plugintest").Replace(right.GetFilter())
		out = append(out, &pluginv1.Action{Kind: subscribe, Topic: right.GetFilter()}, &pluginv1.Action{Kind: subscribe, Topic: plain},
			&pluginv1.Action{Kind: publish, Topic: plain})
	}
	return out
}

func actionsOf(samples []Request) []*pluginv1.Action {
	out := make([]*pluginv1.Action, len(samples))
	for i, sample := range samples {
		out[i] = sample.action()
	}
	return out
}

// wrongRights says which rule for rights is broken, or "".
func wrongRights(rights *pluginv1.Rights) string {
	if ms := rights.GetCacheMs(); ms < 0 || ms > mostCached.Milliseconds() {
		return fmt.Sprintf("rights may be used for %d ms; between 0 and %d (a day) is possible", ms, mostCached.Milliseconds())
	}
	for _, right := range rights.GetRights() {
		if err := topicfilter.Validate(right.GetFilter()); err != nil {
			return fmt.Sprintf("the right %s is malformed: %v", quote(right.GetFilter()), err)
		}
	}
	return ""
}
