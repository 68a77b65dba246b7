package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/spf13/cobra"

	"github.com/lmqgate/lmqgate/core/topic"
)

// subRefused is the SUBACK code of a refused filter (MQTT 3.1.1, 3.9.3).
const subRefused = 0x80

func newSubCommand(app *app) *cobra.Command {
	var (
		client     clientFlags
		filters    []string
		qos        int
		count      int
		verbose    bool
		persistent bool
	)
	cmd := &cobra.Command{
		Use:   "sub -t FILTER",
		Short: "Subscribe and print messages",
		Long: "Subscribes and prints the payload of each message on a line, until -n messages came or it is interrupted.\n" +
			"With --config it connects to the first tcp listener and computes the password itself.",
		Example: "  lmqgate sub --config conf/standalone.yaml -t 'sensors/#' -q 1 -v",
		Args:    wantArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(filters) == 0 {
				return usagef("%s wants a topic filter: -t FILTER", cmd.CommandPath())
			}
			for _, f := range filters {
				if err := checkFilter(f); err != nil {
					return usagef("-t: %s", err)
				}
			}
			if err := checkQoS(qos); err != nil {
				return err
			}
			if count < 0 {
				return usagef("-n wants 1 or more, not %d", count)
			}
			if persistent && client.clientID == "" {
				return usagef("--persistent wants a client identifier: -i CLIENT-ID")
			}
			client.passwordGiven = cmd.Flags().Changed("password")
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()

			p := &printer{out: cmd.OutOrStdout(), verbose: verbose, left: count, done: make(chan error, 1)}
			c, err := client.connect(ctx, "sub", !persistent, p.print)
			if err != nil {
				return err
			}
			defer c.close()
			if err := c.subscribe(ctx, filters, byte(qos)); err != nil {
				return err
			}
			select {
			case err := <-p.done:
				return err
			case err := <-c.ended():
				return fmt.Errorf("%s closed the connection: %w; the gateway's log says why", c.address(), err)
			case <-ctx.Done():
				return nil
			}
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVarP(&filters, "topic", "t", nil, "topic `FILTER` to subscribe to (repeatable)")
	flags.IntVarP(&qos, "qos", "q", 0, "quality of service: 0, 1 or 2")
	flags.IntVarP(&count, "count", "n", 0, "end after `COUNT` messages (default: never)")
	flags.BoolVarP(&verbose, "verbose", "v", false, "print the topic before the payload")
	flags.BoolVar(&persistent, "persistent", false, "keep the session on the gateway, so that messages wait for the next call (needs -i)")
	client.register(cmd, app)
	client.registerVersion(cmd)
	return cmd
}

// checkFilter returns nil if a filter can be subscribed to.
func checkFilter(filter string) error {
	_, inner, _, err := topic.ParseShared(filter)
	if err != nil {
		return err
	}
	return topic.ValidateFilter(inner)
}

// subscribe subscribes to all filters and fails if one is refused.
func (c *client) subscribe(ctx context.Context, filters []string, qos byte) error {
	wanted := make(map[string]byte, len(filters))
	for _, f := range filters {
		wanted[f] = qos
	}
	token := c.SubscribeMultiple(wanted, nil)
	if err := c.wait(ctx, token); err != nil {
		return fmt.Errorf("subscribe to %q: %w", strings.Join(filters, " "), err)
	}
	if t, ok := token.(*mqtt.SubscribeToken); ok {
		for _, f := range filters {
			if code, answered := t.Result()[f]; answered && code >= subRefused {
				return fmt.Errorf("subscription to %q refused: not allowed, or a first-level topic that does not exist (lmqgate topic create); the gateway's log says which", f)
			}
		}
	}
	return nil
}

// printer prints messages and acknowledges them once printed. The MQTT client calls it from one goroutine.
type printer struct {
	out     io.Writer
	verbose bool
	left    int // messages until done; 0 at the start means no limit
	ended   bool
	done    chan error
}

func (p *printer) print(_ mqtt.Client, m mqtt.Message) {
	if p.ended {
		return // not acknowledged, so a persistent session gets it again
	}
	line := make([]byte, 0, len(m.Topic())+len(m.Payload())+2)
	if p.verbose {
		line = append(append(line, m.Topic()...), ' ')
	}
	line = append(append(line, m.Payload()...), '\n')
	if _, err := p.out.Write(line); err != nil {
		p.ended = true
		p.done <- fmt.Errorf("write to standard output: %w", err)
		return
	}
	m.Ack()
	if p.left == 1 {
		p.ended = true
		p.done <- nil
	}
	p.left--
}
