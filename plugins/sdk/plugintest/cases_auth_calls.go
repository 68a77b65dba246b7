package plugintest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

const (
	// atOnce is the number of concurrent calls, callsInAll the total.
	atOnce     = 8
	callsInAll = 96
	// openFor is how long an idle stream is observed to stay open.
	openFor = 1500 * time.Millisecond
)

// judged plays a sample from CONNECT to action, and returns whether it was allowed. It may be called in any goroutine.
func (t *trial) judged(r *running, sample Request) (bool, error) {
	req := sample.authenticate()
	resp, err := r.auth.Authenticate(t.ctx, req)
	if err != nil {
		return false, err
	}
	a := sample.action()
	if resp.GetReason() != pluginv1.Reason_REASON_OK || a == nil {
		return resp.GetReason() == pluginv1.Reason_REASON_OK, nil
	}
	decisions, err := r.auth.Authorize(t.ctx, &pluginv1.AuthorizeRequest{
		Client: t.clientOf(req.GetConnection(), resp), Actions: []*pluginv1.Action{a},
	})
	if err != nil {
		return false, err
	}
	if wrong := wrongDecisions(decisions, 1); wrong != "" {
		return false, errors.New(wrong)
	}
	return decisions.GetDecisions()[0].GetAllow(), nil
}

func (t *trial) manyAtOnce() {
	type want struct {
		Request
		allow bool
	}
	var wants []want
	for _, sample := range t.profile.Allow {
		wants = append(wants, want{sample, true})
	}
	for _, sample := range t.profile.Deny {
		wants = append(wants, want{sample, false})
	}
	if len(wants) == 0 {
		t.skip("the profile has no requests")
	}
	r := t.plugin()
	t.must(parallel(max(callsInAll, len(wants)), atOnce, func(i int) error {
		w := wants[i%len(wants)]
		got, err := t.judged(r, w.Request)
		if err == nil && got != w.allow {
			err = fmt.Errorf("among %d calls at once it answers allow=%v to: %s", atOnce, got, w.Request)
		}
		return err
	}))
}

func (t *trial) abandonedCalls() {
	r := t.plugin()
	requests := connects(append(append([]Request{}, t.profile.Allow...), t.profile.Deny...))
	text := "stranger-" + t.id
	requests = append(requests, Request{ClientID: text, Username: &text, Password: &text})
	_ = parallel(40, atOnce, func(i int) error {
		ctx, cancel := context.WithTimeout(t.ctx, time.Duration(i%5)*time.Millisecond)
		defer cancel()
		_, _ = r.auth.Authenticate(ctx, requests[i%len(requests)].authenticate())
		return nil
	})
	for _, sample := range t.profile.Allow {
		allow, err := t.judged(r, sample)
		t.must(err)
		if !allow {
			t.failf("after calls that were given up it denies: %s", sample)
		}
	}
	t.authenticate(r, requests[len(requests)-1].authenticate())
}

func (t *trial) revocations() {
	r := t.plugin()
	ctx, cancel := context.WithCancel(t.ctx)
	defer cancel()
	begin := time.Now()
	// The streams of two gateways, and one that is opened again, must all be served.
	for range 2 {
		stream, err := r.auth.Revocations(ctx, &pluginv1.RevocationsRequest{})
		t.must(err)
		ended := make(chan error, 1)
		go func() {
			for {
				if _, err := stream.Recv(); err != nil {
					ended <- err
					return
				}
			}
		}()
		limit := openFor
		if !t.suite.describe.GetAuth().GetRevocations() {
			limit = t.patience.times(authLimit)
		}
		select {
		case err := <-ended:
			switch declared := t.suite.describe.GetAuth().GetRevocations(); {
			case !declared && status.Code(err) == codes.Unimplemented:
				return
			case !declared:
				t.failAt("Revocations", errText(err), "Describe says that there are no revocations; the answer must be UNIMPLEMENTED")
			case errors.Is(err, io.EOF):
				t.failAt(
					"Revocations",
					"the end of the stream",
					"the stream ended by itself after %v; it stays open until the caller ends it",
					time.Since(begin).Round(time.Millisecond),
				)
			default:
				t.failAt(
					"Revocations",
					errText(err),
					"the stream broke after %v; it stays open until the caller ends it",
					time.Since(begin).Round(time.Millisecond),
				)
			}
		case <-time.After(limit):
			if !t.suite.describe.GetAuth().GetRevocations() {
				t.failAt(
					"Revocations",
					"a stream that stays open",
					"Describe says that there are no revocations; the answer must be UNIMPLEMENTED",
				)
			}
		}
	}
}

func (t *trial) exchange() {
	r := t.plugin()
	methods := t.suite.describe.GetAuth().GetMethods()
	first := func(id, method string, data []byte) *pluginv1.ExchangeRequest {
		return &pluginv1.ExchangeRequest{
			ExchangeId: "plugintest-" + t.id + "-" + id,
			Method:     method,
			Data:       data,
			Connection: &pluginv1.Connection{
				ClientId:      "plugintest-" + t.id,
				MqttVersion:   5,
				Listener:      "tcp",
				RemoteAddress: "127.0.0.1:50000",
			},
		}
	}
	if len(methods) == 0 {
		if _, err := r.auth.Exchange(t.ctx, first("none", "SCRAM-SHA-256", nil)); status.Code(err) != codes.Unimplemented {
			t.failf("Describe lists no methods; the answer must be UNIMPLEMENTED")
		}
		return
	}
	garbage := [][]byte{nil, {0, 1, 2, 0xff}, []byte("n,,n=,r="), make([]byte, 65535)}
	var requests []*pluginv1.ExchangeRequest
	for i, data := range garbage {
		requests = append(requests, first(fmt.Sprintf("method-%d", i), "PLUGINTEST-NONE", data))
		for _, method := range methods {
			id := fmt.Sprintf("%s-%d", method, i)
			requests = append(requests, first(id, method, data))
			later := first("unknown-"+id, method, data)
			later.Connection = nil // a later step of an exchange that nobody began
			requests = append(requests, later)
		}
	}
	for _, req := range requests {
		resp, err := r.auth.Exchange(t.ctx, req)
		if code := status.Code(err); code == codes.InvalidArgument || code == codes.NotFound || code == codes.FailedPrecondition {
			continue
		}
		t.must(err)
		switch {
		case resp.GetMore():
			abandon := &pluginv1.ExchangeRequest{ExchangeId: req.GetExchangeId(), Method: req.GetMethod(), Abandon: true}
			_, err := r.auth.Exchange(t.ctx, abandon)
			t.must(err)
			again := &pluginv1.ExchangeRequest{ExchangeId: req.GetExchangeId(), Method: req.GetMethod(), Data: req.GetData()}
			if resp, err := r.auth.Exchange(t.ctx, again); err == nil && admits(resp) {
				t.failf("a step of an exchange that was given up admits the client")
			}
		case admits(resp):
			t.failf("it admits a client that showed nothing")
		}
	}
}

// admits reports whether an exchange ended with the client's admission.
func admits(resp *pluginv1.ExchangeResponse) bool {
	return !resp.GetMore() && resp.GetResult() != nil && resp.GetResult().GetReason() == pluginv1.Reason_REASON_OK
}
