package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	lmqtopic "github.com/lmqgate/lmqgate/core/topic"
)

// maxMessage is the largest message that MQTT can carry, in bytes.
const maxMessage = 268_435_455

func newPubCommand(app *app) *cobra.Command {
	var (
		client  clientFlags
		topic   string
		message string
		qos     int
		retain  bool
		count   int
	)
	cmd := &cobra.Command{
		Use:   "pub -t TOPIC [-m MESSAGE]",
		Short: "Publish a message",
		Long: "Publishes MESSAGE, or without -m all of standard input as one message, and waits until the gateway acknowledged it (QoS 1 and 2).\n" +
			"With --config it connects to the first tcp listener and computes the password itself.",
		Example: "  lmqgate pub --config conf/standalone.yaml -t sensors/1/temp -m 21.5 -q 1",
		Args:    wantArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if topic == "" {
				return usagef("%s wants a topic: -t TOPIC", cmd.CommandPath())
			}
			if err := lmqtopic.ValidateName(topic); err != nil {
				return usagef("-t: %s", err)
			}
			if count < 1 {
				return usagef("-n wants 1 or more, not %d", count)
			}
			if err := checkQoS(qos); err != nil {
				return err
			}
			client.passwordGiven = cmd.Flags().Changed("password")
			payload := []byte(message)
			if !cmd.Flags().Changed("message") {
				var err error
				if payload, err = io.ReadAll(io.LimitReader(cmd.InOrStdin(), maxMessage+1)); err != nil {
					return fmt.Errorf("read the message from standard input: %w", err)
				}
				if len(payload) > maxMessage {
					return fmt.Errorf("the message on standard input is larger than MQTT's limit of %d bytes", maxMessage)
				}
			}
			c, err := client.connect(cmd.Context(), "pub", true, nil)
			if err != nil {
				return err
			}
			defer c.close()
			for range count {
				if err := c.publish(cmd.Context(), topic, byte(qos), retain, payload); err != nil {
					return err
				}
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&topic, "topic", "t", "", "`TOPIC` to publish to")
	flags.StringVarP(&message, "message", "m", "", "the `MESSAGE` (default: standard input)")
	flags.IntVarP(&qos, "qos", "q", 0, "quality of service: 0, 1 or 2")
	flags.BoolVarP(&retain, "retain", "r", false, "keep the message as the topic's retained message")
	flags.IntVarP(&count, "count", "n", 1, "publish the message `COUNT` times, one after the other")
	client.register(cmd, app)
	client.registerVersion(cmd)
	return cmd
}
