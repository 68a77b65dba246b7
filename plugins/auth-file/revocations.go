package main

import (
	"context"
	"sync"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// revocation says what a change of the file revokes.
type revocation struct {
	username   string
	disconnect bool
	detail     string
}

// revocations holds the revocations that no gateway has received yet, at most one for each user.
type revocations struct {
	mu      sync.Mutex
	waiting map[string]revocation
	more    chan struct{} // has an element while revocations may be waiting
}

func newRevocations() *revocations {
	return &revocations{waiting: make(map[string]revocation), more: make(chan struct{}, 1)}
}

// add queues revocations. If one for the same user waits already, they merge, and the result disconnects if either does.
func (r *revocations) add(list []revocation) {
	r.mu.Lock()
	for _, v := range list {
		if r.waiting[v.username].disconnect {
			v.disconnect = true
		}
		r.waiting[v.username] = v
	}
	r.mu.Unlock()
	r.wake()
}

func (r *revocations) wake() {
	select {
	case r.more <- struct{}{}:
	default:
	}
}

// take returns all waiting revocations.
func (r *revocations) take() []revocation {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]revocation, 0, len(r.waiting))
	for _, v := range r.waiting {
		list = append(list, v)
	}
	clear(r.waiting)
	return list
}

// stream sends until ctx ends. Revocations that could not be sent wait for the next stream.
func (r *revocations) stream(ctx context.Context, send func(*pluginv1.Revocation) error) error {
	for {
		select {
		case <-ctx.Done():
			r.wake() // in case select took the element of more that another stream needs
			return nil
		case <-r.more:
		}
		if ctx.Err() != nil {
			continue
		}
		list := r.take()
		for i, v := range list {
			// Once by the user name of CONNECT, and once by the identity that SCRAM established.
			err := send(&pluginv1.Revocation{Username: v.username, Disconnect: v.disconnect, Detail: v.detail})
			if err == nil {
				err = send(&pluginv1.Revocation{Identity: v.username, Disconnect: v.disconnect, Detail: v.detail})
			}
			if err != nil {
				r.add(list[i:])
				return err
			}
		}
	}
}
