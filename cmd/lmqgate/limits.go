package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lmqgate/lmqgate/core/admin"
)

func newLimitsCommand(app *app) *cobra.Command {
	return listing[admin.Bound]{
		use: "limits", short: "List the bounds of a running gateway: how much of each is used, by whom, and how often it had an effect",
		path: "/api/v1/limits", key: "limits", whole: true,
		header: []any{"BOUND", "USE", "LIMIT", "EFFECTS", "MOST", "MEANING"},
		row: func(b admin.Bound) []any {
			use, limit := "-", "-"
			if b.Use != nil {
				use = amount(*b.Use, b.Unit)
			}
			if b.Limit > 0 {
				limit = amount(b.Limit, b.Unit)
			}
			most := make([]string, 0, len(b.Consumers))
			for _, c := range b.Consumers {
				most = append(most, fmt.Sprintf("%s (%s)", c.Name, amount(c.Use, "")))
			}
			return []any{b.Key, use, limit, amount(b.Effects, ""), dash(strings.Join(most, ", ")), b.What}
		},
	}.command(app)
}

// amount formats a number with a unit for a table.
func amount(v float64, unit string) string {
	switch {
	case unit == "bytes" && v >= 1<<20:
		return strconv.FormatFloat(v/(1<<20), 'f', 1, 64) + "MiB"
	case unit == "per second":
		return strconv.FormatFloat(v, 'f', -1, 64) + "/s"
	}
	return strconv.FormatFloat(v, 'f', 0, 64)
}
