package main

import (
	"context"
	"math"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// leases provides the leases that remove entries with a TTL.
//
// All puts with one TTL within a quarter of that TTL (at least a second) share a lease, which lives for that quarter longer than the TTL.
// So a thousand puts cost one lease, and a heartbeat that is put four times within its TTL costs at most one lease each time. A lease
// without keys expires. The alternative, keeping a lease for each key alive, would cost a stream, and with passwords an authentication, for
// each heartbeat.
type leases struct {
	// turn is a lock with a cancellable wait: the goroutine that grants a lease sends to it.
	turn chan struct{}
	open map[time.Duration]openLease
}

// openLease accepts entries until a point in time.
type openLease struct {
	id    clientv3.LeaseID
	until time.Time
}

func newLeases() *leases {
	return &leases{turn: make(chan struct{}, 1), open: map[time.Duration]openLease{}}
}

// lease returns a lease that lives for ttl from now, or a little longer.
func (l *leases) lease(ctx context.Context, client *clientv3.Client, ttl time.Duration) (clientv3.LeaseID, error) {
	select {
	case l.turn <- struct{}{}:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	defer func() { <-l.turn }()
	now := time.Now() // taken before the grant, so that a late answer cannot shorten a TTL
	for t, o := range l.open {
		if !now.Before(o.until) {
			delete(l.open, t)
		}
	}
	if o, ok := l.open[ttl]; ok {
		return o.id, nil
	}
	width := max(ttl/4, time.Second)
	resp, err := client.Grant(ctx, int64(math.Ceil((ttl + width).Seconds())))
	if err != nil {
		return 0, err
	}
	l.open[ttl] = openLease{resp.ID, now.Add(width)}
	return resp.ID, nil
}

// forget drops all leases, because etcd no longer knows one of them.
func (l *leases) forget(ctx context.Context) {
	select {
	case l.turn <- struct{}{}:
		clear(l.open)
		<-l.turn
	case <-ctx.Done():
	}
}
