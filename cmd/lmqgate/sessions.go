package main

import (
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/lmqgate/lmqgate/core/admin"
)

func newSessionsCommand(app *app) *cobra.Command {
	cmd := group(&cobra.Command{Use: "sessions", Short: "List and end the sessions of a running cluster"})
	cmd.AddCommand(newSessionsListCommand(app), newSessionsEndCommand(app))
	return cmd
}

func newSessionsListCommand(app *app) *cobra.Command {
	var which whichClients
	return listing[admin.Session]{
		use: "list", short: "List the sessions that are kept while their clients are away",
		path: "/api/v1/sessions", key: "sessions",
		header: []any{"CLIENT", "USER", "STATE", "NODE", "SINCE", "CREATED", "EXPIRES", "BACKLOG"},
		row: func(s admin.Session) []any {
			expires := when(s.Expires)
			if s.Expiry < 0 {
				expires = "never"
			}
			return []any{s.ClientID, dash(s.Username), stateOf(admin.Client{Connected: s.Connected}), dash(s.Node), when(s.Since),
				when(s.Created), expires, countOf(s.Backlog)}
		},
		query: which.query, check: which.check,
		flags: func(cmd *cobra.Command) { which.register(cmd, "all", "sessions") },
	}.command(app)
}

func newSessionsEndCommand(app *app) *cobra.Command {
	var flags adminFlags
	cmd := &cobra.Command{
		Use:   "end CLIENT-ID",
		Short: "End a session for good, whoever it belongs to",
		Long: "Closes the client's connection on whichever gateway it is, and removes its session with its subscriptions and what waits for it.\n" +
			"The client id is free then: whoever connects with it next has it.",
		Args: wantArgs("CLIENT-ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := flags.call(cmd.Context(), http.MethodDelete, "/api/v1/sessions/"+url.PathEscape(args[0]), nil, nil); err != nil {
				return fmt.Errorf("end session %q: %w", args[0], err)
			}
			return nil
		},
	}
	flags.register(cmd, app)
	return cmd
}
