package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lmqgate/lmqgate/core/admin"
	"github.com/lmqgate/lmqgate/core/cluster"
	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/core/session"
)

// Clients lists the clients of the cluster: those that are connected, as their nodes report, and those with a session in the metadata.
func (b *backend) Clients(ctx context.Context, q admin.ClientQuery) (admin.List[admin.Client], error) {
	if q.Backlog {
		q.Limit = min(q.Limit, backlogPage)
	}
	l := clientList{q: q, began: time.Now(), alive: b.g.alive, answered: map[string]bool{b.g.id: true}}
	if q.State != "sleeping" { // sleeping clients are only in the metadata
		l.parts = append(l.parts, b.clientsHere(q))
		answers, missing := ask[part[admin.Client]](ctx, b.g.cluster, askClients, q)
		for _, a := range answers {
			l.parts = append(l.parts, a.what)
			l.answered[a.node] = true
		}
		l.missing = missing
	}
	list, err := l.page(func(f func(*meta.Session) error) error { return b.g.meta.EachSessionState(ctx, f) })
	if err == nil && q.Backlog {
		err = b.withBacklog(ctx, list.Items)
	}
	return list, err
}

// clientsHere lists the clients connected to this node.
func (b *backend) clientsHere(q admin.ClientQuery) part[admin.Client] {
	found := &firstOf[admin.Client]{n: q.Limit, key: clientKey}
	for _, c := range b.g.sessions.Clients() {
		if wanted(q, c.ClientID, c.Username) {
			found.add(b.connected(&c))
		}
	}
	return found.part()
}

func clientKey(c admin.Client) string { return c.ClientID }

func wanted(q admin.ClientQuery, id, username string) bool {
	return id > q.After && strings.HasPrefix(id, q.Prefix) && (q.Username == "" || q.Username == username)
}

// inState reports whether a client is in the requested state, connected or sleeping.
func inState(q admin.ClientQuery, c admin.Client) bool {
	return q.State == "all" || c.Connected == (q.State == "connected")
}

// clientList collects the parts of a list of clients.
type clientList struct {
	q        admin.ClientQuery
	began    time.Time
	parts    []part[admin.Client] // from the nodes that answered
	answered map[string]bool      // the nodes that answered
	missing  []admin.Unanswered
	alive    func(node string) bool
}

// page merges the parts of the nodes and the session records into a page.
func (l *clientList) page(records func(func(*meta.Session) error) error) (admin.List[admin.Client], error) {
	end := endOf(l.parts)
	live := make(map[string]admin.Client)
	for _, p := range l.parts {
		for _, c := range p.Items {
			// A client that is moving is on two nodes for a moment.
			if other, twice := live[c.ClientID]; within(c.ClientID, end) && (!twice || other.Since.Before(c.Since)) {
				live[c.ClientID] = c
			}
		}
	}
	found := &firstOf[admin.Client]{n: l.q.Limit, key: clientKey}
	for _, c := range live {
		found.add(c)
	}
	err := records(func(rec *meta.Session) error {
		if _, is := live[rec.ClientID]; is || !within(rec.ClientID, end) || !wanted(l.q, rec.ClientID, rec.Username) {
			return nil
		}
		if c := recorded(rec, l.isStale); inState(l.q, c) {
			found.add(c)
		}
		return nil
	})
	p := found.part()
	return admin.List[admin.Client]{Items: p.Items, Next: cmp.Or(p.Next, end), Unanswered: l.missing}, err
}

// isStale reports whether a record wrongly says that a client is connected: its node ended before it could record the disconnection, or has
// answered without the client.
func (l *clientList) isStale(rec *meta.Session) bool {
	if len(l.parts) > 0 && l.answered[rec.Node] {
		return rec.Connected.Before(l.began)
	}
	return !l.alive(rec.Node)
}

// connected describes a client that is connected to this node.
func (b *backend) connected(c *session.Client) admin.Client {
	return admin.Client{ClientID: c.ClientID, Username: c.Username, Connected: true, Node: b.g.id, Protocol: c.Version,
		RemoteAddress: c.RemoteAddr, Listener: c.Listener, Since: c.Connected, Durable: c.Durable, Expiry: expirySeconds(c.Expiry),
		Subscriptions: &c.Subscriptions, InFlight: c.InFlight, Delivered: c.Delivered}
}

// isOf reports whether the connection in a record is one to a running process of one of the nodes.
func isOf(rec *meta.Session, nodes []meta.Node) bool {
	return slices.ContainsFunc(nodes, func(n meta.Node) bool {
		return n.ID == rec.Node && !rec.Connected.Before(n.Started.Truncate(time.Millisecond))
	})
}

// recorded describes a client by its session's record. If the record says that the client is connected, stale decides whether that is
// wrong.
func recorded(rec *meta.Session, stale func(*meta.Session) bool) admin.Client {
	c := admin.Client{ClientID: rec.ClientID, Username: rec.Username, Connected: rec.Disconnected.IsZero(), Node: rec.Node,
		Protocol: packet.Version(rec.ProtocolVersion).String(), Since: rec.Disconnected, Durable: true, Expiry: expirySeconds(rec.Expiry)}
	switch {
	case c.Connected && stale(rec):
		c.Connected = false // nobody has recorded since when
	case c.Connected:
		c.Since = rec.Connected
	}
	return c
}

func expirySeconds(d time.Duration) int64 {
	if d == meta.NeverExpires {
		return -1
	}
	return int64(d / time.Second)
}

