package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/lmqgate/lmqgate/internal/mqttload"
)

// benchFlags are the flags of bench.
type benchFlags struct {
	client  clientFlags
	plan    mqttload.Plan
	version string
	output  string
	// compare is the second broker.
	compare, compareUser, comparePassword string
	rounds                                int
}

func newBenchCommand(app *app) *cobra.Command {
	var f benchFlags
	cmd := &cobra.Command{
		Use:   "bench [SCENARIO...]",
		Short: "Measure an MQTT broker: throughput and latency",
		Long: "Plays traffic against a broker of any make and prints rates and latencies. It connects many clients: use it on brokers that are yours.\n" +
			"Without a SCENARIO it plays p2p. The scenarios:\n\n" + scenarioList() + "\n" +
			"With --compare it plays each scenario against two brokers in turns, and prints the median of the ratios.",
		Example: "  lmqgate bench --config conf/standalone.yaml p2p fanout\n" +
			"  lmqgate bench pairs --url mqtt://127.0.0.1:1883 --compare mqtt://127.0.0.1:1884 --rounds 5",
		RunE: func(cmd *cobra.Command, names []string) error {
			f.client.passwordGiven = cmd.Flags().Changed("password")
			return f.run(cmd, names)
		},
	}
	f.client.register(cmd, app)
	_ = cmd.Flags().MarkHidden("id") // each client has its own
	flags := cmd.Flags()
	flags.IntVar(&f.plan.Publishers, "publishers", 0, "`NUMBER` of publishers, or of clients that connect side by side (default: the scenario's)")
	flags.IntVar(&f.plan.Subscribers, "subscribers", 0, "`NUMBER` of subscribers (default: the scenario's)")
	flags.IntVar(&f.plan.Window, "window", 0, "`MESSAGES` that a publisher has in flight (default: the scenario's)")
	flags.IntVarP(&f.plan.QoS, "qos", "q", 1, "quality of service: 0, 1 or 2")
	flags.IntVar(&f.plan.Size, "size", 256, "payload in `BYTES`, at least 20")
	flags.DurationVar(&f.plan.Duration, "duration", 10*time.Second, "`TIME` that is measured")
	flags.DurationVar(&f.plan.Warmup, "warmup", time.Second, "`TIME` before that, which does not count")
	flags.IntVar(&f.plan.Messages, "messages", 0, "`MESSAGES` that wait for the session of catchup (default 100000); elsewhere sent in all, instead of for --duration")
	flags.Float64Var(&f.plan.Rate, "rate", 0, "`MESSAGES` a second of all publishers together (default: as many as possible)")
	flags.StringVar(&f.plan.Topic, "topic", "bench", "first level of all topic `NAMES`")
	flags.StringVarP(&f.version, "mqtt", "V", "3.1.1", "MQTT `VERSION`: 3.1.1 or 5")
	flags.StringVarP(&f.output, "output", "o", "table", "`FORMAT` of the result: table or json")
	flags.StringVar(&f.compare, "compare", "", "`URL` of a second broker, measured in turns with the first")
	flags.StringVar(&f.compareUser, "compare-username", "", "user name at the second broker (default: anonymous)")
	flags.StringVar(&f.comparePassword, "compare-password", "", "password at the second broker")
	flags.IntVar(&f.rounds, "rounds", 5, "`ROUNDS` of --compare")
	return cmd
}

func scenarioList() string {
	var b strings.Builder
	for _, s := range mqttload.Scenarios() {
		fmt.Fprintf(&b, "  %-10s %s\n", s.Name, s.About)
	}
	return b.String()
}

func (f *benchFlags) run(cmd *cobra.Command, names []string) error {
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := oneOf("-o", f.output, "table", "json"); err != nil {
		return err
	}
	if f.rounds < 1 {
		return usagef("--rounds wants 1 or more, not %d", f.rounds)
	}
	if err := checkQoS(f.plan.QoS); err != nil {
		return err
	}
	if f.plan.Warmup == 0 {
		f.plan.Warmup = -1 // none, as opposed to the default
	}
	scenarios, err := findScenarios(names)
	if err != nil {
		return err
	}
	target, err := f.target()
	if err != nil {
		return err
	}
	var other *mqttload.Target
	if f.compare != "" {
		if other, err = f.otherTarget(target.Version); err != nil {
			return err
		}
	}
	for _, s := range scenarios {
		if err := f.play(ctx, cmd, s, target, other); err != nil {
			if ctx.Err() != nil {
				return fmt.Errorf("%s: interrupted", s.Name)
			}
			return fmt.Errorf("%s against %s: %w%s", s.Name, target.Name, err, connectHint(err))
		}
	}
	return nil
}

func findScenarios(names []string) ([]mqttload.Scenario, error) {
	if len(names) == 0 {
		names = []string{"p2p"}
	}
	var out []mqttload.Scenario
	for _, name := range names {
		s, ok := mqttload.Find(name)
		if !ok {
			var known []string
			for _, s := range mqttload.Scenarios() {
				known = append(known, s.Name)
			}
			return nil, usagef("there is no scenario %q; there are %s", name, strings.Join(known, ", "))
		}
		out = append(out, s)
	}
	return out, nil
}

func (f *benchFlags) play(ctx context.Context, cmd *cobra.Command, s mqttload.Scenario, target, other *mqttload.Target) error {
	progress := newProgressLine(cmd.ErrOrStderr(), s.Name)
	defer progress.clear()
	if other != nil {
		c, err := mqttload.Compare(ctx, s, f.plan, target, other, f.rounds, progress.round)
		if err != nil {
			return err
		}
		progress.clear()
		if f.output == "json" {
			return printJSON(cmd.OutOrStdout(), c)
		}
		return printComparison(cmd.OutOrStdout(), c)
	}
	r, err := mqttload.Run(ctx, s, f.plan, target, progress.show)
	if err != nil {
		return err
	}
	progress.clear()
	if f.output == "json" {
		return printJSON(cmd.OutOrStdout(), r)
	}
	return printResults(cmd.OutOrStdout(), r)
}
