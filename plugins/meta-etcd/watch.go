package main

import (
	"context"
	"errors"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// Watch implements sdk.Watcher. The etcd client resumes a watch when its member fails. The watch ends when etcd has no leader, cannot start
// it in time, or no longer knows the revision.
func (e *etcd) Watch(parent context.Context, r *pluginv1.WatchRequest, send func(*pluginv1.WatchResponse) error) error {
	if err := check(r.GetNamespace(), r.GetPrefix(), nil); err != nil {
		return err
	}
	begin, stop := e.limit(parent)
	defer stop()
	s, client, err := e.open(begin)
	if err != nil {
		return e.failure(parent, err)
	}
	after, lost := r.GetAfterRevision(), s.horizon.lost()
	compacted := func() error { return send(&pluginv1.WatchResponse{Revision: after, Compacted: true}) }

	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(parent))
	defer cancel()
	late := time.AfterFunc(e.config.RequestTimeout, cancel)
	defer late.Stop()
	ns := e.keys.namespace(r.GetNamespace())
	name := ns + r.GetPrefix()
	changes := client.Watch(ctx, name, clientv3.WithRange(ends(name)), clientv3.WithRev(after+1),
		clientv3.WithCreatedNotify(), clientv3.WithProgressNotify(), clientv3.WithFragment())
	for {
		var resp clientv3.WatchResponse
		var open bool
		select {
		case resp, open = <-changes:
		case <-lost:
			return compacted()
		}
		switch {
		case parent.Err() != nil:
			return status.FromContextError(parent.Err()).Err()
		case !open && ctx.Err() != nil:
			return e.failure(parent, context.DeadlineExceeded)
		case !open:
			return status.Error(codes.Unavailable, "etcd ended the watch")
		case resp.CompactRevision != 0 || errors.Is(resp.Err(), rpctypes.ErrCompacted):
			return compacted()
		case resp.Err() != nil:
			return e.failure(parent, resp.Err())
		case resp.Created:
			if !late.Stop() {
				return e.failure(parent, context.DeadlineExceeded)
			}
			if behind, err := e.behind(parent, after, resp.Header.Revision); err != nil {
				return e.failure(parent, err)
			} else if behind {
				return compacted()
			}
			continue
		}
		if after, err = e.forward(resp, r.GetNamespace(), len(ns), send); err != nil {
			return err
		}
	}
}

// behind reports whether etcd has not reached a revision: then it is another etcd, or was restored from a backup. The member that serves
// the watch may lag, so behind asks the cluster.
func (e *etcd) behind(ctx context.Context, after, member int64) (bool, error) {
	if member >= after {
		return false, nil
	}
	resp, err := e.get(ctx, e.keys.prefix, clientv3.WithCountOnly())
	if err != nil {
		return false, err
	}
	return resp.Header.Revision < after, nil
}

// forward sends the events of an etcd answer in messages of about a page, each with whole revisions, and returns the last revision sent.
func (e *etcd) forward(
	resp clientv3.WatchResponse,
	ns string,
	skip int,
	send func(*pluginv1.WatchResponse) error,
) (revision int64, err error) {
	out, size := &pluginv1.WatchResponse{Revision: resp.Header.Revision}, 0
	for i, ev := range resp.Events {
		if i > 0 && ev.Kv.ModRevision > out.Revision && size > pageBytes {
			if err := send(out); err != nil {
				return 0, err
			}
			out, size = &pluginv1.WatchResponse{}, 0
		}
		// The revision in the answer's header may be later than the reported events; the revision of the last event is not.
		out.Revision = ev.Kv.ModRevision
		if !e.ours(ev.Kv.Key) {
			continue
		}
		en := entry(ns, string(ev.Kv.Key[skip:]), ev.Kv)
		kind := pluginv1.Event_TYPE_PUT
		if ev.Type == clientv3.EventTypeDelete {
			kind, en.Value = pluginv1.Event_TYPE_DELETE, nil
		}
		out.Events = append(out.Events, &pluginv1.Event{Type: kind, Entry: en})
		size += len(ev.Kv.Key) + len(ev.Kv.Value)
	}
	return out.Revision, send(out)
}
