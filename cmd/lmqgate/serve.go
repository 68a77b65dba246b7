package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/lmqgate/lmqgate/core/config"
	"github.com/lmqgate/lmqgate/core/gateway"
	"github.com/lmqgate/lmqgate/core/limits"
	"github.com/lmqgate/lmqgate/internal/calm"
	"github.com/lmqgate/lmqgate/internal/systemd"
)

// closeTimeout bounds how long a clean stop may take to detach sessions.
const closeTimeout = 30 * time.Second

func newServeCommand(app *app) *cobra.Command {
	var conf configFlags
	var develop developFlags
	cmd := &cobra.Command{
		Use:   "serve --config FILE",
		Short: "Run the gateway",
		Long: "Runs the gateway until SIGTERM or SIGINT, which stops it cleanly; a second one ends it at once.\n" +
			"SIGHUP applies what the configuration says now, as lmqgate reload does.\n" +
			"Once it accepts clients it prints one line on standard output, with the real address of each listener:\n" +
			"  lmqgate ready node=ID tcp=HOST:PORT ws=HOST:PORT admin=HOST:PORT\n" +
			"Without --config it runs on the defaults of docs/configuration.md, which it logs, and wants a RocketMQ on this machine.",
		Args: wantArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			tried, err := develop.parse(&conf)
			if err != nil {
				return err
			}
			read := func() (*config.Config, error) {
				c, err := conf.load()
				if err == nil {
					err = c.CheckPrivate()
				}
				return c, err
			}
			c, err := read()
			if err != nil {
				return err
			}
			warnOfDevelopment(cmd.ErrOrStderr(), tried)
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			// After the first signal, the next one has its default effect.
			context.AfterFunc(ctx, stop)
			return serve(ctx, c, gateway.Options{Reread: read, Develop: tried}, stdio{out: cmd.OutOrStdout(), err: cmd.ErrOrStderr()})
		},
	}
	conf.app = app
	conf.register(cmd)
	develop.register(cmd)
	return cmd
}

// serve runs a gateway until ctx ends.
func serve(ctx context.Context, c *config.Config, o gateway.Options, std stdio) error {
	go limits.NewHeap().Run(ctx)
	log, level := newLogger(c.Log, std.err)
	v, _ := version()
	o.Log, o.LogLevel, o.Version = log, level, v
	if c.Path == "" {
		sayDefaults(log, c)
	}
	g, err := gateway.New(c, o)
	if err != nil {
		return err
	}
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP) // from the start on: SIGHUP must not end the gateway
	defer signal.Stop(hangup)
	err = g.Start(ctx)
	switch {
	case err == nil:
		fmt.Fprintln(std.out, g.ReadyLine())
		printHints(std.out, c, g)
		tell(log, systemd.Ready+"\n"+systemd.Status(g.ReadyLine()))
		go systemd.Watch(ctx, g.Respond)
		reloadAtSignal(ctx, hangup, g, log)
		over := g.DrainTime()
		tell(log, systemd.Stopping+"\n"+systemd.Within(over+2*closeTimeout))
		if over > 0 {
			draining, cancel := context.WithTimeout(context.WithoutCancel(ctx), over+closeTimeout)
			g.Drain(draining, over)
			cancel()
		}
		log.Info("stopping")
	case ctx.Err() != nil:
		err = nil // stopped while it waited for a service
	}
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	if closeErr := g.Close(closing); err == nil {
		err = closeErr
	}
	return err
}

// tell reports a state to the service manager, if there is one.
func tell(log *slog.Logger, state string) {
	if err := systemd.Notify(state); err != nil {
		log.Warn("the service manager cannot be told how the gateway is", "error", err)
	}
}

// sayDefaults logs the settings of a gateway that was started without a configuration file.
func sayDefaults(log *slog.Logger, c *config.Config) {
	var listeners []string
	for _, l := range c.Listeners {
		listeners = append(listeners, string(l.Type)+" "+cmp.Or(l.Address, l.Path))
	}
	messages := "in files in " + c.Store.Local.Path
	if c.Store.Type == config.StoreRocketMQ {
		messages = "in RocketMQ, name servers " + strings.Join(c.Store.RocketMQ.Namesrv, " ")
	}
	log.Warn("no --config is given, so the defaults apply; lmqgate serve --config conf/standalone.yaml runs without RocketMQ",
		"listeners", strings.Join(listeners, ", "), "admin", c.Admin.Address, "messages", messages, "metadata", c.Meta.Plugin, "auth",
		c.Auth.Plugin,
		"data", c.Node.DataDir, "plugins", c.Plugins.Dir)
}

// reloadAtSignal reloads the configuration at each SIGHUP until ctx ends or an operator asks for a drain.
func reloadAtSignal(ctx context.Context, hangup <-chan os.Signal, g *gateway.Gateway, log *slog.Logger) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.DrainAsked():
			return
		case <-hangup:
		}
		tell(log, systemd.Reloading())
		done, err := g.Reload(ctx, "", false)
		tell(log, systemd.Ready)
		for _, p := range done.Plugins {
			if p.Error == "" {
				log.Info("plugin reloaded", "kind", p.Kind, "plugin", p.Name, "result", p.Result)
			}
		}
		if len(done.Applied) > 0 {
			log.Info("changes of the configuration are in force", "keys", strings.Join(done.Applied, " "))
		}
		if len(done.NotApplied) > 0 {
			log.Warn("the configuration has changes that need a restart", "keys", strings.Join(done.NotApplied, " "))
		}
		if err != nil {
			log.Error("reload of the plugins failed; what served goes on", "error", err)
		}
	}
}

// newLogger returns the configured logger, and its adjustable level.
func newLogger(c config.Log, w io.Writer) (*slog.Logger, *slog.LevelVar) {
	level := new(slog.LevelVar)
	_ = level.UnmarshalText([]byte(c.Level)) // the configuration was validated
	opts := &slog.HandlerOptions{Level: level}
	if c.Format == config.LogJSON {
		return slog.New(calm.New(slog.NewJSONHandler(w, opts))), level
	}
	return slog.New(calm.New(slog.NewTextHandler(w, opts))), level
}