// Client describes one client and its backlog.
func (b *backend) Client(ctx context.Context, id string) (admin.ClientDetail, error) {
	here, err := b.clientHere(ctx, id)
	if err != nil || here != nil {
		return orNone(here), err
	}
	answers, missing := ask[*admin.ClientDetail](ctx, b.g.cluster, askClient, id)
	for _, a := range answers {
		if a.what != nil {
			return *a.what, nil
		}
	}
	rec, err := b.g.meta.LoadSession(ctx, id)
	if err == nil && rec == nil {
		err = cmp.Or(unasked(id, missing), noClient(id))
	}
	if err != nil {
		return admin.ClientDetail{}, err
	}
	answered := func(rec *meta.Session) bool {
		return !slices.ContainsFunc(missing, func(m admin.Unanswered) bool { return m.Node == rec.Node })
	}
	out := admin.ClientDetail{Client: recorded(rec, answered), Unanswered: missing}
	return out, b.addBacklogs(ctx, &out, rec)
}

func orNone(d *admin.ClientDetail) admin.ClientDetail {
	if d == nil {
		return admin.ClientDetail{}
	}
	return *d
}

// clientHere describes a client if it is connected to this node; otherwise it returns nil.
func (b *backend) clientHere(ctx context.Context, id string) (*admin.ClientDetail, error) {
	live, here := b.g.sessions.Client(id)
	if !here {
		return nil, nil //nolint:nilnil // not an error
	}
	out := &admin.ClientDetail{Client: b.connected(&live)}
	if live.Durable {
		rec, err := b.g.meta.LoadSession(ctx, id)
		if err != nil || rec != nil {
			if err == nil {
				err = b.addBacklogs(ctx, out, rec)
			}
			return out, err
		}
	}
	subs, _ := b.g.sessions.SubscriptionsOf(id)
	for _, sub := range subs {
		out.Queues = append(out.Queues, admin.Backlog{Filter: sub.Filter, QoS: sub.QoS, Messages: -1})
	}
	return out, nil
}

// addBacklogs adds the backlogs of a recorded session.
func (b *backend) addBacklogs(ctx context.Context, out *admin.ClientDetail, rec *meta.Session) error {
	backlogs, err := b.g.sessions.Backlogs(ctx, rec)
	if err != nil {
		return err
	}
	for _, v := range backlogs {
		out.Queues = append(out.Queues, admin.Backlog{Filter: v.Filter, QoS: v.QoS, Created: v.Created, Messages: v.Messages})
		out.Backlog += max(0, v.Messages)
	}
	return nil
}

func noClient(id string) error {
	return fmt.Errorf("%w: there is no client %q: it is not connected, and no session of it is kept", admin.ErrNotFound, id)
}

// Kick closes a client's connection, on whichever node it is.
func (b *backend) Kick(ctx context.Context, clientID string) error {
	if b.g.sessions.Kick(clientID) {
		return nil
	}
	answers, missing := ask[bool](ctx, b.g.cluster, askKick, clientID)
	for _, a := range answers {
		if a.what {
			return nil
		}
	}
	return cmp.Or(unasked(clientID, missing), fmt.Errorf("%w: client %q is not connected", admin.ErrNotFound, clientID))
}

// EndSession ends a session for good, on the node where its client is connected, or on this node if it is not connected.
func (b *backend) EndSession(ctx context.Context, clientID string) error {
	var missing []admin.Unanswered
	if _, here := b.g.sessions.Client(clientID); !here {
		var answers []answered[bool]
		answers, missing = ask[bool](ctx, b.g.cluster, askEnd, clientID)
		for _, a := range answers {
			if a.what {
				return nil
			}
		}
	}
	err := b.g.sessions.End(ctx, clientID, len(missing) == 0)
	switch {
	case errors.Is(err, session.ErrNoSession):
		return cmp.Or(unasked(clientID, missing), fmt.Errorf("%w: client %q has no session", admin.ErrNotFound, clientID))
	case errors.Is(err, session.ErrElsewhere):
		return admin.Conflict("%w, which does not answer; try again, or end the session there", err)
	case errors.Is(err, cluster.ErrTakenOver), errors.Is(err, cluster.ErrUnanswered):
		return admin.Conflict("the session of client %q cannot be ended now: %w; try again", clientID, err)
	}
	return err
}

// Sessions lists the sessions that outlive their connections, from the metadata.
func (b *backend) Sessions(ctx context.Context, q admin.ClientQuery) (admin.List[admin.Session], error) {
	if q.Backlog {
		q.Limit = min(q.Limit, backlogPage)
	}
	nodes := b.g.meta.Nodes()
	gone := func(rec *meta.Session) bool { return !isOf(rec, nodes) }
	found := &firstOf[admin.Session]{n: q.Limit, key: func(s admin.Session) string { return s.ClientID }}
	err := b.g.meta.EachSessionState(ctx, func(rec *meta.Session) error {
		if !wanted(q, rec.ClientID, rec.Username) {
			return nil
		}
		if c := recorded(rec, gone); inState(q, c) {
			found.add(admin.Session{ClientID: c.ClientID, Username: c.Username, Connected: c.Connected, Node: c.Node, Created: rec.Created,
				Since: c.Since, Expiry: c.Expiry, Expires: rec.ExpiresAt()})
		}
		return nil
	})
	p := found.part()
	if err == nil && q.Backlog {
		err = each(ctx, p.Items, func(ctx context.Context, s *admin.Session) error {
			n, err := waiting{b.g}.Session(ctx, s.ClientID)
			s.Backlog = &n
			return err
		})
	}
	return admin.List[admin.Session]{Items: p.Items, Next: p.Next}, err
}
