package rocketmq

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/remoting"
)

// An offset is not the identity of a record. If a slave that was behind becomes the master, or a broker's disk loses what was not written,
// the newest records are gone, and others take their offsets. The log of such a broker is cut.
//
// The process notes the newest record that it has read from each broker: its place in the log, the time at which it was stored, and who
// stored it. A broker's process never takes back what it has handed out, so the log can be cut only where a connection ends. Over each new
// connection the noted record is read again before anything else counts. If it is there, so is all that was in the log before it. That
// costs one read for each connection, and nothing for a message.
//
// Readers remember after how many cuts their offsets are valid. After a cut each of them finds out where the cut is in its own queue; see
// resume.

// lineages are the lineages of all brokers' logs.
type lineages struct {
	mu       sync.Mutex
	byBroker map[string]*lineage
}

func (ls *lineages) of(broker string) *lineage {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	l := ls.byBroker[broker]
	if l == nil {
		if ls.byBroker == nil {
			ls.byBroker = make(map[string]*lineage)
		}
		l = &lineage{comparing: make(chan struct{}, 1)}
		ls.byBroker[broker] = l
	}
	return l
}

// lineage is what this process knows about the log of one broker.
type lineage struct {
	comparing chan struct{} // holds a token while the log is compared

	mu     sync.Mutex
	conn   uint64 // the connection to which newest belongs; 0: none
	newest mark
	cuts   []mark // the newest record before each cut
	// found are marks that the log has, so that many sessions with one mark cost one read.
	found map[store.Mark]struct{}
}

// maxFound bounds lineage.found.
const maxFound = 1024

// mark is one record of a broker's log. The zero value is none.
type mark struct {
	Topic  string
	Queue  int32
	Offset int64
	// Log is the record's place in the log, Time when the broker stored it, and Host who stored it: a slave copies the host of the master.
	Log, Time int64
	Host      netip.AddrPort
}

func markOf(m *remoting.Message) mark {
	return mark{m.Topic, m.Queue, m.QueueOffset, m.LogOffset, m.StoreTime, m.StoreHost}
}

// is reports whether a message is the marked record.
func (m mark) is(msg *remoting.Message) bool {
	return msg.LogOffset == m.Log && msg.StoreTime == m.Time && msg.StoreHost == m.Host
}

// covers reports whether a message was in the log whose newest record is m. For a message that another host stored, the time decides, and
// the clocks of hosts may differ.
func (m mark) covers(msg *remoting.Message) bool {
	before := m.Time
	if msg.StoreHost != m.Host {
		before -= clockSkew.Milliseconds() + 1
	}
	return msg.LogOffset <= m.Log && msg.StoreTime <= before
}

// take notes the newest record of an answer, and returns how often the log had been cut by then. It returns false if the log has to be
// compared first.
func (l *lineage) take(res *remoting.PullResult) (cuts int32, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn != res.Connection {
		if l.newest != (mark{}) {
			return 0, false
		}
		l.conn = res.Connection
	}
	if n := len(res.Messages); n > 0 && (l.newest == mark{} || res.Messages[n-1].LogOffset > l.newest.Log) {
		l.newest = markOf(&res.Messages[n-1])
	}
	return int32(len(l.cuts)), true
}

// count returns how often the log was cut.
func (l *lineage) count() int32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int32(len(l.cuts))
}

// compare finds out whether a broker's log was cut, over the present connection.
func (s *Store) compare(ctx context.Context, name string, l *lineage) error {
	select {
	case l.comparing <- struct{}{}:
		defer func() { <-l.comparing }()
	case <-ctx.Done():
		return ctx.Err()
	}
	l.mu.Lock()
	m, before := l.newest, l.conn
	l.mu.Unlock()
	if m == (mark{}) {
		return nil
	}
	found, conn, err := s.find(ctx, name, m)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case conn == before: // another one has compared it
	case l.newest != m: // an answer over the old connection came meanwhile
	case found == present:
		l.conn = conn
	default:
		l.cuts = append(l.cuts, m)
		l.newest, l.conn, l.found = mark{}, conn, nil
		s.own.interrupted(name)
		if found == expired {
			break
		}
		s.log.Warn("a broker is back without its newest records; readers go back to where they are missing", "broker", name,
			"missing topic", m.Topic, "queue", m.Queue, "offset", m.Offset)
	}
	return nil
}

// finding is what became of a marked record.
type finding int

const (
	lost    finding = iota // the log has another record in its place, or ends before it
	present                // it is there, and all that was before it
	expired                // retention has removed it, so nobody can tell
)

// find looks for a marked record, and says over which connection the answer came.
func (s *Store) find(ctx context.Context, name string, m mark) (f finding, conn uint64, err error) {
	res, err := s.pullOnce(ctx, name, remoting.PullRequest{Group: pullGroup, Topic: m.Topic, Queue: m.Queue, Offset: m.Offset, Max: 1})
	var refused *remoting.Error
	switch {
	case errors.As(err, &refused) && refused.Code != remoting.SystemBusy && refused.Code != remoting.ServiceNotAvailable:
		return lost, refused.Connection, nil // the topic is gone
	case err != nil:
		return lost, 0, err
	case len(res.Messages) > 0 && m.is(&res.Messages[0]):
		return present, res.Connection, nil
	case res.Min > m.Offset:
		return expired, res.Connection, nil
	}
	return lost, res.Connection, nil
}

// marking is what a store.Mark says. process and cuts tell which process has made it, after how many cuts.
type marking struct {
	mark

	process string
	cuts    int32
}

