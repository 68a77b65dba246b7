package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/lmqgate/lmqgate/core/config"
	"github.com/lmqgate/lmqgate/core/pluginhost"
)

func newConfigCommand(app *app) *cobra.Command {
	cmd := group(&cobra.Command{Use: "config", Short: "Check a configuration, import one, or describe the keys"})
	cmd.AddCommand(newConfigCheckCommand(app), newConfigImportCommand(), newConfigDocsCommand())
	return cmd
}

func newConfigCheckCommand(app *app) *cobra.Command {
	var show bool
	var sets []string
	cmd := &cobra.Command{
		Use:   "check FILE",
		Short: "Say what is wrong with a configuration file",
		Long: "Reads FILE as serve does, with the environment and --set on top, and prints every problem on a line of its own. The plugins\n" +
			"that it names are started and given their blocks, but not activated: they open nothing, and a running gateway is not\n" +
			"disturbed. Where a plugin is not installed here, the output says that its block was not checked.",
		Args: wantArgs("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := config.Load(args[0], sets, app.environ)
			if err != nil {
				return tellProblems(cmd, err)
			}
			unchecked, problems, err := problemsOf(cmd.Context(), c)
			if err != nil {
				return err
			}
			if len(problems) > 0 {
				return tellProblems(cmd, &config.Error{Problems: problems})
			}
			notes := cmd.OutOrStdout()
			if show {
				notes = cmd.ErrOrStderr()
				_, err = fmt.Fprint(cmd.OutOrStdout(), c.String())
			} else {
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: ok\n", args[0])
			}
			for _, note := range unchecked {
				fmt.Fprintln(notes, oneLine(note))
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&show, "show", false, "print the configuration that results, secrets hidden")
	cmd.Flags().StringArrayVar(&sets, "set", nil, "override one key, `KEY=VALUE` with a value in YAML (repeatable)")
	return cmd
}

func newConfigDocsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "docs",
		Short: "Print the reference of all keys, in Markdown",
		Long:  "Prints a table for each section of the configuration: key, form, default and meaning, as docs/configuration.md has them.",
		Args:  wantArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			reference, err := config.Reference()
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(cmd.OutOrStdout(), reference)
			return err
		},
	}
}

// tellProblems prints all problems except the last, which it returns.
func tellProblems(cmd *cobra.Command, err error) error {
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

// problemsOf returns what serve would refuse in a configuration that loads: files that TLS cannot use or that others may read, and what the
// plugins refuse in their blocks. unchecked has one line for each part that could not be checked here.
func problemsOf(ctx context.Context, c *config.Config) (unchecked []string, problems []config.Problem, err error) {
	problems = append(config.Problems(c.CheckTLS()), config.Problems(c.CheckPrivate())...)
	list, err := checkPlugins(ctx, c, false)
	if err != nil {
		return nil, nil, err
	}
	for _, p := range list {
		var refused *pluginhost.ConfigError
		block, name := p.Place+".config", p.Place+".plugin"
		switch {
		case p.err == nil:
		case errors.Is(p.err, pluginhost.ErrMissing):
			unchecked = append(unchecked, "not checked: "+block+", because "+p.Error)
		case errors.As(p.err, &refused):
			for _, q := range refused.Problems {
				key := block
				if q.Key != "" {
					key += "." + q.Key
				}
				problems = append(problems, config.Problem{Where: c.Where(key), Key: key, Message: q.Message})
			}
		default:
			problems = append(problems, config.Problem{Where: c.Where(name), Key: name, Message: p.Error})
		}
	}
	return unchecked, problems, nil
}
