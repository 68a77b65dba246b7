package session

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/lmqgate/lmqgate/core/delivery"
	"github.com/lmqgate/lmqgate/core/session/flight"
	"github.com/lmqgate/lmqgate/core/store"
)

// newFeeds makes the feeds of a new subscription (nil: point to point). They start now. They are placed together with others; see place.
func (s *Session) newFeeds(sub *subscription, refs []store.QueueRef) []*feed {
	feeds := make([]*feed, len(refs))
	for i, ref := range refs {
		feeds[i] = &feed{s: s, sub: sub, at: flight.Unplaced(ref)}
	}
	return feeds
}

// place sets where new feeds start: at the end of their queue. A client that comes from a gateway of Apache RocketMQ MQTT (which keeps no
// record of sessions but commits the same offsets) starts where it left off instead. The feeds of a broker that does not answer are placed
// when it does, and skip records older than the subscription. place returns what failed.
func (s *Session) place(ctx context.Context, feeds []*feed) error {
	return eachBroker(feeds, func(broker string, some []*feed) error {
		err := s.placeOn(ctx, broker, some)
		if err != nil {
			for _, f := range some {
				f.since = time.Now()
			}
		}
		return err
	})
}

// eachBroker calls f concurrently with the feeds of each broker: a broker that does not answer holds up only its own feeds. It returns what
// failed.
func eachBroker(feeds []*feed, f func(broker string, some []*feed) error) error {
	byBroker := make(map[string][]*feed)
	for _, fd := range feeds {
		byBroker[fd.at.Ref.Broker] = append(byBroker[fd.at.Ref.Broker], fd)
	}
	errs := make(chan error, len(byBroker))
	for broker, some := range byBroker {
		go func() { errs <- f(broker, some) }()
	}
	var failed []error
	for range byBroker {
		failed = append(failed, <-errs)
	}
	return errors.Join(failed...)
}

// anyPlaced reports whether at least one broker has answered, or none is needed.
func anyPlaced(feeds []*feed) bool {
	return len(feeds) == 0 || slices.ContainsFunc(feeds, func(f *feed) bool { return f.at.Placed })
}

// placeOn places the feeds on one broker.
func (s *Session) placeOn(ctx context.Context, broker string, feeds []*feed) error {
	cuts := s.m.o.Store.Cuts(broker)
	bounds, err := s.bounds(ctx, broker, feeds)
	if err != nil {
		return err
	}
	left := map[store.QueueRef]int64{}
	if s.adopts {
		for some := range slices.Chunk(feeds, askedTogether) {
			if err := s.committed(ctx, some, left); err != nil {
				return err
			}
		}
	}
	for i, f := range feeds {
		at := bounds[i].Max
		if next, ok := left[f.at.Ref]; ok && next <= at {
			at = max(bounds[i].Min, next)
		}
		f.at.Begin(at)
		f.cuts = cuts
		f.ended = at == bounds[i].Max
	}
	return nil
}

// bounds asks a broker for the beginning and the end of the feeds' queues.
func (s *Session) bounds(ctx context.Context, broker string, feeds []*feed) ([]store.Bounds, error) {
	all := make([]store.Bounds, 0, len(feeds))
	for some := range slices.Chunk(feeds, askedTogether) {
		queues := make([]string, len(some))
		for i, f := range some {
			queues[i] = f.at.Ref.Queue
		}
		ctx, cancel := context.WithTimeout(ctx, placeTimeout)
		bounds, err := s.m.o.Store.BoundsOn(ctx, broker, queues)
		cancel()
		if err != nil {
			return nil, err
		}
		all = append(all, bounds...)
	}
	return all, nil
}

// committed adds to into the committed offsets of a few feeds on one broker.
func (s *Session) committed(ctx context.Context, feeds []*feed, into map[store.QueueRef]int64) error {
	refs := make([]store.QueueRef, len(feeds))
	for i, f := range feeds {
		refs[i] = f.at.Ref
	}
	ctx, cancel := context.WithTimeout(ctx, placeTimeout)
	defer cancel()
	offsets, err := s.m.o.Store.Committed(ctx, s.id, refs)
	for _, o := range offsets {
		into[o.QueueRef] = o.Next
	}
	return err
}

// askedTogether is how many queues a broker is asked about in one question. Each question has its own placeTimeout, so a session may have
// any number of queues. The first unanswered question ends the wait for a broker.
const askedTogether = 1024

// fewFeeds: fewer new feeds than this are simply read one by one.
const fewFeeds = 8

// placeTimeout bounds one broker's answer to one question about queues.
const placeTimeout = 3 * time.Second

// recordedFeed makes a feed whose committed progress is not known yet. If there is none, the feed begins at start.
func recordedFeed(s *Session, sub *subscription, ref store.QueueRef, start int64) *feed {
	return &feed{s: s, sub: sub, at: flight.Recorded(ref, start)}
}

