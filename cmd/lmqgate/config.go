package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/lmqgate/lmqgate/core/config"
)

func newConfigCommand(app *app) *cobra.Command {
	cmd := group(&cobra.Command{Use: "config", Short: "Check a configuration, or import one"})
	cmd.AddCommand(newConfigCheckCommand(app), newConfigImportCommand())
	return cmd
}

func newConfigCheckCommand(app *app) *cobra.Command {
	var show bool
	var sets []string
	cmd := &cobra.Command{
		Use:   "check FILE",
		Short: "Say what is wrong with a configuration file",
		Long: "Reads FILE as serve does, with the environment and --set on top, and prints every problem on a line of its own.\n" +
			"It starts no plugin; \"lmqgate plugin check\" does.",
		Args: wantArgs("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := config.Load(args[0], sets, app.environ)
			if err != nil {
				list := config.Problems(err)
				for i, p := range list {
					if i == len(list)-1 {
						return &config.Error{Problems: list[i:]}
					}
					if _, err := fmt.Fprintln(cmd.ErrOrStderr(), "lmqgate: "+p.String()); err != nil {
						return err
					}
				}
				return err
			}
			if show {
				_, err = fmt.Fprint(cmd.OutOrStdout(), c.String())
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: ok\n", args[0])
			return err
		},
	}
	cmd.Flags().BoolVar(&show, "show", false, "print the configuration that results, secrets hidden")
	cmd.Flags().StringArrayVar(&sets, "set", nil, "override one key, `KEY=VALUE` with a value in YAML (repeatable)")
	return cmd
}
