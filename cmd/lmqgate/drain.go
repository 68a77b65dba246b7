package main

import (
	"net/http"
	"time"

	"github.com/spf13/cobra"
)

func newDrainCommand(app *app) *cobra.Command {
	var flags adminFlags
	var over time.Duration
	cmd := &cobra.Command{
		Use: "drain", Short: "Move the clients of a running gateway to the others, and end it", Args: wantArgs(),
		Long: "The gateway turns not ready and takes no connections any more. It closes those that it has one after another, evenly over the time " +
			"of --over, so that the other gateways are not all called at once, and then ends. Sessions and wills are kept. The command does not wait.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if over < 0 || over > time.Hour {
				return usagef("--over wants a time up to 1h, not %s", over)
			}
			return flags.call(cmd.Context(), http.MethodPost, "/api/v1/drain", map[string]int{"seconds": int(over.Round(time.Second) / time.Second)}, nil)
		},
	}
	cmd.Flags().DurationVar(&over, "over", 30*time.Second, "`TIME` over which the connections are closed")
	flags.register(cmd, app)
	return cmd
}
