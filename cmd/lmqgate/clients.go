package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/lmqgate/lmqgate/core/admin"
)

func newClientsCommand(app *app) *cobra.Command {
	cmd := group(&cobra.Command{Use: "clients", Short: "List, show and disconnect the clients of a running cluster"})
	cmd.AddCommand(newClientsListCommand(app), newClientsShowCommand(app), newClientsKickCommand(app))
	return cmd
}

func newClientsListCommand(app *app) *cobra.Command {
	var which whichClients
	return listing[admin.Client]{
		use: "list", short: "List clients, connected or sleeping",
		long: "Lists the clients that are connected to any gateway of the cluster, and with --state sleeping or all those whose session is kept while " +
			"they are away.",
		path: "/api/v1/clients", key: "clients",
		header: []any{"CLIENT", "USER", "STATE", "NODE", "PROTOCOL", "ADDRESS", "SINCE", "SUBSCRIPTIONS", "IN FLIGHT", "BACKLOG"},
		row: func(c admin.Client) []any {
			subscriptions := "-"
			if c.Subscriptions != nil {
				subscriptions = strconv.Itoa(*c.Subscriptions)
			}
			return []any{c.ClientID, dash(c.Username), stateOf(c), dash(c.Node), dash(c.Protocol), dash(c.RemoteAddress), when(c.Since),
				subscriptions, c.InFlight, countOf(c.Backlog)}
		},
		query: which.query, check: which.check,
		flags: func(cmd *cobra.Command) { which.register(cmd, "connected", "clients") },
	}.command(app)
}

// whichClients are flags that select the listed clients or sessions.
type whichClients struct {
	state, prefix, user string
	backlog             bool
}

// register adds the flags. listed names what is listed.
func (w *whichClients) register(cmd *cobra.Command, state, listed string) {
	cmd.Flags().StringVar(&w.state, "state", state, "which: connected, sleeping or all")
	cmd.Flags().StringVar(&w.prefix, "prefix", "", "only client ids that begin with `TEXT`")
	cmd.Flags().BoolVar(&w.backlog, "backlog", false, "count what waits for each, which takes longer")
	cmd.Flags().StringVar(&w.user, "user", "", "only "+listed+" of the user `NAME`")
}

func (w *whichClients) check() error {
	return oneOf("--state", w.state, "connected", "sleeping", "all")
}

func (w *whichClients) query(q url.Values) {
	q.Set("state", w.state)
	q.Set("prefix", w.prefix)
	q.Set("username", w.user)
	if w.backlog {
		q.Set("backlog", "true")
	}
}

// countOf formats an optional number for a table.
func countOf(n *int64) string {
	if n == nil {
		return "-"
	}
	return strconv.FormatInt(*n, 10)
}

func stateOf(c admin.Client) string {
	if c.Connected {
		return "connected"
	}
	return "sleeping"
}

// dash formats an empty text for a table.
func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// when formats a time for a table.
func when(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format(time.DateTime)
}

func newClientsShowCommand(app *app) *cobra.Command {
	var flags adminFlags
	var form output
	cmd := &cobra.Command{
		Use: "show CLIENT-ID", Short: "Show one client, and how far it is behind in each subscription", Args: wantArgs("CLIENT-ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			asJSON, err := form.json()
			if err != nil {
				return err
			}
			var d admin.ClientDetail
			if err := flags.call(cmd.Context(), http.MethodGet, "/api/v1/clients/"+url.PathEscape(args[0]), nil, &d); err != nil {
				return err
			}
			missing := map[string]string{}
			for _, u := range d.Unanswered {
				missing[u.Node] = u.Error
			}
			reportMissing(cmd, missing)
			if asJSON {
				return printJSON(cmd.OutOrStdout(), d)
			}
			rows := [][]any{
				{"user", dash(d.Username)}, {"state", stateOf(d.Client) + " since " + when(d.Since)}, {"node", dash(d.Node)},
				{"protocol", dash(d.Protocol)}, {"address", dash(d.RemoteAddress)}, {"listener", dash(d.Listener)},
				{"session", sessionOf(d.Client)}, {"in flight", d.InFlight}, {"backlog", d.Backlog},
			}
			if err := printTable(cmd, []any{"client", d.ClientID}, rows); err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout())
			rows = nil
			for _, q := range d.Queues {
				backlog := strconv.FormatInt(q.Messages, 10)
				if q.Messages < 0 {
					backlog = "-"
				}
				filter := q.Filter
				if filter == "" {
					filter = "(point to point)"
				}
				rows = append(rows, []any{filter, q.QoS, when(q.Created), backlog})
			}
			return printTable(cmd, []any{"FILTER", "QOS", "SINCE", "BACKLOG"}, rows)
		},
	}
	flags.register(cmd, app)
	form.register(cmd)
	return cmd
}

func sessionOf(c admin.Client) string {
	switch {
	case !c.Durable:
		return "ends with the connection"
	case c.Expiry < 0:
		return "kept for ever"
	}
	return "kept for " + (time.Duration(c.Expiry) * time.Second).String() + " after the connection"
}

func newClientsKickCommand(app *app) *cobra.Command {
	var flags adminFlags
	cmd := &cobra.Command{
		Use: "kick CLIENT-ID", Short: "Close a client's connection, on whichever gateway it is; its session stays", Args: wantArgs("CLIENT-ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return flags.call(cmd.Context(), http.MethodPost, "/api/v1/clients/"+url.PathEscape(args[0])+"/kick", nil, nil)
		},
	}
	flags.register(cmd, app)
	return cmd
}

func newSubscriptionsCommand(app *app) *cobra.Command {
	var client, matching, filter string
	return listing[admin.Subscription]{
		use: "subscriptions", short: "List the subscriptions of connected clients of the cluster, or of one client",
		path: "/api/v1/subscriptions", key: "subscriptions",
		header: []any{"CLIENT", "FILTER", "QOS"},
		row:    func(s admin.Subscription) []any { return []any{s.ClientID, s.Filter, s.QoS} },
		query: func(q url.Values) {
			q.Set("client_id", client)
			q.Set("matching", matching)
			q.Set("filter", filter)
		},
		flags: func(cmd *cobra.Command) {
			cmd.Flags().StringVar(&client, "client-id", "", "only of the client `ID`, also while it sleeps")
			cmd.Flags().StringVar(&filter, "filter", "", "only of this `FILTER`; $share/GROUP/FILTER has the members of a group")
			cmd.Flags().StringVar(&matching, "matching", "", "only filters that match the topic name `TOPIC`")
		},
	}.command(app)
}
