package meta

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// sessionTries bounds the attempts to read or write a session that others are changing.
const sessionTries = 6

// LoadSession reads a session; nil without an error if there is none. Errors: ErrUnavailable.
func (m *Meta) LoadSession(ctx context.Context, clientID string) (*Session, error) {
	e, at, err := m.find(ctx, NamespaceSessions, clientID)
	if err != nil || e == nil {
		return nil, err
	}
	return m.completeSession(ctx, e, at)
}

// completeSession decodes a session's record and reads its pages. If the record is unchanged after the pages were read, record and pages
// belong together, because whoever changes a page also writes the record.
func (m *Meta) completeSession(ctx context.Context, e *pluginv1.Entry, at stored) (*Session, error) {
	key := e.GetKey()
	for range sessionTries {
		s, name, err := decodeSession(e, at)
		if err != nil || name == "" {
			return s, err
		}
		if err := m.readPages(ctx, s, name); err != nil {
			return nil, err
		}
		again, now, err := m.find(ctx, NamespaceSessions, key)
		if err != nil || again == nil {
			return nil, err
		}
		if now == at {
			return s, nil
		}
		e, at = again, now
	}
	return nil, fmt.Errorf("read session of client %q: %w: it changes all the time", key, ErrUnavailable)
}

// readPages adds the subscriptions on a session's pages to the session.
func (m *Meta) readPages(ctx context.Context, s *Session, name string) error {
	inline := s.Subscriptions
	for try := 0; ; try++ {
		p := &pages{name: name, at: map[string]place{}}
		subs := slices.Clone(inline)
		_, err := m.backend.list(ctx, NamespaceSubscriptions, name+"/", func(entries []*pluginv1.Entry) error {
			for _, e := range entries {
				some, err := p.read(e)
				if err != nil {
					return err
				}
				subs = append(subs, some...)
			}
			return nil
		})
		if err == nil {
			slices.SortStableFunc(subs, func(a, b Subscription) int { return a.Created.Compare(b.Created) })
			s.Subscriptions, s.pages = subs, p
			return nil
		}
		if !errors.Is(err, ErrUnavailable) || try == sessionTries || pause(ctx, try) != nil {
			return fmt.Errorf("read subscriptions of client %q: %w", s.ClientID, err)
		}
	}
}

// SaveSession writes what has changed of a session that is new or came from LoadSession. The change is durable when it returns. It writes
// nothing if nothing has changed.
//
// If somebody else has written the session in between, the epoch decides. A session whose Epoch is that of the stored record belongs to the
// caller: it is written again, over what an earlier epoch wrote, or over an attempt of its own whose answer was lost. If the stored epoch
// is higher by now, or the session has ended, nothing is written, and the error is ErrSuperseded (fencing). A session whose Epoch is being
// raised (or that is new) fails with ErrConflict: load it again and continue from there.
//
// On a backend without compare-and-set, the check is made before the write, not with it. Other errors: ErrUnavailable and ErrLimit. Two
// goroutines must not save one Session at the same time.
func (m *Meta) SaveSession(ctx context.Context, s *Session) error {
	for try := 1; ; try++ {
		err := m.writeCounted(ctx, s)
		if err == nil {
			s.epoch = s.Epoch
		}
		if !errors.Is(err, ErrConflict) || try == sessionTries {
			return err
		}
		if err := m.catchUp(ctx, s, err); err != nil {
			return err
		}
	}
}

// writeCounted writes a session. A new session needs room, unless it replaces another one.
func (m *Meta) writeCounted(ctx context.Context, s *Session) error {
	if s.stored.revision != 0 {
		return m.writeSession(ctx, s)
	}
	mark, takes := s.Owner().Mark(), sized(s.ClientID, encodeSession(s, s.Subscriptions, ""))
	give, err := m.ledger.take(countSessions, mark, 0, takes, takes, s.Replaces)
	if err != nil {
		return fmt.Errorf("record the session of client %q: %w", s.ClientID, err)
	}
	if err := m.writeSession(ctx, s); err != nil {
		give()
		return err
	}
	s.takes = takes
	m.ledger.written(mark, takes)
	return nil
}

