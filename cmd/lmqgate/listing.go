package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/lmqgate/lmqgate/core/admin"
)

// listing is a command that prints a list of the admin API.
type listing[T any] struct {
	use, short, long string
	path, key        string // the API path, and the key of the list in the answer
	header           []any
	row              func(T) []any
	// whole says that the list has no pages.
	whole bool
	// query adds parameters to the request; nil adds none. flags registers the flags that query reads.
	query func(url.Values)
	flags func(*cobra.Command)
	// check, which may be nil, checks what the flags say.
	check func() error
}

// pageSize is how many items the commands request at a time.
const pageSize = 1000

// command returns the command. It prints a table, or JSON with -o json; --limit bounds the number of items.
func (l listing[T]) command(app *app) *cobra.Command {
	var flags adminFlags
	var form output
	var limit int
	cmd := &cobra.Command{Use: l.use, Short: l.short, Long: l.long, Args: wantArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			asJSON, err := form.json()
			if err != nil {
				return err
			}
			if limit < 0 {
				return usagef("--limit wants 0 (all) or more, not %d", limit)
			}
			if l.check != nil {
				if err := l.check(); err != nil {
					return err
				}
			}
			c, err := flags.client()
			if err != nil {
				return err
			}
			items := []T{}
			more, after := true, ""
			missing := map[string]string{}
			for more && (limit == 0 || len(items) < limit) {
				var some []T
				if some, after, err = l.page(cmd, c, limit-len(items), after, missing); err != nil {
					return fmt.Errorf("list %s: %w", l.key, err)
				}
				items, more = append(items, some...), after != ""
			}
			if limit > 0 && len(items) > limit {
				items = items[:limit]
			}
			reportMissing(cmd, missing)
			if asJSON {
				return printJSON(cmd.OutOrStdout(), items)
			}
			rows := make([][]any, 0, len(items))
			for _, item := range items {
				rows = append(rows, l.row(item))
			}
			return printTable(cmd, l.header, rows)
		}}
	flags.register(cmd, app)
	form.register(cmd)
	cmd.Flags().IntVar(&limit, "limit", 0, "print `N` at most; 0: all")
	if l.flags != nil {
		l.flags(cmd)
	}
	return cmd
}

// page requests one page, of up to wanted items if that is above 0. It records in missing which nodes did not answer, and why.
func (l listing[T]) page(cmd *cobra.Command, c *adminClient, wanted int, after string, missing map[string]string,
) (items []T, next string, err error) {
	q := url.Values{}
	size := pageSize
	if wanted > 0 {
		size = min(size, wanted)
	}
	if !l.whole {
		q.Set("limit", strconv.Itoa(size))
	}
	if after != "" {
		q.Set("after", after)
	}
	if l.query != nil {
		l.query(q)
	}
	reply := map[string]json.RawMessage{}
	if err := c.call(cmd.Context(), http.MethodGet, l.path+"?"+q.Encode(), nil, &reply); err != nil {
		return nil, "", err
	}
	if err := json.Unmarshal(reply[l.key], &items); err != nil {
		return nil, "", fmt.Errorf("the gateway's answer has no list of %s: %w", l.key, err)
	}
	if more, ok := reply["next"]; ok {
		err = json.Unmarshal(more, &next)
	}
	if others, ok := reply["unanswered"]; ok && err == nil {
		var list []admin.Unanswered
		err = json.Unmarshal(others, &list)
		for _, u := range list {
			missing[u.Node] = u.Error
		}
	}
	return items, next, err
}

// reportMissing prints which nodes did not answer: the output lacks their part.
func reportMissing(cmd *cobra.Command, missing map[string]string) {
	for _, node := range slices.Sorted(maps.Keys(missing)) {
		fmt.Fprintf(cmd.ErrOrStderr(), "lmqgate: node %s did not answer, so what it knows is missing: %s\n", oneLine(node), oneLine(missing[node]))
	}
}

// printTable prints rows below a header, in columns.
func printTable(cmd *cobra.Command, header []any, rows [][]any) error {
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 4, 2, ' ', 0)
	for _, row := range append([][]any{header}, rows...) {
		for i, cell := range row {
			separator := "\t"
			if i == len(row)-1 {
				separator = "\n"
			}
			if _, err := fmt.Fprint(w, visible(fmt.Sprint(cell))+separator); err != nil {
				return err
			}
		}
	}
	return w.Flush()
}
