package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/lmqgate/lmqgate/core/config"
	"github.com/lmqgate/lmqgate/plugins/sdk/plugintest"
)

func newPluginTestCommand() *cobra.Command {
	var (
		profile string
		sets    []string
		only    string
		asJSON  bool
		form    output
		start   time.Duration
	)
	cmd := &cobra.Command{
		Use:   "test EXECUTABLE",
		Short: "Test whether a plugin keeps the plugin contract",
		Long: "Runs the cases of the plugin contract against an executable in any language, as a gateway would run it, and prints how\n" +
			"each went: for a failure what was asked, what came, and the rule. The exit status is 1 where a case fails.\n\n" +
			"A profile (YAML) holds the plugin's configuration under config, and for an auth plugin sample requests under allow and\n" +
			"deny. Without --profile it is plugintest.yaml beside the executable, or none. In texts of config, ${DIR} is the\n" +
			"profile's directory and ${TMP} a temporary one.",
		Example: "  lmqgate plugin test ./auth-mine --profile plugintest.yaml\n" +
			"  lmqgate plugin test bin/plugins/meta-etcd --profile plugins/meta-etcd/plugintest.yaml --set 'config.endpoints=[\"127.0.0.1:2379\"]'",
		Args: wantArgs("EXECUTABLE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if start < time.Second || start > 10*time.Minute {
				return usagef("--start-timeout wants 1s to 10m, not %s", start)
			}
			wanted, err := form.json()
			if err != nil {
				return err
			}
			opts := plugintest.Options{StartTimeout: start}
			if only != "" {
				if opts.Only, err = regexp.Compile(only); err != nil {
					return usagef("--run is no regular expression: %s", err)
				}
			}
			p, err := loadProfile(args[0], profile, sets)
			if err != nil {
				return err
			}
			return testPlugin(cmd, args[0], p, opts, asJSON || wanted)
		},
	}
	cmd.Flags().StringVar(&profile, "profile", "", "profile `FILE` (default plugintest.yaml beside the executable, where there is one)")
	cmd.Flags().StringArrayVar(&sets, "set", nil, "override a key of the profile's config, `config.KEY=VALUE` with a value in YAML (repeatable)")
	cmd.Flags().DurationVar(&start, "start-timeout", config.DefaultStartTimeout, "how long it may take until its handshake line, as plugins.start_timeout")
	cmd.Flags().StringVar(&only, "run", "", "run only the cases whose GROUP/NAME matches this regular `EXPRESSION`, and those that bring the plugin up")
	form.register(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "as -o json")
	return cmd
}

// loadProfile loads the named profile, or the one beside the executable if there is one.
func loadProfile(executable, path string, sets []string) (plugintest.Profile, error) {
	if path == "" {
		path = filepath.Join(filepath.Dir(executable), plugintest.ProfileName)
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return plugintest.ParseProfile(nil, sets...)
		}
	}
	return plugintest.LoadProfile(path, sets...)
}

func testPlugin(cmd *cobra.Command, executable string, profile plugintest.Profile, opts plugintest.Options, asJSON bool) error {
	// Ctrl-C also stops the plugin's processes cleanly.
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	out := cmd.OutOrStdout()
	if !asJSON {
		opts.Progress = out
	}
	report, err := plugintest.Run(ctx, plugintest.Executable(executable), profile, opts)
	switch {
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("the test of %s was interrupted", executable)
	case err != nil:
		return fmt.Errorf("test %s: %w", executable, err)
	}
	if asJSON {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(report); err != nil {
			return err
		}
	}
	n := report.Count(plugintest.Failed)
	if !report.Started && n > 0 {
		return fmt.Errorf("%s did not start: %s", executable, strings.TrimPrefix(report.Results[0].Problem, "it did not start: "))
	}
	if n > 0 {
		return fmt.Errorf("%s fails %d of %d cases", executable, n, len(report.Results))
	}
	return nil
}
