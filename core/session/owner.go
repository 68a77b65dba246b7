package session

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/lmqgate/lmqgate/core/auth"
	"github.com/lmqgate/lmqgate/core/cluster"
	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/core/topic"
)

// A session belongs to the identity that its client was admitted as. While it lives, another identity gets neither the session nor its
// connection, with or without a clean start. A session of an anonymous client, or one recorded before owners were recorded, has no owner:
// the next client admitted under an identity becomes its owner.

// ErrOwner says that another identity has a session of the client id.
var ErrOwner = errors.New("the client id has a session of another identity")

// Other is an ErrOwner that names the owner.
type Other struct{ Owner meta.Owner }

// Error implements error.
func (o *Other) Error() string {
	return fmt.Sprintf("%v: it belongs to %q, admitted by %s", ErrOwner, o.Owner.Name, o.Owner.Plugin)
}

// Is makes errors.Is(err, ErrOwner) true.
func (o *Other) Is(target error) bool { return target == ErrOwner }

// mayHave returns an error if the session belongs to another identity than the client.
func (m *Manager) mayHave(r Request, owner meta.Owner) error {
	if m.o.AnyOwner || !owner.Known() || owner.Same(r.Owner) {
		return nil
	}
	return &Other{owner}
}

// claimOwner returns the owner of a claim in the cluster: no other identity can take the client id from it. Empty: anybody can.
func (m *Manager) claimOwner(o meta.Owner) string {
	if m.o.AnyOwner || !o.Known() {
		return ""
	}
	sum := sha256.Sum256([]byte(o.Name))
	return hex.EncodeToString(sum[:8])
}

// mayReplace returns an error if the client would close the connection of another identity. A connection that is ending already, and whose
// session ends with it, is no obstacle.
func (m *Manager) mayReplace(r Request, s *Session) error {
	s.mu.Lock()
	over := s.conn == nil || s.ending != nil && s.expiry == 0
	owner := s.owner
	s.mu.Unlock()
	if over {
		return nil // if there is a record, its owner decides
	}
	return m.mayHave(r, owner)
}

// mayResume is mayHave for a recorded session. An expired session has no owner.
func (m *Manager) mayResume(r Request, rec *meta.Session) error {
	if rec == nil || m.due(rec) {
		return nil
	}
	return m.mayHave(r, rec.Owner())
}

// ownsClientID reports whether a connection whose record could not be read at CONNECT owns its client id. With an error the answer is not
// known yet.
func (s *Session) ownsClientID(ctx context.Context) (bool, error) {
	s.mu.Lock()
	unowned, r := s.unowned, Request{ClientID: s.id, Owner: s.owner}
	s.mu.Unlock()
	if !unowned {
		return true, nil
	}
	rec, err := s.m.o.Meta.LoadSession(ctx, s.id)
	if err != nil {
		return false, err
	}
	if err := s.m.mayResume(r, rec); err != nil {
		s.m.log.Warn("the client gets no point-to-point messages", "client", s.id, "error", err)
		return false, nil
	}
	s.mu.Lock()
	s.unowned = false
	s.mu.Unlock()
	return true, nil
}

// Owner returns the owner of the session.
func (s *Session) Owner() meta.Owner {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.owner
}

// maker returns on whose behalf first-level topics are created for the session.
func (s *Session) maker() topic.Maker {
	return topic.Maker{Client: s.id, Identity: s.Owner().Mark()}
}

// Renewed handles the reauthentication of a connected client. If the identity changed, the client has proven both identities, and the
// session moves to the new one. Renewed returns once the change is recorded; after an error the connection must end.
func (s *Session) Renewed(ctx context.Context, c Conn, owner meta.Owner, p *auth.Principal) error {
	ctx, cancel := context.WithTimeout(ctx, detachTimeout)
	defer cancel()
	unlock, err := s.m.lock(ctx, s.id) // no connection is attached or detached meanwhile
	if err != nil {
		return fmt.Errorf("waiting for a newer connection of client %q: %w", s.id, err)
	}
	defer unlock()
	s.mu.Lock()
	if s.conn != c {
		s.mu.Unlock()
		return nil // the connection has ended
	}
	another, anothersWill := s.owner != owner, false
	s.owner = owner
	if s.will != nil && p != nil {
		will := *s.will
		will.By = p
		anothersWill = !bytes.Equal(s.will.By.Record(), p.Record())
		s.will = &will
	}
	claim := s.claim
	s.mu.Unlock()
	if another {
		claim.SetOwner(s.m.claimOwner(owner))
		if err := s.save(ctx); err != nil {
			return fmt.Errorf("recording whose the session is: %w", err)
		}
	}
	if anothersWill {
		if err := s.saveWill(ctx, attachment{reachable: true}); err != nil {
			return fmt.Errorf("recording whose the will is: %w", err)
		}
	}
	return nil
}

// ErrNoSession says that there is no such session, ErrElsewhere that its client is connected to another node.
var (
	ErrNoSession = errors.New("no such session")
	ErrElsewhere = errors.New("the client is connected to another node")
)

// End ends a session for good, whoever owns it: it closes the connection and removes the record and the progress. A delayed will becomes
// due. End returns ErrNoSession, or ErrElsewhere with the node's name. away says that no other node has a connection of the client id,
// whatever the record says.
func (m *Manager) End(ctx context.Context, id string, away bool) error {
	ctx, cancel := context.WithTimeout(ctx, detachTimeout)
	defer cancel()
	unlock, err := m.lock(ctx, id)
	if err != nil {
		return fmt.Errorf("waiting for what client %q is doing: %w", id, err)
	}
	defer unlock()
	found := false
	if s := m.session(id); s != nil {
		s.mu.Lock()
		c := s.conn
		s.ending = nil // ignore what the client said last
		s.mu.Unlock()
		if c != nil {
			found = true
			c.Close(packet.AdministrativeAction, "an operator ended the session")
			s.detach(ctx, c, Ending{Expiry: new(time.Duration)})
		}
	}
	rec, err := m.o.Meta.LoadSession(ctx, id)
	switch {
	case err != nil:
		return err
	case rec == nil && !found:
		return ErrNoSession
	case rec == nil:
	case !away && rec.Node != m.o.NodeID && rec.Disconnected.IsZero() && m.o.Alive != nil && m.o.Alive(rec.Node):
		return fmt.Errorf("%w: %s", ErrElsewhere, rec.Node)
	default:
		if err := m.endRecorded(ctx, rec); err != nil {
			return err
		}
	}
	m.cancelWill(ctx, id, true)
	m.log.Info("session ended by an operator", "client", id)
	return nil
}

// endRecorded ends a session that has no connection here, in the same way as a connection with a clean start would. It claims the client
// id: a connection that has meanwhile appeared on another node is closed, and none can come before the record is gone. Called with the
// client's lock held.
func (m *Manager) endRecorded(ctx context.Context, rec *meta.Session) error {
	id := rec.ClientID
	if m.o.Cluster.Shared() {
		claim, err := m.o.Cluster.Claim(ctx, id, cluster.Want{Owner: m.claimOwner(rec.Owner())})
		if err != nil {
			return err
		}
		defer claim.Release()
		if rec, err = m.o.Meta.LoadSession(ctx, id); err != nil {
			return err
		}
	}
	s := m.session(id)
	if rec != nil {
		if err := m.end(ctx, rec, s); err != nil {
			return err
		}
	}
	if s != nil {
		s.discard(true)
	}
	return nil
}
