package auth

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

const (
	reopenFirst = 200 * time.Millisecond
	reopenLast  = 5 * time.Second
)

// OnRevoke implements Authority.
func (a *Auth) OnRevoke(fn func(Revocation)) {
	a.revokeMu.Lock()
	defer a.revokeMu.Unlock()
	a.onRevoke = append(a.onRevoke, fn)
}

// OnDoubt implements Authority.
func (a *Auth) OnDoubt(fn func(Revocation)) {
	a.revokeMu.Lock()
	defer a.revokeMu.Unlock()
	a.onDoubt = append(a.onDoubt, fn)
}

// Run follows the plugin's revocations until ctx ends. The caller owns the goroutine. After a swap Run follows the new process at once, and
// the old process until its stream ends. If the plugin has no revocations, Run checks again periodically, because a restart may bring a
// version that has.
func (a *Auth) Run(ctx context.Context) {
	var streams sync.WaitGroup
	defer streams.Wait()
	wait := reopenFirst
	for ctx.Err() == nil {
		ended := make(chan error, 1)
		began := a.now()
		if a.opts.Traits().GetRevocations() {
			streams.Go(func() { ended <- a.follow(ctx) })
			select {
			case <-ctx.Done():
				return
			case <-a.swapped:
				wait = reopenFirst
				continue
			case err := <-ended:
				if err != nil && ctx.Err() == nil {
					a.opts.Log.Warn("the stream of revocations ended; it is opened again", "plugin", a.opts.PluginName(), "error", err)
				}
			}
			if a.now()-began > int64(reopenLast) {
				wait = reopenFirst
			}
		}
		select {
		case <-ctx.Done():
		case <-a.swapped:
			wait = reopenFirst
		case <-time.After(wait/2 + rand.N(wait/2)):
			wait = min(2*wait, reopenLast)
		}
	}
}

// follow reads one stream to its end. Revocations sent while there was no stream are lost, so follow drops every cached decision when the
// stream opens, and again when the plugin has begun to answer.
func (a *Auth) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := a.opts.Client.Revocations(ctx, &pluginv1.RevocationsRequest{})
	if err != nil {
		return err
	}
	a.Drop()
	if _, err := stream.Header(); err != nil {
		return err
	}
	a.Drop()
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		a.revoke(Revocation{
			ClientID: r.GetClientId(), Username: r.GetUsername(), Identity: r.GetIdentity(),
			Disconnect: r.GetDisconnect(), Detail: r.GetDetail(),
		})
	}
}

func (a *Auth) revoke(r Revocation) {
	a.epochs.revoke(r)
	a.opts.Log.Info("trust revoked", "client", r.ClientID, "user", r.Username, "identity", r.Identity,
		"disconnect", r.Disconnect, "detail", r.Detail)
	a.revokeMu.RLock()
	for _, fn := range a.onRevoke {
		fn(r)
	}
	a.revokeMu.RUnlock()
	a.doubt(r)
}
