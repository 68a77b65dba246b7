package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/lmqgate/lmqgate/core/admin"
	"github.com/lmqgate/lmqgate/core/cluster"
	"github.com/lmqgate/lmqgate/core/session"
)

// Answers to operators about clients cover the whole cluster: the node asks the other nodes the questions below, and merges their answers
// with its own. All nodes list their parts in the same order. So a page of the whole list is merged from one page of each node, and the key
// that ends it is where the next page begins on every node.

// The questions that nodes ask each other: argument -> answer.
const (
	askClients       = "clients"       // admin.ClientQuery -> part of admin.Client
	askClient        = "client"        // a client id -> admin.ClientDetail, or null
	askSubscriptions = "subscriptions" // admin.SubscriptionQuery -> part of admin.Subscription
	askKick          = "kick"          // a client id -> whether the client was connected there
	askEnd           = "end"           // a client id -> whether the client was connected there
	askNode          = "node"          // nothing -> nodeState
	askRebalance     = "rebalance"     // surplus -> admin.Move
	askRecent        = "recent"        // admin.RecentQuery -> list of admin.Event
	askBans          = "bans"          // admin.Page -> part of admin.Ban
	askBan           = "ban"           // banOrder -> null
	askUnban         = "unban"         // admin.Ban -> whether there was one
)

// answer answers a question of another node.
func (g *Gateway) answer(ctx context.Context, from, subject string, body []byte) ([]byte, error) {
	b := &backend{g}
	switch subject {
	case askClients:
		return answerTo(body, func(q admin.ClientQuery) (any, error) { return b.clientsHere(q).raw() })
	case askClient:
		return answerTo(body, func(id string) (any, error) { return b.clientHere(ctx, id) })
	case askSubscriptions:
		return answerTo(body, func(q admin.SubscriptionQuery) (any, error) { return b.subscriptionsHere(q).raw() })
	case askKick:
		return answerTo(body, func(id string) (any, error) { return g.sessions.Kick(id), nil })
	case askEnd:
		return answerTo(body, func(id string) (any, error) {
			if _, here := g.sessions.Client(id); !here {
				return false, nil
			}
			return true, g.sessions.End(ctx, id, true)
		})
	case session.AskFilters:
		return g.sessions.LearnFilters(ctx, body)
	case session.AskWills:
		return g.sessions.AnswerWills(ctx, body)
	case askBacklog:
		return json.Marshal(g.backlog.Latest())
	case askGroups:
		return json.Marshal(b.membersHere())
	case askTrace:
		return answerTo(body, func(q traceQuestion) (any, error) { return g.traced(q) })
	case askNode:
		return json.Marshal(b.state())
	case askRecent:
		return answerTo(body, func(q admin.RecentQuery) (any, error) { return b.recentHere(q), nil })
	case askBans:
		return answerTo(body, func(p admin.Page) (any, error) { return b.bansHere(p).raw() })
	case askBan:
		return answerTo(body, func(o banOrder) (any, error) { _, err := b.banHere(o); return nil, err })
	case askUnban:
		return answerTo(body, func(ban admin.Ban) (any, error) { return g.bans.Remove(ban.Kind, ban.Name), nil })
	case askRebalance:
		return answerTo(body, func(s surplus) (any, error) { return b.rebalanceHere(s) })
	}
	return nil, fmt.Errorf("node %s asks about %q, which release %s does not know", from, subject, g.version)
}

func answerTo[Q any](body []byte, f func(Q) (any, error)) ([]byte, error) {
	var q Q
	if err := json.Unmarshal(body, &q); err != nil {
		return nil, fmt.Errorf("the question cannot be read: %w", err)
	}
	a, err := f(q)
	if err != nil {
		return nil, err
	}
	return json.Marshal(a)
}

// answered is the answer of one node.
type answered[A any] struct {
	node string
	what A
}

// ask asks all other nodes, or the named ones. It returns the answers, and the nodes that did not answer.
func ask[A any](ctx context.Context, c *cluster.Cluster, subject string, q any, nodes ...string) ([]answered[A], []admin.Unanswered) {
	if c == nil {
		return nil, nil
	}
	body, err := json.Marshal(q)
	if err != nil {
		return nil, []admin.Unanswered{{Error: err.Error()}} // cannot happen: all questions can be encoded
	}
	var answers []answered[A]
	var missing []admin.Unanswered
	for _, a := range c.Ask(ctx, subject, body, nodes...) {
		got := answered[A]{node: a.Node}
		if a.Err == nil {
			a.Err = json.Unmarshal(a.Body, &got.what)
		}
		if a.Err != nil {
			missing = append(missing, admin.Unanswered{Node: a.Node, Error: a.Err.Error()})
			continue
		}
		answers = append(answers, got)
	}
	return answers, missing
}

// unasked returns the error for a client that was not found while some nodes did not answer; nil if all answered.
func unasked(id string, missing []admin.Unanswered) error {
	if len(missing) == 0 {
		return nil
	}
	var nodes []string
	for _, m := range missing {
		nodes = append(nodes, m.Node)
	}
	return fmt.Errorf("client %q is not connected to the nodes that answer; it may be on %s, which did not: %s", id,
		strings.Join(nodes, ", "), missing[0].Error)
}