// catchUp prepares a session that another writer has changed for another write, if it still belongs to the caller. If the caller has to
// settle the conflict, it returns conflict.
func (m *Meta) catchUp(ctx context.Context, s *Session, conflict error) error {
	if s.stored.revision == 0 || s.Epoch != s.epoch {
		return conflict
	}
	now, err := m.LoadSession(ctx, s.ClientID)
	switch {
	case err != nil:
		return err
	case now == nil || now.Epoch > s.Epoch:
		return fmt.Errorf("write session of client %q, epoch %d: %w", s.ClientID, s.Epoch, ErrSuperseded)
	}
	m.metrics.conflicts.Inc()
	s.stored, s.pages = now.stored, now.pages
	return nil
}

// writeSession writes what has changed of a session, once.
func (m *Meta) writeSession(ctx context.Context, s *Session) error {
	limit := m.inlineBytes()
	if s.pages != nil {
		limit /= 2 // hysteresis: a session at the limit does not switch back and forth
	}
	size := 0
	for i := range s.Subscriptions {
		size += s.Subscriptions[i].size()
	}
	switch small := size <= limit; {
	case small && s.pages == nil:
		return m.writeRecord(ctx, s, encodeSession(s, s.Subscriptions, ""))
	case small:
		return m.leavePages(ctx, s)
	case s.pages == nil:
		return m.turnPages(ctx, s)
	default:
		return m.revisePages(ctx, s)
	}
}

// writeRecord writes a session's record if it differs from the stored one.
func (m *Meta) writeRecord(ctx context.Context, s *Session, value []byte) error {
	if s.stored.revision != 0 && s.stored.sum == sha256.Sum256(value) {
		return nil
	}
	now, err := m.replace(ctx, NamespaceSessions, s.ClientID, value, s.stored)
	if err == nil {
		s.stored = now
	}
	return err
}

// turnPages moves a session's subscriptions to pages. Nobody sees the pages before the record names them.
func (m *Meta) turnPages(ctx context.Context, s *Session) error {
	p := newPages()
	r := p.revise(s.Subscriptions)
	_, err := m.writer.write(ctx, p.operations(s.ClientID, r)...)
	if err == nil {
		p.stored(r)
		err = m.writeRecord(ctx, s, encodeSession(s, nil, p.name))
	}
	if err != nil {
		if !errors.Is(err, ErrUnavailable) && ctx.Err() == nil { // else the sweep removes them
			p.stored(r)
			_ = m.removePages(ctx, p)
		}
		return err
	}
	s.pages = p
	return nil
}

// leavePages moves a session's subscriptions back into its record.
func (m *Meta) leavePages(ctx context.Context, s *Session) error {
	if err := m.writeRecord(ctx, s, encodeSession(s, s.Subscriptions, "")); err != nil {
		return err
	}
	p := s.pages
	s.pages = nil
	if err := m.removePages(ctx, p); err != nil {
		m.log.Debug("pages of subscriptions that are not used any more stay until the next sweep", "client", s.ClientID, "error", err)
	}
	return nil
}

func (m *Meta) removePages(ctx context.Context, p *pages) error {
	keys := p.all()
	ops := make([]*pluginv1.Operation, len(keys))
	for i, key := range keys {
		ops[i] = remove(NamespaceSubscriptions, key)
	}
	_, err := m.writer.write(ctx, ops...)
	return err
}

// revisePages writes the pages that changed, and the record with each batch of them: the record's revision tells readers and other writers
// about the change.
func (m *Meta) revisePages(ctx context.Context, s *Session) error {
	value := encodeSession(s, nil, s.pages.name)
	r := s.pages.revise(s.Subscriptions)
	if len(r.content) == 0 {
		return m.writeRecord(ctx, s, value)
	}
	now, err := m.replaceWith(ctx, NamespaceSessions, s.ClientID, value, s.stored, s.pages.operations(s.ClientID, r))
	if err != nil {
		return err
	}
	s.pages.stored(r)
	s.stored = now
	return nil
}

