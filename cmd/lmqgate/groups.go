package main

import (
	"fmt"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/lmqgate/lmqgate/core/admin"
)

func newGroupsCommand(app *app) *cobra.Command {
	return listing[admin.Group]{
		use: "groups", short: "List the shared groups of a running cluster, with their members and what waits for them",
		long: "lmqgate subscriptions --filter NAME lists the members of a group.",
		path: "/api/v1/groups", key: "groups",
		header: []any{"NAME", "MEMBERS", "BACKLOG"},
		row:    func(g admin.Group) []any { return []any{g.Name, g.Members, g.Backlog} },
	}.command(app)
}

func newBacklogCommand(app *app) *cobra.Command {
	var flags adminFlags
	var form output
	cmd := &cobra.Command{
		Use: "backlog", Short: "Say how much waits for durable sessions of a running cluster, and for which most",
		Long: "Nodes count all the time, so the answer is a little old. lmqgate clients show CLIENT-ID counts one client now, by subscription.",
		Args: wantArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			asJSON, err := form.json()
			if err != nil {
				return err
			}
			var s admin.BacklogSummary
			if err := flags.call(cmd.Context(), http.MethodGet, "/api/v1/backlog", nil, &s); err != nil {
				return err
			}
			missing := map[string]string{}
			for _, u := range s.Unanswered {
				missing[u.Node] = u.Error
			}
			reportMissing(cmd, missing)
			if asJSON {
				return printJSON(cmd.OutOrStdout(), s)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "messages  %d\nbehind    %d of %d sessions\ncounted   %s\n\n", s.Messages, s.Behind, s.Sessions, when(s.Counted))
			rows := make([][]any, 0, len(s.Largest))
			for _, w := range s.Largest {
				rows = append(rows, []any{w.ClientID, w.Messages})
			}
			return printTable(cmd, []any{"CLIENT", "BACKLOG"}, rows)
		},
	}
	flags.register(cmd, app)
	form.register(cmd)
	return cmd
}
