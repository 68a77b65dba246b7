package main

import (
	"fmt"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/lmqgate/lmqgate/core/admin"
)

func newNodesCommand(app *app) *cobra.Command {
	var flags adminFlags
	var form output
	cmd := &cobra.Command{
		Use: "nodes", Short: "List the gateways of the cluster that live", Args: wantArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			asJSON, err := form.json()
			if err != nil {
				return err
			}
			c, err := flags.client()
			if err != nil {
				return err
			}
			reply := struct {
				Nodes []admin.Node `json:"nodes"`
			}{Nodes: []admin.Node{}}
			if err := c.call(cmd.Context(), http.MethodGet, "/api/v1/nodes", nil, &reply); err != nil {
				return fmt.Errorf("list nodes: %w", err)
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), reply.Nodes)
			}
			rows := make([][]any, 0, len(reply.Nodes))
			for _, n := range reply.Nodes {
				self := ""
				if n.Self {
					self = "answers"
				}
				rows = append(rows, []any{n.ID, when(n.Started), dash(self)})
			}
			return printTable(cmd, []any{"NODE", "STARTED", "NOTE"}, rows)
		},
	}
	flags.register(cmd, app)
	form.register(cmd)
	return cmd
}

func newLogLevelCommand(app *app) *cobra.Command {
	var flags adminFlags
	cmd := &cobra.Command{
		Use: "log-level [debug|info|warn|error]", Short: "Show or set the log level of a running gateway",
		Long: "Without an argument it prints the level. A level that is set holds until the gateway ends.",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef("log-level takes one level at most, not %d", len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := flags.client()
			if err != nil {
				return err
			}
			var reply struct {
				Level string `json:"level"`
			}
			method, body := http.MethodGet, any(nil)
			if len(args) == 1 {
				method, body = http.MethodPut, map[string]string{"level": args[0]}
			}
			if err := c.call(cmd.Context(), method, "/api/v1/log-level", body, &reply); err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), reply.Level)
			return nil
		},
	}
	flags.register(cmd, app)
	return cmd
}
