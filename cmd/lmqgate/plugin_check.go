package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/lmqgate/lmqgate/core/config"
	"github.com/lmqgate/lmqgate/core/pluginhost"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

func newPluginCheckCommand(app *app) *cobra.Command {
	var conf configFlags
	var pin bool
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
			sums, err := checkPlugins(cmd, c, pin)
			if err != nil || !pin {
				return err
			}
			changed, err := config.Pin(c.Path, sums)
			if err != nil {
				return err
			}
			if changed {
				fmt.Fprintf(cmd.OutOrStdout(), "pinned in %s\n", c.Path)
			} else {
				fmt.Fprintf(cmd.OutOrStdout(), "pinned in %s already\n", c.Path)
			}
			return nil
		},
	}
	conf.app = app
	conf.register(cmd)
	cmd.Flags().BoolVar(&pin, "pin", false, "write the checksums of the plugins into the configuration file")
	return cmd
}

// checkPlugins checks the plugins one after the other and returns their checksums. Its error is that of the first that fails; the
// others are checked all the same. anew passes over the checksums that are pinned.
func checkPlugins(cmd *cobra.Command, c *config.Config, anew bool) (sums map[string]string, err error) {
	host, err := pluginhost.New(pluginhost.Options{
		Dir: c.Plugins.Dir, Checksums: c.Plugins.Checksums, NodeID: "check", DataDir: c.Node.DataDir, ConfigDir: c.Dir,
		MemoryLimit: uint64(c.Plugins.MemoryLimit),
	})
	if err != nil {
		return nil, err
	}
	defer func() {
		if closeErr := host.Close(); err == nil {
			err = closeErr
		}
	}()
	sums = map[string]string{}
	out := cmd.OutOrStdout()
	check := func(as, name string, kind pluginv1.Kind, block config.PluginConfig) {
		spec := host.Spec(name, kind, block)
		pinned := spec.Checksum
		if anew {
			spec.Checksum = ""
		}
		got, checkErr := host.Check(cmd.Context(), spec)
		switch {
		case checkErr != nil && err == nil:
			err = checkErr
			return
		case checkErr != nil:
			fmt.Fprintln(cmd.ErrOrStderr(), "lmqgate: "+errorLine(checkErr))
			return
		}
		sums[name] = got.Checksum
		note := ""
		switch {
		case pinned != "" && pinned != got.Checksum:
			note = " (pinned so far: " + pinned + ")"
		case pinned != "":
			note = " (pinned)"
		}
		fmt.Fprintf(out, "%s: %s ok, version %s, %s%s\n", as, oneLine(got.Name), oneLine(got.Version), got.Checksum, note)
	}
	if c.Auth.Anonymous() {
		fmt.Fprintln(out, "auth: none (every client may do everything)")
	} else {
		check("auth", c.Auth.Plugin, pluginv1.Kind_KIND_AUTH, c.Auth.Config)
	}
	check("meta", c.Meta.Plugin, pluginv1.Kind_KIND_META, c.Meta.Config)
	if c.Meta.Next.Plugin != "" {
		check("meta.next", c.Meta.Next.Plugin, pluginv1.Kind_KIND_META, c.Meta.Next.Config)
	}
	return sums, err
}
