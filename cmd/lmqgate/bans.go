package main

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lmqgate/lmqgate/core/admin"
)

func newBansCommand(app *app) *cobra.Command {
	cmd := group(&cobra.Command{Use: "bans", Short: "List, add and remove bans of a running cluster"})
	cmd.AddCommand(newBansListCommand(app), newBansAddCommand(app), newBansRemoveCommand(app))
	return cmd
}

func newBansListCommand(app *app) *cobra.Command {
	return listing[admin.Ban]{
		use: "list", short: "List who is kept out, of which gateways, and until when",
		path: "/api/v1/bans", key: "bans",
		header: []any{"KIND", "NAME", "UNTIL", "GATEWAYS", "REASON"},
		row: func(b admin.Ban) []any {
			return []any{b.Kind, b.Name, when(b.Until), dash(strings.Join(b.Nodes, ", ")), dash(b.Reason)}
		},
	}.command(app)
}

const banLong = "KIND is address, user or client; flapping and login, for clients that the gateway has banned, are to remove only, by the NAME that the list shows: USER/CLIENT@ADDRESS, with quotes around a USER with / or a CLIENT with @. Of an IPv6 address its network of 64 bits is meant; networks of 56 and 48 bits can be named. A ban is in force on every gateway, also on those that start later, until it ends or is removed."

func newBansAddCommand(app *app) *cobra.Command {
	var flags adminFlags
	var how time.Duration
	var reason string
	cmd := &cobra.Command{
		Use: "add KIND NAME", Short: "Keep an address, a user or a client out, and close its connections", Long: banLong,
		Args: wantArgs("KIND", "NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := oneOf("KIND", args[0], "address", "user", "client"); err != nil {
				return err
			}
			return flags.call(cmd.Context(), http.MethodPost, "/api/v1/bans",
				admin.BanRequest{Kind: args[0], Name: args[1], Reason: reason, Seconds: int64(how / time.Second)}, nil)
		},
	}
	cmd.Flags().DurationVar(&how, "for", time.Hour, "how long")
	cmd.Flags().StringVar(&reason, "reason", "", "why, for those who read the list")
	flags.register(cmd, app)
	return cmd
}

func newBansRemoveCommand(app *app) *cobra.Command {
	var flags adminFlags
	cmd := &cobra.Command{
		Use: "remove KIND NAME", Short: "End a ban", Long: banLong, Args: wantArgs("KIND", "NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := oneOf("KIND", args[0], "address", "user", "client", "flapping", "login"); err != nil {
				return err
			}
			path := "/api/v1/bans/" + url.PathEscape(args[0]) + "/" + url.PathEscape(args[1])
			return flags.call(cmd.Context(), http.MethodDelete, path, nil, nil)
		},
	}
	flags.register(cmd, app)
	return cmd
}
