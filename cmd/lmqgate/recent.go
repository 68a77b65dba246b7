package main

import (
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lmqgate/lmqgate/core/admin"
)

func newRecentCommand(app *app) *cobra.Command {
	var client, user, kind string
	return listing[admin.Event]{
		use: "recent", short: "List the last refusals and disconnections of a running cluster, and why",
		long: "Each gateway remembers the last 256 connections that were refused or ended, and the last 256 messages and subscriptions\n" +
			"that were refused, one a second from each client. The log has them all, at level info.",
		path: "/api/v1/recent", key: "events",
		header: []any{"TIME", "NODE", "WHAT", "CLIENT", "USER", "ADDRESS", "TOPIC", "REASON", "CAUSE"},
		row: func(e admin.Event) []any {
			return []any{when(e.Time), dash(e.Node), strings.TrimRight(e.Kind+" "+e.Packet, " "), dash(e.ClientID), dash(e.Username),
				dash(e.RemoteAddress), dash(e.Topic), e.Reason, dash(e.Cause)}
		},
		whole: true,
		query: func(q url.Values) {
			for name, value := range map[string]string{"client_id": client, "username": user, "kind": kind} {
				if value != "" {
					q.Set(name, value)
				}
			}
		},
		check: func() error {
			if kind == "" {
				return nil
			}
			return oneOf("--kind", kind, "refused", "disconnected")
		},
		flags: func(cmd *cobra.Command) {
			cmd.Flags().StringVar(&client, "client-id", "", "only of the client `ID`")
			cmd.Flags().StringVar(&user, "user", "", "only of clients of the user `NAME`")
			cmd.Flags().StringVar(&kind, "kind", "", "only these: refused or disconnected")
		},
	}.command(app)
}
