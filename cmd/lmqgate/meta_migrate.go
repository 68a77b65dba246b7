package main

import (
	"fmt"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/lmqgate/lmqgate/core/meta/migration"
	"github.com/lmqgate/lmqgate/core/meta/migration/coordinator"
)

func newMetaMigrateCommand(app *app) *cobra.Command {
	var o coordinator.Options
	var from, to string
	cmd := &cobra.Command{
		Use:   "migrate --from FILE [--to FILE]",
		Short: "Move the metadata of running gateways to another backend",
		Long: "Moves the metadata from the backend of one configuration (its section meta) to another, while the gateways run and clients stay\n" +
			"connected: it copies, has every gateway hold its writes for a moment, copies the difference, compares, and has every gateway\n" +
			"change to the new backend. If anything fails, all stay where they are. Without --to, the target is meta.next of --from.\n" +
			"Every gateway needs the target in its own configuration file, under meta.next; no restart is needed for that.\n" +
			"It can be repeated: a move that was interrupted is finished, one that is done is said to be done.",
		Args: wantArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if from == "" {
				return usagef("%s wants a configuration to move from: --from FILE", cmd.CommandPath())
			}
			if o.Wait < time.Second || o.Wait > time.Hour {
				return usagef("--wait wants 1s to 1h, not %s", o.Wait)
			}
			if o.Hold < time.Second || o.Hold > migration.MaxHold {
				return usagef("--hold wants 1s to %s, not %s", migration.MaxHold, o.Hold)
			}
			// An interrupt ends the command cleanly, so that it can notify the gateways.
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			source, err := (&configFlags{app: app, path: from}).load()
			if err != nil {
				return fmt.Errorf("--from: %w", err)
			}
			target, name, block := source, source.Meta.Next.Plugin, source.Meta.Next.Config
			if to != "" {
				if target, err = (&configFlags{app: app, path: to}).load(); err != nil {
					return fmt.Errorf("--to: %w", err)
				}
				name, block = target.Meta.Plugin, target.Meta.Config
			}
			if name == "" {
				return usagef("%s has no meta.next: write the target there, or give --to", from)
			}
			a, err := openMeta(ctx, source, source.Meta.Plugin, source.Meta.Config)
			if err != nil {
				return fmt.Errorf("--from: %w", err)
			}
			defer a.close()
			b, err := openMeta(ctx, target, name, block)
			if err != nil {
				return fmt.Errorf("target: %w", err)
			}
			defer b.close()
			o.From = coordinator.Side{Name: source.Meta.Plugin, Client: a.client(), Traits: a.traits()}
			o.To = coordinator.Side{Name: name, Client: b.client(), Traits: b.traits()}
			o.Say = func(format string, args ...any) {
				fmt.Fprintln(cmd.OutOrStdout(), oneLine(fmt.Sprintf(format, args...)))
			}
			done, err := coordinator.Run(ctx, o)
			if err != nil {
				return err
			}
			return printMigrated(cmd, name, done)
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "configuration `FILE` whose section meta is moved from")
	cmd.Flags().StringVar(&to, "to", "", "configuration `FILE` whose section meta is moved to (default: meta.next of --from)")
	cmd.Flags().DurationVar(&o.Wait, "wait", 2*time.Minute, "how long gateways may take to get ready")
	cmd.Flags().DurationVar(&o.Hold, "hold", 10*time.Second, "how long gateways hold their writes at the most")
	cmd.Flags().BoolVar(&o.Replace, "replace", false, "let the target lose what it holds")
	return cmd
}

func printMigrated(cmd *cobra.Command, name string, done *coordinator.Result) error {
	out := cmd.OutOrStdout()
	if done.Again {
		fmt.Fprintf(out, "the metadata is on %s: an earlier run had moved it\n", name)
	} else {
		fmt.Fprintf(out, "moved to %s: %d entries, %d bytes, sha256 %s; writes were held for %s\n", name, done.Entries, done.Bytes, done.Digest,
			done.Held.Round(time.Millisecond))
	}
	if len(done.Nodes) > 0 {
		fmt.Fprintf(out, "gateways that have moved: %s\n", oneLine(strings.Join(done.Nodes, ", ")))
	}
	if len(done.Late) > 0 {
		fmt.Fprintf(out, "not yet: %s; they hold their writes and follow by themselves\n", oneLine(strings.Join(done.Late, ", ")))
	}
	_, err := fmt.Fprintln(out, "now make meta of every configuration the new backend and take meta.next out")
	return err
}
