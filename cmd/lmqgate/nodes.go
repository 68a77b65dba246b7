package main

import (
	"fmt"
	"net/http"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/lmqgate/lmqgate/core/admin"
)

func newNodesCommand(app *app) *cobra.Command {
	return listing[admin.Node]{
		use: "nodes", short: "List the gateways of the cluster that live", path: "/api/v1/nodes", key: "nodes", whole: true,
		header: []any{"NODE", "VERSION", "STATE", "CONNECTIONS", "STARTED", "NOTE"},
		row: func(n admin.Node) []any {
			note, connections := n.Error, "-"
			if n.Self {
				note = "answers"
			}
			if n.Connections != nil {
				connections = strconv.Itoa(*n.Connections)
			}
			return []any{n.ID, dash(n.Version), dash(n.State), connections, when(n.Started), dash(note)}
		},
	}.command(app)
}

func newLogLevelCommand(app *app) *cobra.Command {
	var flags adminFlags
	cmd := &cobra.Command{
		Use: "log-level [debug|info|warn|error]", Short: "Show or set the log level of a running gateway",
		Long: "Without an argument it prints the level. A level that is set holds until the gateway ends.",
		Args: func(_ *cobra.Command, args []string) error {
			switch len(args) {
			case 0:
				return nil
			case 1:
				return oneOf("lmqgate log-level", args[0], "debug", "info", "warn", "error")
			}
			return usagef("log-level takes one level at most, not %d", len(args))
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			var reply struct {
				Level string `json:"level"`
			}
			method, body := http.MethodGet, any(nil)
			if len(args) == 1 {
				method, body = http.MethodPut, map[string]string{"level": args[0]}
			}
			if err := flags.call(cmd.Context(), method, "/api/v1/log-level", body, &reply); err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), reply.Level)
			return nil
		},
	}
	flags.register(cmd, app)
	return cmd
}