// text returns the mark. It is short and without quotes, because each session's record has it.
func (m *marking) text() store.Mark {
	return store.Mark(fmt.Sprint(m.Topic, " ", m.Queue, " ", m.Offset, " ", m.Log, " ", m.Time, " ", m.Host, " ", m.process, " ", m.cuts))
}

// parse reads the text of a mark.
func parse(text store.Mark) (m marking, err error) {
	var host string
	_, err = fmt.Sscan(string(text), &m.Topic, &m.Queue, &m.Offset, &m.Log, &m.Time, &host, &m.process, &m.cuts)
	if err == nil {
		m.Host, err = netip.ParseAddrPort(host)
	}
	if err != nil {
		return marking{}, fmt.Errorf("mark %q of a broker's log: %w", text, err)
	}
	return m, nil
}

// Cuts implements store.Store.
func (s *Store) Cuts(broker string) int32 { return s.lineages.of(broker).count() }

// Mark implements store.Store.
func (s *Store) Mark(broker string, cuts int32) store.Mark {
	l := s.lineages.of(broker)
	l.mu.Lock()
	m := l.newest
	if int(cuts) < len(l.cuts) {
		m = l.cuts[cuts]
	}
	l.mu.Unlock()
	if m == (mark{}) {
		return ""
	}
	return (&marking{m, s.process, cuts}).text()
}

// Resume implements store.Store.
func (s *Store) Resume(ctx context.Context, q store.QueueRef, next int64, m store.Mark) (int64, int32, error) {
	if err := s.begin(); err != nil {
		return 0, 0, err
	}
	defer s.end()
	at, cuts, err := s.resume(ctx, q.Broker, lmqPrefix+q.Queue, 0, next, m)
	if err != nil {
		return 0, 0, fmt.Errorf("resume queue %q on %q at %d: %w", clip(q.Queue), q.Broker, next, err)
	}
	return at, cuts, nil
}

// resume is Resume for any queue of a broker.
func (s *Store) resume(ctx context.Context, name, topic string, id int32, next int64, text store.Mark) (at int64, cuts int32, err error) {
	l := s.lineages.of(name)
	var m marking
	if text != "" {
		if m, err = parse(text); err != nil { // of another store
			s.log.Debug("going on without a mark that cannot be read", "broker", name, "error", err)
		}
	}
	for range maxPulls {
		cuts = l.count()
		if m.mark == (mark{}) || next <= 0 || m.process == s.process && m.cuts == cuts || l.has(text) {
			return next, cuts, nil
		}
		f, err := s.look(ctx, name, m.mark)
		if err != nil {
			return 0, 0, err
		}
		if f == present {
			if l.keep(text, cuts) {
				return next, cuts, nil
			}
			continue
		}
		at, same, err := s.search(ctx, name, remoting.PullRequest{Group: pullGroup, Topic: topic, Queue: id, Max: 1}, next, m.mark, cuts)
		if err != nil {
			return 0, 0, err
		}
		if same {
			return at, cuts, nil
		}
	}
	return 0, 0, brokerError(name, fmt.Errorf("%w: its log keeps changing", store.ErrUnavailable))
}

// look is find over a connection that was compared.
func (s *Store) look(ctx context.Context, name string, m mark) (finding, error) {
	l := s.lineages.of(name)
	for range maxPulls {
		f, conn, err := s.find(ctx, name, m)
		if err != nil {
			return lost, err
		}
		if _, ok := l.take(&remoting.PullResult{Connection: conn}); ok {
			return f, nil
		}
		if err := s.compare(ctx, name, l); err != nil {
			return lost, err
		}
	}
	return lost, brokerError(name, fmt.Errorf("%w: its connections keep breaking", store.ErrUnavailable))
}

// has reports whether the log is known to have a mark.
func (l *lineage) has(m store.Mark) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.found[m]
	return ok
}

// keep notes that the log has a mark, unless it was cut meanwhile.
func (l *lineage) keep(m store.Mark, cuts int32) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if int(cuts) != len(l.cuts) {
		return false
	}
	if l.found == nil || len(l.found) >= maxFound {
		l.found = make(map[store.Mark]struct{})
	}
	l.found[m] = struct{}{}
	return true
}

// search returns the first offset of a queue, at most next, whose record a mark does not cover. same is false if the log was cut again. The
// records that a mark covers come before those that others have taken the place of, so it looks back in growing steps and then halves the
// last one.
func (s *Store) search(ctx context.Context, name string, req remoting.PullRequest, next int64, m mark, cuts int32) (at int64, same bool,
	err error) {
	same = true
	var bounds pullAnswer
	covered := func(offset int64) bool {
		if err != nil || !same {
			return true // the search ends soon
		}
		req.Offset = offset
		if bounds, err = s.pull(ctx, name, req); err != nil {
			return true
		}
		same = bounds.cuts == cuts
		return len(bounds.Messages) > 0 && bounds.Next == offset+1 && m.covers(&bounds.Messages[0])
	}
	if covered(next - 1) {
		return next, same, err
	}
	end := min(next, bounds.Max)
	first := min(max(bounds.Min, 0), end)
	if end == first || end < next && covered(end-1) {
		return end, same, err
	}
	known, other := first-1, end-1 // covered, and not
	for step := int64(1); other-step > known; step *= 2 {
		if covered(other - step) {
			known = other - step
			break
		}
		other -= step
	}
	for other-known > 1 {
		if middle := known + (other-known)/2; covered(middle) {
			known = middle
		} else {
			other = middle
		}
	}
	return other, same, err
}
