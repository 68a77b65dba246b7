package performance

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// Print writes the medians of one case, for a terminal.
func Print(w io.Writer, c Case) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "%s\tversion\tacked\tdelivered\tp50\tp99\tmemory\tmissing\n", c.Name)
	for _, b := range c.Brokers {
		fmt.Fprintf(t, "%s\t%s", plain(b.Name), b.Version)
		for _, f := range []figure{{of: acked, write: perSecond}, {of: rate, write: perSecond}, {of: p50, write: milliseconds},
			{of: p99, write: milliseconds}, {of: kib, write: kibibytes}} {
			if v := b.median(f.of); v != 0 {
				fmt.Fprintf(t, "\t%s", f.write(v))
			} else {
				fmt.Fprint(t, "\t-")
			}
		}
		fmt.Fprintf(t, "\t%.0f\n", b.median(func(r Round) float64 { return float64(r.Missing) }))
	}
	return t.Flush()
}
