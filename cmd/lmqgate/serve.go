package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/lmqgate/lmqgate/core/config"
	"github.com/lmqgate/lmqgate/core/gateway"
)

// closeTimeout bounds how long a clean stop may take to put sessions away.
const closeTimeout = 30 * time.Second

// gcPercent makes the garbage collector run less often than Go's default of 100: the heap is small, so under load it would run
// all the time. It costs a few MiB. GOGC in the environment overrides it.
const gcPercent = 250

func newServeCommand(app *app) *cobra.Command {
	var conf configFlags
	cmd := &cobra.Command{
		Use:   "serve --config FILE",
		Short: "Run the gateway",
		Long: "Runs the gateway until SIGTERM or SIGINT, which stops it cleanly; a second one ends it at once.\n" +
			"Once it accepts clients it prints one line on standard output, with the real address of each listener:\n" +
			"  lmqgate ready node=ID tcp=HOST:PORT ws=HOST:PORT admin=HOST:PORT",
		Args: wantArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := conf.load()
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			// From the first signal on, the next one has its default effect.
			context.AfterFunc(ctx, stop)
			return serve(ctx, c, stdio{out: cmd.OutOrStdout(), err: cmd.ErrOrStderr()})
		},
	}
	conf.app = app
	conf.register(cmd)
	return cmd
}

// serve runs a gateway until ctx ends.
func serve(ctx context.Context, c *config.Config, std stdio) error {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	log := newLogger(c.Log, std.err)
	v, _ := version()
	g, err := gateway.New(c, gateway.Options{Log: log, Version: v})
	if err != nil {
		return err
	}
	err = g.Start(ctx)
	switch {
	case err == nil:
		fmt.Fprintln(std.out, g.ReadyLine())
		printHints(std.out, c, g)
		<-ctx.Done()
		log.Info("stopping")
	case ctx.Err() != nil:
		err = nil // told to stop while it waited for a service
	}
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	if closeErr := g.Close(closing); err == nil {
		err = closeErr
	}
	return err
}

// newLogger returns the logger of the configuration.
func newLogger(c config.Log, w io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.Level)) // the configuration was validated
	opts := &slog.HandlerOptions{Level: level}
	if c.Format == config.LogJSON {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}
