package gateway

import (
	"context"

	"golang.org/x/sync/errgroup"

	"github.com/lmqgate/lmqgate/core/admin"
	"github.com/lmqgate/lmqgate/core/backlog"
	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/topic"
)

// Questions between nodes. askBacklog: nothing -> backlog.Summary. askGroups: nothing -> the number of members of each group on that node.
const (
	askBacklog = "backlog"
	askGroups  = "groups"
)

const (
	// backlogPage bounds a page with backlogs, because the backlog of each item costs requests to the store.
	backlogPage = 200
	// counting bounds how many backlogs are counted concurrently.
	counting = 8
)

// waiting is the source of this node's backlog counter. It covers the sessions that are or were last connected here. On the leader it also
// covers the sessions of lost nodes, and all groups.
type waiting struct{ g *Gateway }

var _ backlog.Source = waiting{}

// Sessions implements backlog.Source.
func (w waiting) Sessions(ctx context.Context) ([]string, error) {
	var ids []string
	leads := w.g.meta.Leads()
	err := w.g.meta.EachSessionState(ctx, func(rec *meta.Session) error {
		if rec.Node == w.g.id || leads && !w.g.alive(rec.Node) {
			ids = append(ids, rec.ClientID)
		}
		return nil
	})
	return ids, err
}

// Session implements backlog.Source.
func (w waiting) Session(ctx context.Context, client string) (int64, error) {
	rec, err := w.g.meta.LoadSession(ctx, client)
	if err != nil || rec == nil {
		return 0, err
	}
	backlogs, err := w.g.sessions.Backlogs(ctx, rec)
	var sum int64
	for _, b := range backlogs {
		sum += max(0, b.Messages)
	}
	return sum, err
}

// Groups implements backlog.Source.
func (w waiting) Groups(context.Context) ([]string, error) {
	if !w.g.meta.Leads() {
		return nil, nil
	}
	return w.g.meta.Groups(), nil
}

// Group implements backlog.Source.
func (w waiting) Group(ctx context.Context, group string) (int64, error) {
	return w.g.sessions.GroupBacklog(ctx, group)
}

// Backlog returns the backlog of the whole cluster, and the clients with the largest backlogs.
func (b *backend) Backlog(ctx context.Context) (admin.BacklogSummary, error) {
	counts := []backlog.Summary{b.g.backlog.Latest()}
	answers, missing := ask[backlog.Summary](ctx, b.g.cluster, askBacklog, nil)
	for _, a := range answers {
		counts = append(counts, a.what)
	}
	s := backlog.Merge(counts)
	out := admin.BacklogSummary{Counted: s.At, Messages: s.Messages, Sessions: s.Counted, Behind: s.Behind, Unanswered: missing}
	for _, c := range s.Sessions {
		out.Largest = append(out.Largest, admin.Waiting{ClientID: c.Name, Messages: c.Messages})
	}
	return out, nil
}

// Groups lists the shared groups of the cluster.
func (b *backend) Groups(ctx context.Context, p admin.Page) (admin.List[admin.Group], error) {
	members := b.membersHere()
	answers, missing := ask[map[string]int](ctx, b.g.cluster, askGroups, nil)
	for _, a := range answers {
		for filter, n := range a.what {
			members[filter] += n
		}
	}
	p.Limit = min(p.Limit, backlogPage)
	found := &firstOf[admin.Group]{n: p.Limit, key: func(g admin.Group) string { return g.Name }}
	for _, name := range b.g.meta.Groups() {
		if name <= p.After {
			continue
		}
		group, filter, _, _ := topic.ParseShared(name)
		found.add(admin.Group{Name: name, Group: group, Filter: filter, Members: members[name]})
	}
	page := found.part()
	err := each(ctx, page.Items, func(ctx context.Context, g *admin.Group) (err error) {
		g.Backlog, err = b.g.sessions.GroupBacklog(ctx, g.Name)
		return err
	})
	return admin.List[admin.Group]{Items: page.Items, Next: page.Next, Unanswered: missing}, err
}

// membersHere returns the number of members of each group that are connected to this node.
func (b *backend) membersHere() map[string]int {
	out := map[string]int{}
	for _, s := range b.g.sessions.Subscriptions() {
		if s.ShareGroup != "" {
			out[s.Filter]++
		}
	}
	return out
}

// withBacklog adds the backlog of each durable client of a page.
func (b *backend) withBacklog(ctx context.Context, clients []admin.Client) error {
	return each(ctx, clients, func(ctx context.Context, c *admin.Client) error {
		if !c.Durable {
			return nil
		}
		n, err := waiting{b.g}.Session(ctx, c.ClientID)
		c.Backlog = &n
		return err
	})
}

// each calls f for every item, up to counting at a time, and returns the first error.
func each[T any](ctx context.Context, items []T, f func(context.Context, *T) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(counting)
	for i := range items {
		g.Go(func() error { return f(ctx, &items[i]) })
	}
	return g.Wait()
}
