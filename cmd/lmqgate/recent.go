package main

import (
	"github.com/spf13/cobra"

	"github.com/lmqgate/lmqgate/core/admin"
)

func newRecentCommand(app *app) *cobra.Command {
	return listing[admin.Event]{
		use: "recent", short: "List the last refusals and disconnections of a running gateway, and why", path: "/api/v1/recent", key: "events",
		header: []any{"TIME", "WHAT", "CLIENT", "USER", "ADDRESS", "REASON", "CAUSE"},
		row: func(e admin.Event) []any {
			return []any{when(e.Time), e.Kind, dash(e.ClientID), dash(e.Username), dash(e.RemoteAddress), e.Reason, dash(e.Cause)}
		},
		whole: true,
	}.command(app)
}
