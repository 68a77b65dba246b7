package pluginhost

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

const (
	// healthPause is the interval between health checks of a candidate.
	healthPause = 50 * time.Millisecond
	// streamLook is how long a stream is observed for an error that says that it is not served.
	streamLook = 100 * time.Millisecond
	// pingNamespace is a namespace that is never written to.
	pingNamespace = "lmqgate.ping"
)

// healthy waits until the process reports that it is healthy, for at most timing.heal.
func (i *instance) healthy(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, i.timing.heal)
	defer cancel()
	var told error // the last reported problem
	for {
		resp, err := i.control.Health(ctx, &pluginv1.HealthRequest{})
		switch {
		case err == nil && resp.GetOk():
			i.unwell = nil
			return nil
		case err == nil:
			told = fmt.Errorf("it is not healthy: %s", clip(resp.GetReason()))
			i.unwell, err = unwellness(i.spec.Name, resp), told
		case told != nil && status.Code(err) == codes.DeadlineExceeded:
			err = told // only the last check timed out; the plugin's side may see that before ctx ends here
		default:
			err = i.step(ctx, "Health", err)
		}
		select {
		case <-ctx.Done():
			return err
		case <-i.exited():
			return i.ended()
		case <-time.After(healthPause):
		}
	}
}

// ping makes a few harmless calls of a process's kind and checks the answers, so that a broken process is detected before anybody depends
// on it. The calls ask about things that do not exist: nobody is admitted and nothing is written.
func (i *instance) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, i.timing.ping)
	defer cancel()
	var err error
	if i.spec.Kind == pluginv1.Kind_KIND_AUTH {
		err = i.pingAuth(ctx)
	} else {
		err = i.pingMeta(ctx)
	}
	if err != nil {
		return fmt.Errorf("it does not pass the test before a swap: %w", err)
	}
	return nil
}

func (i *instance) pingAuth(ctx context.Context) error {
	client := pluginv1.NewAuthClient(i.conn)
	nobody := "lmqgate-ping-" + rand.Text()
	connection := &pluginv1.Connection{ClientId: nobody, HasUsername: true, Username: nobody, MqttVersion: 5, Listener: "tcp",
		RemoteAddress: "127.0.0.1:1"}
	admitted, err := client.Authenticate(ctx, &pluginv1.AuthenticateRequest{Connection: connection, HasPassword: true,
		Password: []byte(rand.Text())})
	if err != nil {
		return i.step(ctx, "Authenticate", err)
	}
	switch r := admitted.GetReason(); {
	case r == pluginv1.Reason_REASON_UNAVAILABLE:
		return fmt.Errorf("it cannot judge clients now: %s", clip(admitted.GetDetail()))
	case pluginv1.Reason_name[int32(r)] == "":
		return fmt.Errorf("Authenticate answered the reason %d, which the contract does not have", r)
	}
	actions := []*pluginv1.Action{
		{Kind: pluginv1.ActionKind_ACTION_KIND_PUBLISH, Topic: nobody + "/a", Qos: 1},
		{Kind: pluginv1.ActionKind_ACTION_KIND_SUBSCRIBE, Topic: nobody + "/+/b"},
		{Kind: pluginv1.ActionKind_ACTION_KIND_PUBLISH, Topic: nobody, Qos: 2, Retain: true},
	}
	asked, err := client.Authorize(ctx, &pluginv1.AuthorizeRequest{Actions: actions,
		Client: &pluginv1.Client{Connection: connection, Identity: nobody, AdmittedBy: i.spec.Name}})
	if err != nil {
		return i.step(ctx, "Authorize", err)
	}
	if n := len(asked.GetDecisions()); n != len(actions) {
		return fmt.Errorf("Authorize answered %d decisions to %d actions", n, len(actions))
	}
	for _, d := range asked.GetDecisions() {
		if d.GetCacheMs() < 0 {
			return fmt.Errorf("Authorize answered a decision with cache_ms %d", d.GetCacheMs())
		}
	}
	if !i.describe.GetAuth().GetRevocations() {
		return nil
	}
	return i.served(ctx, "Revocations", func(ctx context.Context) (func() error, error) {
		s, err := client.Revocations(ctx, &pluginv1.RevocationsRequest{})
		return func() error { _, err := s.Recv(); return err }, err
	})
}

func (i *instance) pingMeta(ctx context.Context) error {
	client := pluginv1.NewMetaClient(i.conn)
	key := rand.Text()
	got, err := client.Get(ctx, &pluginv1.GetRequest{Namespace: pingNamespace, Key: key})
	if err != nil {
		return i.step(ctx, "Get", err)
	}
	if got.GetFound() {
		return fmt.Errorf("Get found the key %q of namespace %s, which was never written", key, pingNamespace)
	}
	list, err := client.List(ctx, &pluginv1.ListRequest{Namespace: pingNamespace, Prefix: key})
	if err != nil {
		return i.step(ctx, "List", err)
	}
	var revision int64
	for {
		page, err := list.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return i.step(ctx, "List", err)
		}
		if n := len(page.GetEntries()); n > 0 {
			return fmt.Errorf("List answered %d entries of a namespace that was never written, %s", n, pingNamespace)
		}
		revision = page.GetRevision()
	}
	if !i.describe.GetMeta().GetWatch() {
		return nil
	}
	return i.served(ctx, "Watch", func(ctx context.Context) (func() error, error) {
		s, err := client.Watch(ctx, &pluginv1.WatchRequest{Namespace: pingNamespace, AfterRevision: revision})
		return func() error { _, err := s.Recv(); return err }, err
	})
}

// served checks that a stream that Describe promises is served: a first message, an end or silence is fine; an immediate error is not.
func (i *instance) served(ctx context.Context, name string, open func(context.Context) (recv func() error, err error)) error {
	ctx, cancel := context.WithTimeout(ctx, streamLook)
	defer cancel()
	recv, err := open(ctx)
	if err == nil {
		err = recv()
	}
	switch status.Code(err) {
	case codes.OK, codes.DeadlineExceeded, codes.Canceled:
		return nil
	}
	if errors.Is(err, io.EOF) || ctx.Err() != nil {
		return nil
	}
	return i.step(ctx, name, err)
}