// DeleteSession removes a session. Removing one that does not exist is not an error.
func (m *Meta) DeleteSession(ctx context.Context, clientID string) error {
	e, _, err := m.find(ctx, NamespaceSessions, clientID)
	if err != nil {
		return err
	}
	ops := []*pluginv1.Operation{remove(NamespaceSessions, clientID)}
	if _, name, err := decodeSession(e, stored{}); e != nil && err == nil && name != "" {
		s := &Session{ClientID: clientID}
		if err := m.readPages(ctx, s, name); err != nil {
			return err
		}
		for _, key := range s.pages.all() {
			ops = append(ops, remove(NamespaceSubscriptions, key))
		}
	}
	_, err = m.writer.write(ctx, ops...)
	return err
}

// DropSession removes the session s as it was loaded or saved. If somebody has changed it since, the epoch decides as in SaveSession:
// ErrSuperseded if the session now belongs to a newer connection. Removing one that is gone already is not an error.
func (m *Meta) DropSession(ctx context.Context, s *Session) error {
	for try := 1; ; try++ {
		done, err := m.removeIf(ctx, NamespaceSessions, s.ClientID, s.stored)
		if err != nil {
			return err
		}
		if done {
			m.ledger.count(countSessions, s.Owner().Mark(), s.takes.minus())
			break
		}
		now, err := m.LoadSession(ctx, s.ClientID)
		switch {
		case err != nil:
			return err
		case now == nil:
			return nil
		case now.Epoch > s.Epoch:
			return fmt.Errorf("remove session of client %q, epoch %d: %w", s.ClientID, s.Epoch, ErrSuperseded)
		case try == sessionTries:
			return fmt.Errorf("remove session of client %q: %w", s.ClientID, ErrConflict)
		}
		s.stored, s.pages = now.stored, now.pages
	}
	s.stored = stored{}
	if p := s.pages; p != nil {
		s.pages = nil
		return m.removePages(ctx, p)
	}
	return nil
}

// EachSession calls f for every session, in order of client id, until f fails. Unreadable records are logged and skipped.
func (m *Meta) EachSession(ctx context.Context, f func(*Session) error) error {
	_, err := m.scanSessions(ctx, func(e *pluginv1.Entry, at stored, s *Session, name string) error {
		if name != "" {
			var err error
			if s, err = m.completeSession(ctx, e, at); err != nil {
				if errors.Is(err, ErrUnavailable) || ctx.Err() != nil {
					return err
				}
				m.invalid(NamespaceSessions, e.GetKey(), err)
			}
			if s == nil { // removed since, or unreadable
				return nil
			}
		}
		return f(s)
	})
	return err
}

// EachSessionState is EachSession without subscriptions, so sessions with many of them cost nothing extra. The sessions passed to f must
// not be saved.
func (m *Meta) EachSessionState(ctx context.Context, f func(*Session) error) error {
	_, err := m.scanSessions(ctx, func(_ *pluginv1.Entry, _ stored, s *Session, _ string) error {
		s.Subscriptions, s.stored = nil, stored{}
		return f(s)
	})
	return err
}

// scanSessions calls f for every readable record, with the name of its pages. It returns the number of unreadable records.
func (m *Meta) scanSessions(ctx context.Context, f func(e *pluginv1.Entry, at stored, s *Session, pages string) error) (unreadable int,
	err error) {
	generation := m.backend.generation()
	count, end := &tally{}, m.ledger.listing()
	_, err = m.backend.list(ctx, NamespaceSessions, "", func(entries []*pluginv1.Entry) error {
		for _, e := range entries {
			at := seen(e, generation)
			s, name, err := decodeSession(e, at)
			if err != nil {
				m.invalid(NamespaceSessions, e.GetKey(), err)
				unreadable++
				count.add("", sized(e.GetKey(), e.GetValue()))
				continue
			}
			count.add(s.Owner().Mark(), s.takes)
			if err := f(e, at, s, name); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		count = nil
	}
	end(count)
	return unreadable, err
}
