package main

import (
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"
)

func newSessionsCommand(app *app) *cobra.Command {
	cmd := group(&cobra.Command{Use: "sessions", Short: "End sessions of a running gateway"})
	cmd.AddCommand(newSessionsEndCommand(app))
	return cmd
}

func newSessionsEndCommand(app *app) *cobra.Command {
	var admin adminFlags
	cmd := &cobra.Command{
		Use:   "end CLIENT-ID",
		Short: "End a session for good, whoever it belongs to",
		Long: "Closes the client's connection if it is connected to this node, and removes its session with its subscriptions and what waits for it.\n" +
			"The client id is free then: whoever connects with it next has it.",
		Args: wantArgs("CLIENT-ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := admin.call(cmd.Context(), http.MethodDelete, "/api/v1/sessions/"+url.PathEscape(args[0]), nil, nil); err != nil {
				return fmt.Errorf("end session %q: %w", args[0], err)
			}
			return nil
		},
	}
	admin.register(cmd, app)
	return cmd
}