// placeRecorded fetches the progress of unplaced feeds, broker by broker: a broker that does not answer holds up only its own feeds.
func (s *Session) placeRecorded(ctx context.Context) error {
	s.mu.Lock()
	var open []*feed
	s.eachFeed(func(f *feed) {
		if f.at.Ref.Queue != "" && !f.at.Placed {
			open = append(open, f)
		}
	})
	s.mu.Unlock()
	return eachBroker(open, func(broker string, all []*feed) error {
		cuts := s.m.o.Store.Cuts(broker)
		for feeds := range slices.Chunk(all, askedTogether) {
			at := make(map[store.QueueRef]int64, len(feeds))
			if err := s.committed(ctx, feeds, at); err != nil {
				return fmt.Errorf("reading the progress of client %q: %w", s.id, err)
			}
			if err := s.resumeAt(ctx, feeds, at, cuts); err != nil {
				return fmt.Errorf("comparing the progress of client %q with the broker's log: %w", s.id, err)
			}
		}
		return nil
	})
}

// resumeAt places recorded feeds. A committed offset before a feed's start is the progress of an older subscription to the queue. Progress
// in the record may be ahead of the committed offset where a slave, which copies those every ten seconds, has become the master. An offset
// from before the broker's log was cut is moved back to the cut.
func (s *Session) resumeAt(ctx context.Context, feeds []*feed, at map[store.QueueRef]int64, cuts int32) error {
	for _, f := range feeds {
		s.mu.Lock()
		start, placed, mark, reached := f.at.Start, f.at.Placed, s.marks[f.at.Ref.Broker], s.reached[f.at.Ref]
		s.mu.Unlock()
		if placed {
			continue
		}
		committed, ok := at[f.at.Ref]
		next := max(start, committed)
		if mark != "" {
			next = max(next, reached)
		}
		valid, now := next, cuts
		if mark != "" && next > 0 {
			ctx, cancel := context.WithTimeout(ctx, placeTimeout)
			var err error
			valid, now, err = s.m.o.Store.Resume(ctx, f.at.Ref, next, mark)
			cancel()
			if err != nil {
				return err
			}
		}
		s.mu.Lock()
		if !f.at.Placed {
			f.at.Placed, f.cuts = true, now
			if ok {
				f.at.Resume(max(start, committed))
			}
			if ok || next > start {
				f.since = time.Time{}
			}
			if next > max(start, committed) {
				f.at.Ahead(next)
				s.dirty()
			}
			if valid < next {
				f.cut(valid)
				s.dirty()
			}
		}
		s.mu.Unlock()
	}
	return nil
}

// openFeeds opens the feeds of a connection: now whatever the store can open at once, the rest as soon as the store allows. look says
// whether queues may have appeared while the session slept.
func (s *Session) openFeeds(look bool) {
	s.mu.Lock()
	generation, unowned := s.generation, s.unowned
	s.mu.Unlock()
	if unowned { // CONNECT has already waited for the metadata
		s.m.run(func() { s.keepOpening(generation, look) })
		return
	}
	ctx, cancel := context.WithTimeout(s.m.ctx, openTimeout)
	err := s.tryOpen(ctx, generation, look)
	cancel()
	if err != nil {
		s.m.log.Warn("opening a session's queues failed; trying again", "client", s.id, "error", err)
		s.m.run(func() { s.keepOpening(generation, look) })
	}
}

// openTimeout is how long CONNECT waits for the store before it goes on without it.
const openTimeout = 2 * time.Second

func (s *Session) keepOpening(generation uint64, look bool) {
	s.m.retry(retryDelay, 5*openTimeout, func(ctx context.Context) error { return s.tryOpen(ctx, generation, look) })
}

// tryOpen opens the feeds that are not open yet. It also returns nil if the connection has changed.
func (s *Session) tryOpen(ctx context.Context, generation uint64, look bool) error {
	var errs []error
	if look && s.durable() {
		errs = append(errs, s.lookForQueues(ctx))
	}
	if s.durable() {
		errs = append(errs, s.placeRecorded(ctx))
	}
	s.mu.Lock()
	if s.generation != generation || s.conn == nil {
		s.mu.Unlock()
		return nil
	}
	var queues []*feed
	var tails []*subscription
	s.eachFeed(func(f *feed) {
		if f.reader == nil && f.at.Placed && f.at.Ref.Queue != "" {
			queues = append(queues, f)
		}
	})
	for _, sub := range s.subs {
		if !sub.hasTail() {
			tails = append(tails, sub)
		}
	}
	p2p := !s.durable() && len(s.p2p) == 0
	s.mu.Unlock()
	if p2p {
		owns, err := s.ownsClientID(ctx)
		if err != nil {
			return err
		}
		p2p = owns
	}
	if p2p {
		f := &feed{s: s}
		r, err := s.m.o.Hub.LiveP2P(ctx, s.id, f)
		if err != nil {
			return err
		}
		s.mu.Lock()
		if s.generation != generation {
			s.mu.Unlock()
			r.Close()
			return nil
		}
		f.reader = r
		s.p2p = append(s.p2p, f)
		s.mu.Unlock()
		s.feedReady(f)
		s.retainedOnConnect(ctx)
	}
	for _, sub := range tails {
		open := func() error { return s.openTailFeed(ctx, sub, s.m.o.Hub.Loose) }
		if sub.shared() {
			open = func() error { return s.reopenGroupFeed(ctx, sub) }
		}
		if err := open(); err != nil {
			errs = append(errs, fmt.Errorf("filter %q: %w", sub.filter, err))
		}
	}
	errs = append(errs, s.openQueueFeeds(ctx, queues))
	return errors.Join(errs...)
}

