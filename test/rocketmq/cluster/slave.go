package cluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/lmqgate/lmqgate/remoting"
)

// startSlaves starts a slave for each broker, if that is wanted, and waits until each has what its master has.
func (c *Cluster) startSlaves(ctx context.Context) error {
	if c.opts.Role == "" {
		return nil
	}
	for _, b := range c.brokers {
		s, err := c.broker(b.name, b.name+"-slave", map[string]string{"brokerId": "1", "brokerRole": "SLAVE"})
		if err != nil {
			return err
		}
		c.slaves = append(c.slaves, s)
		if err := s.start(); err != nil {
			return err
		}
	}
	for i, s := range c.slaves {
		if err := s.awaitPort(ctx, s.addr); err != nil {
			return err
		}
		// A message, because a slave that has nothing and one that follows nobody look alike.
		probe := remoting.SendRequest{Group: "cluster", Topic: ProbeTopic, Body: []byte("x")}
		if err := retry(ctx, func() error {
			_, err := c.client.SendMessage(ctx, c.brokers[i].addr, probe)
			return err
		}); err != nil {
			return err
		}
		if err := c.AwaitSlave(ctx, i, ProbeTopic, 1); err != nil {
			return err
		}
	}
	return nil
}

// AwaitTopics waits until the slave of the i-th broker knows topics. Messages come to a slave at once, topics every few seconds.
func (c *Cluster) AwaitTopics(ctx context.Context, i int, topics ...string) error {
	path := filepath.Join(c.slaves[i].home, "store", "config", "topics.json")
	return retry(ctx, func() error {
		text, err := os.ReadFile(path)
		for _, topic := range topics {
			if err == nil && !strings.Contains(string(text), strconv.Quote(topic)) {
				err = fmt.Errorf("%s does not have the topic %q", path, topic)
			}
		}
		return err
	})
}

// AwaitSlave waits until the slave of the i-th broker has what its master has of a topic now. queues is the number of queues.
func (c *Cluster) AwaitSlave(ctx context.Context, i int, topic string, queues int) error {
	for q := range int32(queues) {
		var end int64
		if err := retry(ctx, func() (err error) {
			end, err = c.client.MaxOffset(ctx, c.brokers[i].addr, topic, q)
			return err
		}); err != nil {
			return err
		}
		if err := retry(ctx, func() error {
			has, err := c.client.MaxOffset(ctx, c.slaves[i].addr, topic, q)
			if err == nil && has < end {
				err = fmt.Errorf("the slave of %s has %d messages of queue %d of %q, not %d", c.brokers[i].name, has, q, topic, end)
			}
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}

// SignalSlave sends the slave of the i-th broker a signal.
func (c *Cluster) SignalSlave(i int, sig syscall.Signal) error {
	return syscall.Kill(c.slaves[i].pid(), sig)
}

// Promote kills the i-th broker and its slave, and starts the slave as the master with what it has. The old master is gone for good.
func (c *Cluster) Promote(ctx context.Context, i int) error {
	c.brokers[i].stop(syscall.SIGKILL)
	s := c.slaves[i]
	s.stop(syscall.SIGKILL)
	if err := c.configure(s, s.home, master); err != nil {
		return err
	}
	c.brokers[i], c.slaves[i] = s, nil
	if err := s.start(); err != nil {
		return err
	}
	if err := s.awaitPort(ctx, s.addr); err != nil {
		return err
	}
	return c.AwaitRoute(ctx, ProbeTopic, s.name)
}
