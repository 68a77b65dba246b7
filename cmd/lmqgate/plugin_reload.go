package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lmqgate/lmqgate/core/admin"
)

// reloadTimeout bounds the wait for a reload, which starts, tries and stops processes; plugins.start_timeout may be ten minutes.
const reloadTimeout = 25 * time.Minute

func newReloadCommand(app *app) *cobra.Command {
	return reloadCommand(app, &cobra.Command{
		Use:   "reload",
		Short: "Apply what the configuration of a running gateway says now, while clients stay connected",
		Long: "Makes the gateway read its configuration file again. The log level, all of limits.* and mqtt.max_connections are in force at\n" +
			"once, for connected clients too, and plugins are swapped as by lmqgate plugin reload. Certificates are read again by\n" +
			"themselves when their files change. Changes in other parts of the file are named; they need a restart.\n" +
			"SIGHUP to the gateway does the same.",
		Args: wantArgs(),
	})
}

func newPluginReloadCommand(app *app) *cobra.Command {
	return reloadCommand(app, &cobra.Command{
		Use:   "reload [NAME]",
		Short: "Swap plugins of a running gateway for what its configuration says now, while clients stay connected",
		Long: "Makes the gateway read its configuration file again and swap the plugins whose executable, configuration or name has\n" +
			"changed. The new process must start, take its configuration, be healthy and answer a few harmless calls before it takes\n" +
			"over; the old one finishes its calls and is stopped. Where anything fails, the old one goes on, and the error says why.\n" +
			"Without NAME, what has not changed is left alone, and log level and limits are applied, too, as by lmqgate reload; with it,\n" +
			"that plugin alone is swapped in any case. Changes in other parts of the file are named; they need a restart.",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return wantArgs("NAME")(cmd, args)
			}
			return nil
		},
	})
}

// reloadCommand returns a command that requests a reload, of the named plugin if there is an argument.
func reloadCommand(app *app, cmd *cobra.Command) *cobra.Command {
	var flags adminFlags
	var force bool
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := flags.client()
		if err != nil {
			return err
		}
		c.timeout = reloadTimeout
		request := map[string]any{"force": force}
		if len(args) == 1 {
			request["name"] = args[0]
		}
		var done admin.Reloaded
		err = c.call(cmd.Context(), http.MethodPost, "/api/v1/plugins/reload", request, &done)
		printReloaded(cmd.OutOrStdout(), done)
		if err != nil {
			return fmt.Errorf("reload: %w", err)
		}
		return nil
	}
	flags.register(cmd, app)
	cmd.Flags().BoolVar(&force, "force", false, "switch the meta plugin even if it keeps something else than the one that serves")
	return cmd
}

// printReloaded prints a line for each plugin, one for the other applied keys, and one for the keys that need a restart.
func printReloaded(w io.Writer, r admin.Reloaded) {
	for _, p := range r.Plugins {
		switch {
		case p.Error != "":
			fmt.Fprintf(w, "%s: %s stays\n", oneLine(p.Kind), oneLine(p.From))
		case p.Result == admin.Swapped && p.From != p.Name:
			fmt.Fprintf(w, "%s: %s in place of %s, version %s, %s\n", oneLine(p.Kind), oneLine(p.Name), oneLine(p.From), oneLine(p.Version), p.Checksum)
		case p.Result == admin.Swapped:
			fmt.Fprintf(w, "%s: %s swapped, version %s, %s\n", oneLine(p.Kind), oneLine(p.Name), oneLine(p.Version), p.Checksum)
		default:
			fmt.Fprintf(w, "%s: %s unchanged\n", oneLine(p.Kind), oneLine(p.Name))
		}
	}
	if len(r.Applied) > 0 {
		fmt.Fprintf(w, "applied: %s\n", oneLine(strings.Join(r.Applied, ", ")))
	}
	if len(r.NotApplied) > 0 {
		fmt.Fprintf(w, "not applied, restart the gateway for: %s\n", oneLine(strings.Join(r.NotApplied, ", ")))
	}
}
