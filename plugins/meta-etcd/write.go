package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// Put implements sdk.MetaPlugin, as do the following.
func (e *etcd) Put(ctx context.Context, r *pluginv1.PutRequest) (*pluginv1.PutResponse, error) {
	res, err := e.apply(ctx, []*pluginv1.Operation{{Kind: &pluginv1.Operation_Put{Put: r}}})
	if err != nil {
		return nil, err
	}
	out := &pluginv1.PutResponse{Done: res.done, Revision: res.revision}
	if res.current != nil {
		out.Current = entry(r.GetNamespace(), r.GetKey(), res.current)
	}
	return out, nil
}

func (e *etcd) Delete(ctx context.Context, r *pluginv1.DeleteRequest) (*pluginv1.DeleteResponse, error) {
	res, err := e.apply(ctx, []*pluginv1.Operation{{Kind: &pluginv1.Operation_Delete{Delete: r}}})
	if err != nil {
		return nil, err
	}
	out := &pluginv1.DeleteResponse{Done: res.done, Revision: res.revision}
	if res.current != nil {
		out.Current = entry(r.GetNamespace(), r.GetKey(), res.current)
	}
	return out, nil
}

func (e *etcd) Batch(ctx context.Context, r *pluginv1.BatchRequest) (*pluginv1.BatchResponse, error) {
	res, err := e.apply(ctx, r.GetOperations())
	if err != nil {
		return nil, err
	}
	return &pluginv1.BatchResponse{Done: res.done, Revision: res.revision, FailedIndex: uint32(res.failed)}, nil
}

// result is the outcome of operations.
type result struct {
	done     bool
	revision int64
	failed   int              // index of the operation whose expectation did not hold
	current  *mvccpb.KeyValue // the current entry of that operation's key
}

// apply executes operations as one transaction.
func (e *etcd) apply(parent context.Context, ops []*pluginv1.Operation) (result, error) {
	p, err := e.plan(ops)
	if err != nil {
		return result{}, err
	}
	ctx, cancel := e.limit(parent)
	defer cancel()
	s, client, err := e.open(ctx)
	if err != nil {
		return result{}, e.failure(parent, err)
	}
	for try := 0; ; try++ {
		res, err := p.commit(ctx, s, client)
		if errors.Is(err, rpctypes.ErrLeaseNotFound) && try == 0 { // etcd was restored, or the lease revoked by hand
			s.leases.forget(ctx)
			continue
		}
		if err != nil {
			return result{}, e.failure(parent, err)
		}
		return res, nil
	}
}

// plan represents operations as a transaction. etcd allows one change per key in a transaction, so of several operations on a key only the
// last is executed.
type plan struct {
	// expects are the expectations that the current state decides, in order.
	expects []expectation
	// changes are the last operations on each name.
	changes []change
	// impossible is the index of the first operation whose expectation cannot hold because of earlier operations; -1 for none.
	impossible int
}

type expectation struct {
	operation int
	name      string
	revision  int64
}

type change struct {
	name string
	put  *pluginv1.PutRequest // nil to remove
}

func (e *etcd) plan(ops []*pluginv1.Operation) (*plan, error) {
	p := &plan{impossible: -1}
	at := make(map[string]int, len(ops))
	for i, op := range ops {
		put, del := op.GetPut(), op.GetDelete()
		ns, key, expect := put.GetNamespace(), put.GetKey(), put.GetExpect()
		if del != nil {
			ns, key, expect = del.GetNamespace(), del.GetKey(), del.GetExpect()
		} else if put == nil {
			return nil, status.Errorf(codes.InvalidArgument, "operation %d is neither put nor delete", i)
		}
		if err := check(ns, key, put.GetValue()); err != nil {
			return nil, err
		}
		name := e.keys.name(ns, key)
		before, again := at[name]
		switch {
		case expect == nil:
		case !again:
			p.expects = append(p.expects, expectation{i, name, expect.GetRevision()})
		case p.changes[before].put != nil || expect.GetRevision() != 0:
			// Nobody can know the revision that the earlier operation will create.
			if p.impossible < 0 {
				p.impossible = i
			}
		}
		if again {
			p.changes[before].put = put
			continue
		}
		at[name] = len(p.changes)
		p.changes = append(p.changes, change{name, put})
	}
	return p, nil
}

// commit executes the plan atomically.
func (p *plan) commit(ctx context.Context, s *session, client *clientv3.Client) (result, error) {
	var ifs []clientv3.Cmp
	var changes, looks []clientv3.Op
	for _, x := range p.expects {
		if p.impossible >= 0 && x.operation > p.impossible {
			break
		}
		ifs = append(ifs, clientv3.Compare(clientv3.ModRevision(x.name), "=", x.revision))
		looks = append(looks, clientv3.OpGet(x.name))
	}
	if p.impossible < 0 {
		var err error
		if changes, err = p.operations(ctx, s, client); err != nil {
			return result{}, err
		}
	}
	before := s.horizon.seen()
	resp, err := client.Txn(ctx).If(ifs...).Then(changes...).Else(looks...).Commit()
	if err != nil {
		return result{}, err
	}
	revision := resp.Header.Revision
	s.horizon.answered(before, revision)
	if resp.Succeeded {
		return result{done: p.impossible < 0, revision: revision, failed: max(0, p.impossible)}, nil
	}
	for i, r := range resp.Responses {
		var current *mvccpb.KeyValue
		have := int64(0)
		if kvs := r.GetResponseRange().GetKvs(); len(kvs) > 0 {
			current, have = kvs[0], kvs[0].ModRevision
		}
		if x := p.expects[i]; have != x.revision {
			return result{revision: revision, failed: x.operation, current: current}, nil
		}
	}
	return result{}, errors.New("etcd says that an expectation did not hold, and shows that all did")
}

// operations returns the changes as etcd operations, with leases for those that have a TTL.
func (p *plan) operations(ctx context.Context, s *session, client *clientv3.Client) ([]clientv3.Op, error) {
	ops := make([]clientv3.Op, 0, len(p.changes))
	for _, c := range p.changes {
		if c.put == nil {
			ops = append(ops, clientv3.OpDelete(c.name))
			continue
		}
		var opts []clientv3.OpOption
		if ms := c.put.GetTtlMs(); ms > 0 {
			id, err := s.leases.lease(ctx, client, time.Duration(ms)*time.Millisecond)
			if err != nil {
				return nil, err
			}
			opts = append(opts, clientv3.WithLease(id))
		}
		ops = append(ops, clientv3.OpPut(c.name, string(c.put.GetValue()), opts...))
	}
	return ops, nil
}

// check refuses entries that cannot be stored.
func check(ns, key string, value []byte) error {
	switch {
	case ns == "":
		return status.Error(codes.InvalidArgument, "the namespace is empty")
	case len(value) > maxValueBytes:
		return status.Error(
			codes.ResourceExhausted,
			fmt.Sprintf("the value of %s %q has %d bytes, etcd takes up to %d", ns, key, len(value), maxValueBytes),
		)
	}
	return nil
}
