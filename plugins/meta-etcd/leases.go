package main

import (
	"context"
	"math"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// leases gives entries with a TTL the leases that remove them.
//
// A lease is shared by all that is put with one TTL within a quarter of it (a second at least), and lives for that long beyond the
// TTL: so a thousand puts cost one lease, and a heartbeat that is put four times within its TTL one lease each time at the most.
// A lease without keys expires. Keeping one lease of a key alive instead would cost a stream, and with
// passwords an authentication, for each heartbeat.
type leases struct {
	// turn is taken (sent to) by the one that grants.
	turn chan struct{}
	open map[time.Duration]openLease
}

// openLease takes entries until a time.
type openLease struct {
	id    clientv3.LeaseID
	until time.Time
}

func newLeases() *leases {
	return &leases{turn: make(chan struct{}, 1), open: map[time.Duration]openLease{}}
}

// lease answers a lease that lives for ttl from now on, or a little longer.
func (l *leases) lease(ctx context.Context, client *clientv3.Client, ttl time.Duration) (clientv3.LeaseID, error) {
	select {
	case l.turn <- struct{}{}:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	defer func() { <-l.turn }()
	now := time.Now() // before the grant, so that no answer that is late shortens a TTL
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

// forget drops leases that etcd does not know any more.
func (l *leases) forget(ctx context.Context) {
	select {
	case l.turn <- struct{}{}:
		clear(l.open)
		<-l.turn
	case <-ctx.Done():
	}
}
