package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lmqgate/lmqgate/core/trace"
)

func newTraceCommand(app *app) *cobra.Command {
	var flags adminFlags
	var form output
	var m trace.Match
	var how time.Duration
	var limit int
	cmd := &cobra.Command{
		Use: "trace --client-id ID | --topic FILTER | --address ADDRESS", Short: "Watch what happens to a client, to a topic, or from an address, as it happens",
		Long: "Prints packets in and out, connects, disconnects, refusals and what was stored, on every gateway of the cluster, without payloads.\n" +
			"What other gateways see comes up to a second later. Where several things are given, all must fit.",
		Args: wantArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			asJSON, err := form.json()
			if err != nil {
				return err
			}
			if m == (trace.Match{}) {
				return usagef("%s wants --client-id, --topic or --address", cmd.CommandPath())
			}
			if how < time.Second || how > time.Hour {
				return usagef("--for wants 1s to 1h, not %s", how)
			}
			c, err := flags.client()
			if err != nil {
				return err
			}
			q := url.Values{"client_id": {m.ClientID}, "topic": {m.Topic}, "address": {m.Address},
				"seconds": {strconv.Itoa(int(how / time.Second))}, "limit": {strconv.Itoa(limit)}}
			return c.lines(cmd.Context(), "/api/v1/trace?"+q.Encode(), how, func(line []byte) error {
				if asJSON {
					_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s\n", line)
					return err
				}
				var e trace.Entry
				if err := json.Unmarshal(line, &e); err != nil {
					return fmt.Errorf("the gateway sent no event: %w", err)
				}
				_, err := fmt.Fprintln(cmd.OutOrStdout(), visible(eventLine(e)))
				return err
			})
		},
	}
	cmd.Flags().StringVar(&m.ClientID, "client-id", "", "only of the client `ID`")
	cmd.Flags().StringVar(&m.Topic, "topic", "", "only messages to topics that `FILTER` matches, and subscriptions within it")
	cmd.Flags().StringVar(&m.Address, "address", "", "only from the `ADDRESS` or network, such as 192.0.2.0/24")
	cmd.Flags().DurationVar(&how, "for", time.Minute, "how long")
	cmd.Flags().IntVar(&limit, "limit", 10000, "end after `N` events")
	flags.register(cmd, app)
	form.register(cmd)
	return cmd
}

// eventLine formats an event for people.
func eventLine(e trace.Entry) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %-12s %s", e.Time.Local().Format("15:04:05.000"), e.Node, e.What, dash(e.ClientID))
	add := func(given bool, format string, args ...any) {
		if given {
			fmt.Fprintf(&b, " "+format, args...)
		}
	}
	add(e.Packet != "", "%s", e.Packet)
	add(e.PacketID != 0, "id=%d", e.PacketID)
	add(e.Topic != "", "%q", e.Topic)
	add(e.Packet == "PUBLISH", "qos=%d", e.QoS)
	add(e.Retain, "retain")
	add(e.Dup, "dup")
	add(e.Packet == "PUBLISH", "bytes=%d", e.Size)
	add(e.Took > 0, "after %s", time.Duration(e.Took*float64(time.Second)).Round(time.Microsecond))
	add(e.LeftOut > 0, "%d events: they came faster than they were read", e.LeftOut)
	add(e.Reason != "", "%s", e.Reason)
	add(e.What == trace.Connected || e.What == trace.Refused, "from %s", dash(e.Address))
	return b.String()
}

// lines requests an answer that arrives line by line for up to over, and passes the non-empty lines to f.
func (c *adminClient) lines(ctx context.Context, path string, over time.Duration, f func(line []byte) error) error {
	ctx, cancel := context.WithTimeout(ctx, over+adminTimeout)
	defer cancel()
	resp, err := c.send(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	in := bufio.NewScanner(resp.Body)
	in.Buffer(nil, 1<<20)
	if resp.StatusCode != http.StatusOK {
		var body []byte
		for in.Scan() {
			body = append(body, in.Bytes()...)
		}
		return c.refused(resp, body)
	}
	for in.Scan() {
		if line := in.Bytes(); len(line) > 0 {
			if err := f(line); err != nil {
				return err
			}
		}
	}
	if err := in.Err(); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("the gateway at %s ended the trace: %w", c.shown(), err)
	}
	return nil
}
