package main

import (
	"fmt"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/lmqgate/lmqgate/core/admin"
)

func newRebalanceCommand(app *app) *cobra.Command {
	var flags adminFlags
	var form output
	var node string
	var keep, rate int
	cmd := &cobra.Command{
		Use: "rebalance", Short: "Send clients of gateways that have too many to the others", Args: wantArgs(),
		Long: "Every gateway that has more than the average of those that are ready closes as many connections as it has more, so many a second. " +
			"The clients connect again, where the load balancer sends them: use one that prefers the server with the fewest connections. " +
			"Sessions and wills are kept. The command does not wait.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			asJSON, err := form.json()
			switch {
			case err != nil:
				return err
			case rate < 1 || rate > 10_000:
				return usagef("--rate wants 1 to 10000 clients a second, not %d", rate)
			case keep < 0 && cmd.Flags().Changed("keep"):
				return usagef("--keep wants 0 or more, not %d", keep)
			}
			body := map[string]any{"rate": rate}
			if node != "" {
				body["node"] = node
			}
			if keep >= 0 {
				body["keep"] = keep
			}
			var done admin.Rebalanced
			if err := flags.call(cmd.Context(), http.MethodPost, "/api/v1/rebalance", body, &done); err != nil {
				return fmt.Errorf("rebalance: %w", err)
			}
			for _, u := range done.Unanswered {
				fmt.Fprintf(cmd.ErrOrStderr(), "lmqgate: node %s is left as it is: %s\n", oneLine(u.Node), oneLine(u.Error))
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), done)
			}
			rows := make([][]any, 0, len(done.Moves))
			for _, m := range done.Moves {
				rows = append(rows, []any{m.Node, m.Connections, m.Keep, m.Moves})
			}
			return printTable(cmd, []any{"NODE", "CONNECTIONS", "KEEPS", "SENDS OFF"}, rows)
		},
	}
	cmd.Flags().StringVar(&node, "node", "", "only the gateway with this `ID`")
	cmd.Flags().IntVar(&keep, "keep", -1, "how many clients a gateway keeps (default: the average)")
	cmd.Flags().IntVar(&rate, "rate", 50, "how many clients a gateway sends off in a second")
	flags.register(cmd, app)
	form.register(cmd)
	return cmd
}
