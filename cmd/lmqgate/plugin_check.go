package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/lmqgate/lmqgate/core/config"
	"github.com/lmqgate/lmqgate/core/pluginhost"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

func newPluginCheckCommand(app *app) *cobra.Command {
	var conf configFlags
	var pin bool
	var form output
	cmd := &cobra.Command{
		Use:   "check --config FILE",
		Short: "Start each configured plugin once and say whether it takes its configuration",
		Long: "Checks each plugin that the configuration names as serve does: the file and its permissions, the checksum, the handshake,\n" +
			"its kind, and its configuration. The plugins are not activated: they open nothing, and a running gateway is not disturbed.\n\n" +
			"With --pin, once all are well, the checksums of their executables are written into plugins.checksums of FILE, in place of\n" +
			"older ones. Comments and layout of the file stay. From then on the gateway starts these executables and no others.",
		Args: wantArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := conf.load()
			if err != nil {
				return err
			}
			if pin && c.Path == "" {
				return usagef("--pin wants --config with the file to write to")
			}
			asJSON, err := form.json()
			if err != nil {
				return err
			}
			checked, err := checkPlugins(cmd.Context(), c, pin)
			if err != nil {
				return err
			}
			sums, err := printChecked(cmd, c, checked, asJSON)
			if err != nil || !pin {
				return err
			}
			changed, err := config.Pin(c.Path, sums)
			if err != nil {
				return err
			}
			already := " already"
			if changed {
				already = ""
			}
			if !asJSON {
				fmt.Fprintf(cmd.OutOrStdout(), "pinned in %s%s\n", c.Path, already)
			}
			return nil
		},
	}
	conf.app = app
	conf.register(cmd)
	form.register(cmd)
	cmd.Flags().BoolVar(&pin, "pin", false, "write the checksums of the plugins into the configuration file")
	return cmd
}

// checked is the result of checking one configured plugin.
type checked struct {
	// Place is the place in the configuration that names it: auth, meta or meta.next.
	Place    string `json:"place"`
	Name     string `json:"name"`
	Version  string `json:"version,omitempty"`
	Contract int    `json:"contract,omitempty"`
	Checksum string `json:"checksum,omitempty"`
	Path     string `json:"path,omitempty"`
	// Pinned is the checksum in the configuration.
	Pinned string `json:"pinned,omitempty"`
	// Error says why the gateway would not start with it; empty if it is fine.
	Error string `json:"error,omitempty"`
	err   error
}

// checkPlugins checks the plugins that a configuration names one after the other: see pluginhost.Check. anew ignores pinned checksums.
func checkPlugins(ctx context.Context, c *config.Config, anew bool) (list []checked, err error) {
	host, err := pluginhost.New(pluginhost.Options{
		Dir: c.Plugins.Dir, Checksums: c.Plugins.Checksums, NodeID: "check", DataDir: c.Node.DataDir, ConfigDir: c.Dir,
		StartTimeout: c.Plugins.StartTimeout, MemoryLimit: uint64(c.Plugins.MemoryLimit),
	})
	if err != nil {
		return nil, err
	}
	defer func() {
		if closeErr := host.Close(); err == nil {
			err = closeErr
		}
	}()
	check := func(place, name string, kind pluginv1.Kind, block config.PluginConfig) {
		spec := host.Spec(name, kind, block)
		one := checked{Place: place, Name: name, Pinned: spec.Checksum}
		if anew {
			spec.Checksum = ""
		}
		got, err := host.Check(ctx, spec)
		if err != nil {
			one.err, one.Error = err, errorLine(err)
		} else {
			one.Version, one.Contract, one.Checksum, one.Path = got.Version, got.Contract, got.Checksum, got.Path
		}
		list = append(list, one)
	}
	if !c.Auth.Anonymous() {
		check("auth", c.Auth.Plugin, pluginv1.Kind_KIND_AUTH, c.Auth.Config)
	}
	check("meta", c.Meta.Plugin, pluginv1.Kind_KIND_META, c.Meta.Config)
	if c.Meta.Next.Plugin != "" {
		check("meta.next", c.Meta.Next.Plugin, pluginv1.Kind_KIND_META, c.Meta.Next.Config)
	}
	return list, nil
}

// printChecked prints the results of a check and returns the checksums of the plugins. Its error is that of the first failed plugin; the
// errors of the others are printed as well.
func printChecked(cmd *cobra.Command, c *config.Config, list []checked, asJSON bool) (sums map[string]string, err error) {
	out := cmd.OutOrStdout()
	if asJSON {
		if err := printJSON(cmd.OutOrStdout(), list); err != nil {
			return nil, err
		}
		out = io.Discard
	}
	if c.Auth.Anonymous() {
		fmt.Fprintln(out, "auth: none (every client may do everything)")
	}
	sums = map[string]string{}
	for _, p := range list {
		switch {
		case p.err != nil && err == nil:
			err = p.err
			continue
		case p.err != nil:
			fmt.Fprintln(cmd.ErrOrStderr(), "lmqgate: "+oneLine(p.Error))
			continue
		}
		sums[p.Name] = p.Checksum
		note := ""
		switch {
		case p.Pinned != "" && p.Pinned != p.Checksum:
			note = " (pinned so far: " + p.Pinned + ")"
		case p.Pinned != "":
			note = " (pinned)"
		}
		fmt.Fprintf(out, "%s: %s ok, version %s, %s%s\n", p.Place, oneLine(p.Name), oneLine(p.Version), p.Checksum, note)
	}
	return sums, err
}
