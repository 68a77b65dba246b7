package plugintest

import (
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// loginsShared is the largest number of CONNECTs that the gateway asks about in one call.
const loginsShared = 32

// allTogether asks about the CONNECTs of the profile in one call, with wrong passwords and a request without anything among them.
func (t *trial) allTogether() {
	r := t.plugin()
	if !t.suite.describe.GetAuth().GetAuthenticateAll() {
		_, err := r.auth.AuthenticateAll(t.ctx, &pluginv1.AuthenticateAllRequest{})
		if status.Code(err) != codes.Unimplemented {
			t.failf("Describe does not declare authenticate_all, and the call answered %s", status.Code(err))
		}
		t.skip("Describe does not declare authenticate_all; the gateway then asks about each CONNECT by itself")
	}
	kinds := []*pluginv1.AuthenticateRequest{{}}
	for _, sample := range append(connects(t.profile.Allow), connects(t.profile.Deny)...) {
		wrong := sample.authenticate()
		wrong.HasPassword, wrong.Password = true, []byte("wrong-"+t.id)
		kinds = append(kinds, sample.authenticate(), wrong)
	}
	req := &pluginv1.AuthenticateAllRequest{}
	for i := range loginsShared {
		req.Requests = append(req.Requests, kinds[i%len(kinds)])
	}
	resp, err := r.auth.AuthenticateAll(t.ctx, req)
	t.must(err)
	if n := len(resp.GetResponses()); n != len(req.GetRequests()) {
		t.failf("%d responses for %d requests", n, len(req.GetRequests()))
	}
	for i, together := range resp.GetResponses() {
		if wrong := wrongAnswer(together); wrong != "" {
			t.failf("%s", wrong)
		}
		alone := t.authenticate(r, req.GetRequests()[i])
		if alone.GetReason() != together.GetReason() || alone.GetIdentity() != together.GetIdentity() {
			t.failf("response %d of %d is %s, identity %s; alone it was %s, identity %s", i, len(req.GetRequests()), together.GetReason(),
				quote(together.GetIdentity()), alone.GetReason(), quote(alone.GetIdentity()))
		}
	}
}
