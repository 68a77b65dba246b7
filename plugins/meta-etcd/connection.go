package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Back-off between login attempts: it grows from the first pause to the last.
const (
	firstPause = 250 * time.Millisecond
	lastPause  = 5 * time.Second
)

// connection holds the etcd client. Without a password the client exists at once, and connects in the background. With a password the
// client's constructor asks etcd for a token, and fails while etcd is away; then a goroutine retries until there is a client. connect
// starts the goroutine and close stops it.
type connection struct {
	cancel context.CancelFunc
	ended  chan struct{}

	mu     sync.Mutex
	client *clientv3.Client
	err    error         // of the last attempt
	tried  chan struct{} // closed after the first attempt
}

func connect(config clientv3.Config, log *slog.Logger) *connection {
	ctx, cancel := context.WithCancel(context.Background())
	config.Context = ctx
	c := &connection{cancel: cancel, ended: make(chan struct{}), tried: make(chan struct{})}
	if config.Username == "" {
		_ = c.try(config) // get returns the error
		close(c.tried)
		close(c.ended)
		return c
	}
	go c.run(ctx, config, log)
	return c
}

func (c *connection) run(ctx context.Context, config clientv3.Config, log *slog.Logger) {
	defer close(c.ended)
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		err := c.try(config)
		if pause == firstPause {
			close(c.tried)
		}
		if err == nil {
			log.Info("logged in to etcd", "endpoints", config.Endpoints, "username", config.Username)
			return
		}
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
	}
}

func (c *connection) try(config clientv3.Config) error {
	client, err := clientv3.New(config)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.client, c.err = client, err
	return err
}

// get returns the client, or why there is none yet.
func (c *connection) get(ctx context.Context) (*clientv3.Client, error) {
	select {
	case <-c.tried:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.client, c.err
}

// close stops the goroutine and closes the client, with all its requests and watches.
func (c *connection) close() error {
	c.cancel()
	<-c.ended
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.client == nil {
		return nil
	}
	err := c.client.Close()
	if errors.Is(err, context.Canceled) { // caused by the cancel above
		err = nil
	}
	return err
}
