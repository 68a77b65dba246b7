package main

import (
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"
)

func newTopicCommand(app *app) *cobra.Command {
	cmd := group(&cobra.Command{Use: "topic", Short: "Create, list and delete first-level topics of a running gateway"})
	cmd.AddCommand(newTopicCreateCommand(app), newTopicListCommand(app), newTopicDeleteCommand(app))
	return cmd
}

// topicEntry is a first-level topic in the admin API.
type topicEntry struct {
	Name    string   `json:"name"`
	Queues  int      `json:"queues,omitempty"`
	Brokers []string `json:"brokers,omitempty"`
}

func newTopicCreateCommand(app *app) *cobra.Command {
	var admin adminFlags
	var queues int
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Create a first-level topic",
		Long:  "Creates the topic in the store and registers it, so that clients may publish and subscribe below NAME/.",
		Args:  wantArgs("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if queues < 0 {
				return usagef("--queues wants 1 or more, not %d", queues)
			}
			c, err := admin.client()
			if err != nil {
				return err
			}
			err = c.call(cmd.Context(), http.MethodPost, "/api/v1/topics", topicEntry{Name: args[0], Queues: queues}, nil)
			if err != nil {
				return fmt.Errorf("create topic %q: %w", args[0], err)
			}
			return nil
		},
	}
	cmd.Flags().IntVar(&queues, "queues", 0, "queues on each RocketMQ broker (default topics.queues of the gateway)")
	admin.register(cmd, app)
	return cmd
}

func newTopicListCommand(app *app) *cobra.Command {
	var admin adminFlags
	var form output
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the first-level topics, one a line",
		Args:  wantArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			asJSON, err := form.json()
			if err != nil {
				return err
			}
			c, err := admin.client()
			if err != nil {
				return err
			}
			reply := struct {
				Topics []topicEntry `json:"topics"`
			}{Topics: []topicEntry{}}
			if err := c.call(cmd.Context(), http.MethodGet, "/api/v1/topics", nil, &reply); err != nil {
				return fmt.Errorf("list topics: %w", err)
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), reply.Topics)
			}
			for _, t := range reply.Topics {
				if _, err := fmt.Fprintln(cmd.OutOrStdout(), visible(t.Name)); err != nil {
					return err
				}
			}
			return nil
		},
	}
	admin.register(cmd, app)
	form.register(cmd)
	return cmd
}

func newTopicDeleteCommand(app *app) *cobra.Command {
	var admin adminFlags
	cmd := &cobra.Command{
		Use:   "delete NAME",
		Short: "Delete a first-level topic and its messages",
		Args:  wantArgs("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := admin.client()
			if err != nil {
				return err
			}
			if err := c.call(cmd.Context(), http.MethodDelete, "/api/v1/topics/"+url.PathEscape(args[0]), nil, nil); err != nil {
				return fmt.Errorf("delete topic %q: %w", args[0], err)
			}
			return nil
		},
	}
	admin.register(cmd, app)
	return cmd
}
