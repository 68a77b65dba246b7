package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/lmqgate/lmqgate/core/config"
	"github.com/lmqgate/lmqgate/core/pluginhost"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

func newPluginCheckCommand(app *app) *cobra.Command {
	var conf configFlags
	cmd := &cobra.Command{
		Use:   "check --config FILE",
		Short: "Start each configured plugin once and say whether it takes its configuration",
		Long: "Checks each plugin that the configuration names as serve does: the file and its permissions, the checksum, the handshake,\n" +
			"its kind, and its configuration. The plugins keep their files in a temporary directory meanwhile, so a running gateway\n" +
			"is not disturbed; a path that the configuration gives them is used as it is.",
		Args: wantArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := conf.load()
			if err != nil {
				return err
			}
			dir, err := os.MkdirTemp("", "lmqgate-check-")
			if err != nil {
				return err
			}
			defer os.RemoveAll(dir) //nolint:errcheck // a temporary directory
			return checkPlugins(cmd, c, dir)
		},
	}
	conf.app = app
	conf.register(cmd)
	return cmd
}

// checkPlugins starts and stops the plugins one after the other. Its error is
// that of the first that fails; the others are checked all the same.
func checkPlugins(cmd *cobra.Command, c *config.Config, dataDir string) (err error) {
	host, err := pluginhost.New(pluginhost.Options{
		Dir: c.Plugins.Dir, Checksums: c.Plugins.Checksums, NodeID: "check", DataDir: dataDir, ConfigDir: c.Dir,
	})
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := host.Close(); err == nil {
			err = closeErr
		}
	}()
	out := cmd.OutOrStdout()
	if c.Auth.Anonymous() {
		fmt.Fprintln(out, "auth: none (every client may do everything)")
	} else {
		err = checkPlugin(cmd.Context(), cmd, host, c.Auth.Plugin, pluginv1.Kind_KIND_AUTH, c.Auth.Config)
	}
	metaErr := checkPlugin(cmd.Context(), cmd, host, c.Meta.Plugin, pluginv1.Kind_KIND_META, c.Meta.Config)
	if err == nil {
		return metaErr
	}
	if metaErr != nil {
		fmt.Fprintln(cmd.ErrOrStderr(), "lmqgate: "+errorLine(metaErr))
	}
	return err
}

func checkPlugin(ctx context.Context, cmd *cobra.Command, host *pluginhost.Host, name string, kind pluginv1.Kind, config map[string]any) error {
	p, err := host.Start(ctx, name, kind, config)
	if err != nil {
		return err
	}
	info := p.Info()
	pinned := ""
	if info.Pinned {
		pinned = " (pinned)"
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %s ok, version %s, %s%s\n", oneLine(info.Kind), oneLine(info.Name), oneLine(info.Version), info.Checksum, pinned)
	return err
}
