package rocketmq

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/remoting"
)

// maxTopicName is RocketMQ's limit for topic names, in bytes.
const maxTopicName = 127

// systemTopics are RocketMQ's own topics. Names that begin with one of systemPrefixes or end with replySuffix are RocketMQ's own too.
var systemTopics = []string{
	"TBW102", "SCHEDULE_TOPIC_XXXX", "BenchmarkTest", "RMQ_SYS_TRANS_HALF_TOPIC", "RMQ_SYS_TRACE_TOPIC",
	"RMQ_SYS_TRANS_OP_HALF_TOPIC", "TRANS_CHECK_MAX_TIME_TOPIC", "SELF_TEST_TOPIC", "OFFSET_MOVED_EVENT",
	"CHECKPOINT_TOPIC", "DefaultHeartBeatSyncerTopic",
}

var systemPrefixes = []string{"rmq_sys_", "RMQ_SYS_", "%RETRY%", "%DLQ%", lmqPrefix}

const replySuffix = "_REPLY_TOPIC"

func systemTopic(name string) bool {
	return slices.Contains(systemTopics, name) || strings.HasSuffix(name, replySuffix) ||
		slices.ContainsFunc(systemPrefixes, func(p string) bool { return strings.HasPrefix(name, p) })
}

// checkName returns nil if RocketMQ accepts a topic with this name from a client.
func checkName(name string) error {
	if name == "" || len(name) > maxTopicName {
		return fmt.Errorf("%w: %q has %d bytes, RocketMQ wants 1 to %d", store.ErrInvalidTopic, clip(name), len(name), maxTopicName)
	}
	for i := 0; i < len(name); i++ {
		c := name[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("%|-_", c) >= 0 {
			continue
		}
		return fmt.Errorf("%w: %q has characters that RocketMQ refuses; it takes letters, digits and %% | - _", store.ErrInvalidTopic, name)
	}
	if systemTopic(name) {
		return fmt.Errorf("%w: %q is one of RocketMQ's own", store.ErrInvalidTopic, name)
	}
	return nil
}

// ValidTopic implements store.Store. Names that begin with "lmqgate_" are the gateway's own.
func (s *Store) ValidTopic(name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	if strings.HasPrefix(name, ownPrefix) {
		return fmt.Errorf("%w: names that begin with %q are the gateway's own, like %q", store.ErrInvalidTopic, ownPrefix, name)
	}
	return nil
}

// Brokers implements store.Store.
func (s *Store) Brokers(ctx context.Context, topic string) ([]string, error) {
	if err := s.begin(); err != nil {
		return nil, err
	}
	defer s.end()
	if topic == "" {
		st, err := s.routes.current(ctx, routeAge)
		if err != nil {
			return nil, unavailable("list the brokers", err)
		}
		return slices.Clone(st.names), nil
	}
	if rt := s.routes.known(topic); rt != nil && time.Since(rt.at) < routeAge {
		return slices.Clone(rt.brokers), nil
	}
	info, err := s.describe(ctx, topic)
	return info.Brokers, err
}

// Topic implements store.Store.
func (s *Store) Topic(ctx context.Context, name string) (store.TopicInfo, error) {
	if err := s.begin(); err != nil {
		return store.TopicInfo{}, err
	}
	defer s.end()
	return s.describe(ctx, name)
}

func (s *Store) describe(ctx context.Context, name string) (store.TopicInfo, error) {
	rt, err := s.routes.refreshTopic(ctx, name)
	switch {
	case remoting.IsCode(err, remoting.TopicNotExist):
		return store.TopicInfo{}, s.routes.missing(ctx, name)
	case err != nil:
		return store.TopicInfo{}, unavailable("topic "+clip(name), err)
	}
	return store.TopicInfo{Name: name, Queues: rt.queues, Brokers: slices.Clone(rt.brokers)}, nil
}

// CreateTopic implements store.Store. It creates the topic on every broker of every cluster that the name servers know, with one queue on
// brokers that need a single feeder. It also accepts the gateway's own topics.
func (s *Store) CreateTopic(ctx context.Context, name string, queues int) error {
	if err := checkName(name); err != nil {
		return err
	}
	if err := s.begin(); err != nil {
		return err
	}
	defer s.end()
	if rt, err := s.routes.refreshTopic(ctx, name); err == nil && len(rt.writable) > 0 {
		if s.keepOwn(name, queues) {
			s.spread("")
		}
		return nil
	} else if err != nil && !remoting.IsCode(err, remoting.TopicNotExist) {
		return unavailable("create topic "+name, err)
	}
	st, err := s.routes.refreshCluster(ctx)
	switch {
	case err != nil:
		return unavailable("create topic "+name, err)
	case len(st.names) == 0:
		return fmt.Errorf("create topic %q: %w: no broker is registered", name, store.ErrUnavailable)
	}
	g, gctx := errgroup.WithContext(ctx)
	for _, b := range st.names {
		g.Go(func() error { return unavailable("create topic "+name+" on "+b, s.createAt(gctx, st, b, name, queues)) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := s.awaitWritable(ctx, name, st.names); err != nil {
		return err
	}
	s.keepOwn(name, queues)
	return nil
}

// createAt creates a topic on a broker, with as many queues as the broker's version may have.
func (s *Store) createAt(ctx context.Context, st *clusterState, broker, name string, queues int) error {
	queues = max(queues, 1)
	if st.singleFeeder(broker) {
		queues = 1
	}
	return s.createOn(ctx, st.brokers[broker].addr, name, queues)
}

func (s *Store) createOn(ctx context.Context, addr, name string, queues int) error {
	return s.client.CreateTopic(ctx, addr, remoting.TopicConfig{
		Name: name, ReadQueues: queues, WriteQueues: queues, Perm: remoting.PermReadWrite,
	})
}

// awaitWritable returns once all name servers that answer have a route of the topic to all brokers: the producer may ask any of them.
func (s *Store) awaitWritable(ctx context.Context, name string, brokers []string) error {
	for {
		missing := ""
		for _, addr := range s.opts.Namesrv {
			route, err := s.client.TopicRoute(ctx, addr, name)
			if err != nil && !remoting.IsCode(err, remoting.TopicNotExist) {
				continue // the name server is down
			}
			for _, b := range brokers {
				if err != nil || route.Master(b) == "" {
					missing = b
				}
			}
		}
		if missing == "" {
			_, err := s.routes.refreshTopic(ctx, name)
			if err == nil {
				return nil
			}
			missing = err.Error()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("create topic %q: it has no route to %s: %w", name, missing, ctx.Err())
		case <-s.base.Done():
			return store.ErrClosed
		case <-time.After(firstBackoff):
		}
	}
}

// Topics implements store.Store. Topics of brokers that are down are missing from the list.
func (s *Store) Topics(ctx context.Context) ([]store.TopicInfo, error) {
	if err := s.begin(); err != nil {
		return nil, err
	}
	defer s.end()
	st, err := s.routes.current(ctx, routeAge)
	if err != nil {
		return nil, unavailable("list the topics", err)
	}
	var names []string
	if err := s.routes.ask(ctx, func(addr string) (err error) {
		names, err = s.client.AllTopicList(ctx, addr)
		return err
	}); err != nil {
		return nil, unavailable("list the topics", err)
	}
	names = slices.DeleteFunc(names, func(n string) bool {
		// Brokers create topics with their own name and with their cluster's name.
		_, isBroker := st.brokers[n]
		return s.ValidTopic(n) != nil || isBroker || st.isCluster(n)
	})
	slices.Sort(names)
	names = slices.Compact(names)
	infos := make([]store.TopicInfo, len(names))
	if err := s.each(ctx, len(names), func(ctx context.Context, i int) error {
		rt, err := s.routes.refreshTopic(ctx, names[i])
		if remoting.IsCode(err, remoting.TopicNotExist) {
			return nil // deleted meanwhile
		}
		if errors.Is(err, store.ErrInvalidTopic) {
			s.repeat.Warn("topic "+names[i], "a topic is left out", "topic", names[i], "error", err)
			return nil
		}
		if err != nil {
			return unavailable("describe topic "+names[i], err)
		}
		infos[i] = store.TopicInfo{Name: names[i], Queues: rt.queues, Brokers: slices.Clone(rt.brokers)}
		return nil
	}); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(infos, func(i store.TopicInfo) bool { return i.Name == "" }), nil
}

func (st *clusterState) isCluster(name string) bool {
	for _, b := range st.brokers {
		if b.cluster == name {
			return true
		}
	}
	return false
}

// DeleteTopic implements store.Store. The records stay in the brokers' logs until retention removes them, but nothing reads them there.
// Light message queues keep their entries.
func (s *Store) DeleteTopic(ctx context.Context, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	if err := s.begin(); err != nil {
		return err
	}
	defer s.end()
	st, err := s.routes.refreshCluster(ctx)
	if err != nil {
		return unavailable("delete topic "+name, err)
	}
	g, gctx := errgroup.WithContext(ctx)
	for _, b := range st.names {
		g.Go(func() error {
			err := s.client.DeleteTopicInBroker(gctx, st.brokers[b].addr, name)
			if remoting.IsCode(err, remoting.TopicNotExist) {
				err = nil
			}
			return unavailable("delete topic "+name+" on "+b, err)
		})
	}
	for _, addr := range s.opts.Namesrv {
		g.Go(func() error {
			err := s.client.DeleteTopicInNamesrv(gctx, addr, name)
			if remoting.IsCode(err, remoting.TopicNotExist) {
				err = nil
			}
			return unavailable("delete topic "+name+" in "+addr, err)
		})
	}
	err = g.Wait()
	s.routes.forget(name)
	s.own.forget(name)
	s.ownTopics.drop(name)
	return err
}