type openTail func(ctx context.Context, filter string, owner delivery.Owner) (*delivery.LiveReader, error)

// openTailFeed opens a feed of the tail for a subscription.
func (s *Session) openTailFeed(ctx context.Context, sub *subscription, open openTail) error {
	f := &feed{s: s, sub: sub}
	// The reader may signal before the feed belongs to the subscription. The pump then finds no reader, and feedReady below signals again.
	r, err := open(ctx, sub.filter, f)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == nil { // detached meanwhile: all memory was already given back
		r.Close()
		s.giveMemory(sub)
		return errDetached
	}
	f.reader = r
	sub.feeds = append(sub.feeds, f)
	s.addSubscription(sub)
	s.feedReady(f)
	return nil
}

// openQueueFeeds opens feeds of queues at their cursors. If there are many, each broker is asked in a few questions where their queues end.
// A feed that is at the end needs no first read then: the pump reads one feed at a time, so what waits in one of thousands of queues would
// come late. The readers are open when the broker is asked, so what is stored after its answer reaches them.
func (s *Session) openQueueFeeds(ctx context.Context, feeds []*feed) error {
	return eachBroker(feeds, func(broker string, all []*feed) error {
		var failed []error
		for some := range slices.Chunk(all, askedTogether) {
			readers := make([]*delivery.QueueReader, len(some))
			for i, f := range some {
				var err error
				if readers[i], err = s.openReader(ctx, f); err != nil {
					failed = append(failed, fmt.Errorf("queue %q on %q: %w", f.at.Ref.Queue, broker, err))
				}
			}
			var bounds []store.Bounds
			if len(some) >= fewFeeds {
				bounds, _ = s.bounds(ctx, broker, some) // without an answer each feed is read
			}
			for i, f := range some {
				r := readers[i]
				if r == nil {
					continue
				}
				if bounds != nil && r.Offset() == bounds[i].Max {
					r.AtEnd()
				}
				s.attachReader(f, r)
			}
		}
		return errors.Join(failed...)
	})
}

// openReader opens the reader of a feed of a queue at the feed's cursor.
func (s *Session) openReader(ctx context.Context, f *feed) (r *delivery.QueueReader, err error) {
	if f.sub == nil {
		r, err = s.m.o.Hub.QueueP2P(ctx, s.id, f.at.Ref.Broker, f.at.Start, f.at.Cursor, f)
	} else {
		r, err = s.m.o.Hub.Queue(ctx, f.sub.filter, f.at.Ref, f.at.Start, f.at.Cursor, f)
	}
	if err == nil {
		r.After(f.cuts)
	}
	return r, err
}

// openQueueFeed opens a feed of a queue at its cursor.
func (s *Session) openQueueFeed(ctx context.Context, f *feed) error {
	r, err := s.openReader(ctx, f)
	if err != nil {
		return err
	}
	s.attachReader(f, r)
	return nil
}

// attachReader gives a feed of a queue its reader, or closes the reader if the feed is not wanted any more.
func (s *Session) attachReader(f *feed, r *delivery.QueueReader) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.at.Closed || s.conn == nil {
		r.Close()
		return
	}
	f.reader, f.queue = r, r
	s.feedReady(f)
}

// openReaders opens the readers of new feeds before the broker is asked where their queues end. So messages stored after the answer reach
// the readers, and a reader that begins at the end needs no first read: thousands of first reads would occupy the pump so long that
// messages published meanwhile arrive out of order. If there are few feeds, they are opened and read one by one instead.
func (s *Session) openReaders(ctx context.Context, feeds []*feed) map[*feed]*delivery.QueueReader {
	if len(feeds) < fewFeeds {
		return nil
	}
	readers := make(map[*feed]*delivery.QueueReader, len(feeds))
	for _, f := range feeds {
		if r, err := s.m.o.Hub.Queue(ctx, f.sub.filter, f.at.Ref, 0, 0, f); err == nil { // otherwise it is tried again later
			readers[f] = r
		}
	}
	return readers
}

// handReader gives a placed feed the reader that was opened for it before. It is called before SUBACK, while the feeds wait.
func (s *Session) handReader(f *feed, r *delivery.QueueReader) {
	r.Begin(f.at.Start, f.at.Cursor)
	r.After(f.cuts)
	if f.ended {
		r.AtEnd()
	}
	s.attachReader(f, r)
}

func closeReaders(readers map[*feed]*delivery.QueueReader) {
	for _, r := range readers {
		r.Close()
	}
}
