package main

import (
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/lmqgate/lmqgate/core/admin"
)

func newRetainedCommand(app *app) *cobra.Command {
	cmd := group(&cobra.Command{Use: "retained", Short: "List, show, set and delete the retained messages of a running gateway"})
	cmd.AddCommand(newRetainedListCommand(app), newRetainedGetCommand(app), newRetainedSetCommand(app), newRetainedDeleteCommand(app))
	return cmd
}

// retainedMessage is a retained message in the admin API.
type retainedMessage struct {
	Topic   string  `json:"topic"`
	Payload *string `json:"payload,omitempty"`
	Base64  []byte  `json:"payload_base64,omitempty"`
	QoS     byte    `json:"qos"`
}

const retainedPath = "/api/v1/retained/message"

func newRetainedListCommand(app *app) *cobra.Command {
	var filter string
	return listing[admin.RetainedMessage]{
		use: "list", short: "List retained messages", path: "/api/v1/retained", key: "retained",
		header: []any{"TOPIC", "BYTES", "QOS", "PUBLISHER", "SINCE", "EXPIRES"},
		row: func(m admin.RetainedMessage) []any {
			return []any{m.Topic, m.Size, m.QoS, dash(m.Publisher), when(m.Created), when(m.Expires)}
		},
		query: func(q url.Values) { q.Set("filter", filter) },
		flags: func(cmd *cobra.Command) {
			cmd.Flags().StringVar(&filter, "filter", "#", "only topics that the topic `FILTER` matches")
		},
	}.command(app)
}

func newRetainedGetCommand(app *app) *cobra.Command {
	var flags adminFlags
	cmd := &cobra.Command{
		Use: "get TOPIC", Short: "Print the payload of a topic's retained message, as it is", Args: wantArgs("TOPIC"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var m retainedMessage
			if err := flags.call(cmd.Context(), http.MethodGet, retainedPath+"?topic="+url.QueryEscape(args[0]), nil, &m); err != nil {
				return err
			}
			payload := m.Base64
			if m.Payload != nil {
				payload = []byte(*m.Payload)
			}
			_, err := cmd.OutOrStdout().Write(payload)
			return err
		},
	}
	flags.register(cmd, app)
	return cmd
}

func newRetainedSetCommand(app *app) *cobra.Command {
	var flags adminFlags
	var message string
	var qos uint8
	cmd := &cobra.Command{
		Use: "set TOPIC -m MESSAGE", Short: "Publish a message and retain it", Args: wantArgs("TOPIC"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if message == "" {
				return usagef("-m wants a message; lmqgate retained delete removes the one that is there")
			}
			m := retainedMessage{Topic: args[0], Payload: &message, QoS: qos}
			return flags.call(cmd.Context(), http.MethodPut, retainedPath, m, nil)
		},
	}
	cmd.Flags().StringVarP(&message, "message", "m", "", "the `MESSAGE`")
	cmd.Flags().Uint8VarP(&qos, "qos", "q", 1, "`QOS` of the message: 0, 1 or 2")
	flags.register(cmd, app)
	return cmd
}

func newRetainedDeleteCommand(app *app) *cobra.Command {
	var flags adminFlags
	cmd := &cobra.Command{
		Use: "delete TOPIC", Short: "Remove a topic's retained message", Args: wantArgs("TOPIC"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return flags.call(cmd.Context(), http.MethodDelete, retainedPath+"?topic="+url.QueryEscape(args[0]), nil, nil)
		},
	}
	flags.register(cmd, app)
	return cmd
}
