package main

import (
	"cmp"
	"fmt"
	"net/http"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/lmqgate/lmqgate/core/admin"
)

func newPluginCommand(app *app) *cobra.Command {
	cmd := group(&cobra.Command{Use: "plugin", Short: "Write, check and test plugins, and show those of a running gateway"})
	cmd.AddCommand(newPluginListCommand(app), newPluginInfoCommand(app), newPluginCheckCommand(app), newPluginInitCommand(),
		newPluginTestCommand(), newPluginReloadCommand(app))
	return cmd
}

// pluginEntry is a plugin as the admin API has it.
type pluginEntry = admin.Plugin

// uptimeOf returns the uptime of a plugin's process.
func uptimeOf(p pluginEntry) time.Duration {
	return time.Duration(p.Uptime * float64(time.Second)).Truncate(time.Second)
}

func (f *adminFlags) plugins(cmd *cobra.Command) ([]pluginEntry, error) {
	c, err := f.client()
	if err != nil {
		return nil, err
	}
	var reply struct {
		Plugins []pluginEntry `json:"plugins"`
	}
	if err := c.call(cmd.Context(), http.MethodGet, "/api/v1/plugins", nil, &reply); err != nil {
		return nil, fmt.Errorf("list plugins: %w", err)
	}
	if reply.Plugins == nil {
		reply.Plugins = []pluginEntry{}
	}
	return reply.Plugins, nil
}

func newPluginListCommand(app *app) *cobra.Command {
	var admin adminFlags
	var form output
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the plugins that run",
		Args:  wantArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			asJSON, err := form.json()
			if err != nil {
				return err
			}
			list, err := admin.plugins(cmd)
			switch {
			case err != nil:
				return err
			case asJSON:
				return printJSON(cmd.OutOrStdout(), list)
			}
			rows := make([][]any, 0, len(list))
			for _, p := range list {
				rows = append(rows, []any{p.Name, p.Kind, p.Version, p.State, p.PID, uptimeOf(p), p.Restarts, p.Calls, p.Errors})
			}
			return printTable(cmd, []any{"NAME", "KIND", "VERSION", "STATE", "PID", "UPTIME", "RESTARTS", "CALLS", "ERRORS"}, rows)
		},
	}
	admin.register(cmd, app)
	form.register(cmd)
	return cmd
}

func newPluginInfoCommand(app *app) *cobra.Command {
	var admin adminFlags
	var form output
	cmd := &cobra.Command{
		Use:   "info NAME",
		Short: "Show one plugin",
		Args:  wantArgs("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			asJSON, err := form.json()
			if err != nil {
				return err
			}
			list, err := admin.plugins(cmd)
			if err != nil {
				return err
			}
			for _, p := range list {
				switch {
				case p.Name != args[0]:
				case asJSON:
					return printJSON(cmd.OutOrStdout(), p)
				default:
					return printPlugin(cmd, p)
				}
			}
			return fmt.Errorf("the gateway runs no plugin %q; see lmqgate plugin list", args[0])
		},
	}
	admin.register(cmd, app)
	form.register(cmd)
	return cmd
}

func printPlugin(cmd *cobra.Command, p pluginEntry) error {
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 4, 2, ' ', 0)
	for _, row := range []struct {
		key   string
		value any
	}{
		{"name", p.Name},
		{"kind", p.Kind},
		{"version", p.Version},
		{"contract", p.Contract},
		{"tls", p.Secure},
		{"path", p.Path},
		{"checksum", p.Checksum},
		{"pinned", p.Pinned},
		{"mode", cmp.Or(p.Warning, "checked")},
		{"pid", p.PID},
		{"state", p.State},
		{"uptime", uptimeOf(p)},
		{"restarts", p.Restarts},
		{"calls", p.Calls},
		{"errors", p.Errors},
		{"suspended", p.Suspended},
		{"memory", mebibytes(p.Memory)},
		{"memory limit", mebibytes(p.MemoryLimit)},
		{"last error", p.LastError},
	} {
		if _, err := fmt.Fprintf(w, "%s:\t%s\n", row.key, oneLine(fmt.Sprint(row.value))); err != nil {
			return err
		}
	}
	return w.Flush()
}

// mebibytes formats a number of bytes; 0 means unknown or no limit.
func mebibytes(n uint64) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprintf("%d MiB", n>>20)
}
