package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/lmqgate/lmqgate/core/admin"
	"github.com/lmqgate/lmqgate/core/config"
	"github.com/lmqgate/lmqgate/core/doctor"
	"github.com/lmqgate/lmqgate/core/gateway"
	"github.com/lmqgate/lmqgate/core/pluginhost"
	"github.com/lmqgate/lmqgate/core/store/rocketmq"
	"github.com/lmqgate/lmqgate/remoting"
)

func newDoctorCommand(app *app) *cobra.Command {
	var flags adminFlags
	var form output
	cmd := &cobra.Command{
		Use:   "doctor --config FILE",
		Short: "Look for what keeps a gateway from serving well, and say what to do about it",
		Long: "Checks, for the gateway of a configuration and on this machine: the configuration itself, who may read its secrets,\n" +
			"certificates and when they expire, whether its addresses are free, its directories and disk, open files and memory, the\n" +
			"plugins and the services behind them, RocketMQ's name servers and brokers, their light message queues, versions, disks\n" +
			"and clocks, and whether each topic is on each broker. It changes nothing. Run it as the user that the gateway runs as.\n" +
			"Each finding has its remedy. The status is 1 where there is a fault; warnings alone leave it 0.",
		Args: wantArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			asJSON, err := form.json()
			if err != nil {
				return err
			}
			found, err := diagnose(cmd.Context(), &flags)
			if err != nil {
				return err
			}
			if asJSON {
				err = printJSON(cmd.OutOrStdout(), found)
			} else {
				err = printFindings(cmd, found)
			}
			if err != nil {
				return err
			}
			if n := count(found, doctor.Fault); n > 0 {
				return fmt.Errorf("doctor: faults: %d, warnings: %d", n, count(found, doctor.Warning))
			}
			return nil
		},
	}
	flags.register(cmd, app)
	form.register(cmd)
	return cmd
}

func count(found []doctor.Finding, level string) (n int) {
	for _, f := range found {
		if f.Level == level {
			n++
		}
	}
	return n
}

// diagnose runs the checks for the configuration that the flags name.
func diagnose(ctx context.Context, flags *adminFlags) ([]doctor.Finding, error) {
	c, err := flags.config.load()
	if err != nil {
		problems := config.Problems(err)
		if len(problems) == 0 {
			return nil, err
		}
		var found []doctor.Finding
		for _, p := range problems {
			found = append(found, doctor.Finding{Level: doctor.Fault, Area: "configuration", What: p.String(),
				Remedy: "correct the file; docs/configuration.md and lmqgate config docs have all keys"})
		}
		return found, nil
	}
	found := []doctor.Finding{{Level: doctor.OK, Area: "configuration", What: "every key is known and has a value that can be used"}}
	o := doctor.Options{Config: c, Running: serves(ctx, flags)}
	o.Plugins = func(ctx context.Context) []doctor.Finding { return judgePlugins(ctx, c) }
	if c.Store.Type == config.StoreRocketMQ {
		settings, err := gateway.RocketMQ(c.Store.RocketMQ)
		if err != nil {
			return nil, err
		}
		o.RocketMQ = remoting.New(settings.Remoting())
		defer func() { _ = o.RocketMQ.Close() }()
		settings.NodeID = "doctor"
		st, err := rocketmq.New(settings) // only for the rules of topic names; never started
		if err != nil {
			return nil, err
		}
		defer func() { _ = st.Close() }()
		o.ValidTopic = func(name string) bool { return st.ValidTopic(name) == nil }
	}
	return append(found, doctor.Run(ctx, o)...), nil
}

// serves reports whether a gateway answers at the admin address of the flags, with their token.
func serves(ctx context.Context, flags *adminFlags) bool {
	c, err := flags.client()
	if err != nil {
		return false
	}
	c.timeout = 3 * time.Second
	var info admin.Info
	return c.call(ctx, http.MethodGet, "/api/v1/info", nil, &info) == nil && info.Node != ""
}

// judgePlugins checks the plugins of a configuration as lmqgate plugin check does.
func judgePlugins(ctx context.Context, c *config.Config) (found []doctor.Finding) {
	list, err := checkPlugins(ctx, c, false)
	if err != nil {
		return []doctor.Finding{doctor.FromError(errorLine(err), "correct plugins.dir")}
	}
	for _, p := range list {
		if p.err == nil {
			continue
		}
		what := p.Place + ": " + p.Error
		f := doctor.Finding{Level: doctor.Fault, What: what}
		var refused *pluginhost.ConfigError
		switch {
		case errors.Is(p.err, pluginhost.ErrMissing):
			f.Remedy = "put its executable into " + c.Plugins.Dir + ", or name another directory in plugins.dir"
		case errors.As(p.err, &refused):
			f.Remedy = "correct " + p.Place + ".config; the README of the plugin has its keys"
		default:
			f = doctor.FromError(what, "run lmqgate plugin check, which starts it alone")
		}
		found = append(found, f)
	}
	return found
}

// printFindings prints a line for each finding, followed by a line with the remedy.
func printFindings(cmd *cobra.Command, found []doctor.Finding) error {
	for _, f := range found {
		if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%-8s %s: %s\n", f.Level, f.Area, oneLine(f.What)); err != nil {
			return err
		}
		if f.Remedy == "" {
			continue
		}
		if _, err := fmt.Fprintf(cmd.OutOrStdout(), "         -> %s\n", oneLine(f.Remedy)); err != nil {
			return err
		}
	}
	return nil
}
