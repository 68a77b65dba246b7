package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/lmqgate/lmqgate/internal/mqttload"
)

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func printResults(w io.Writer, results ...*mqttload.Result) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "scenario\tbroker\trate/s\tp50 ms\tp90 ms\tp99 ms\tp99.9 ms\tmax ms\tack p99 ms\tmissing\treordered")
	for _, r := range results {
		fmt.Fprintf(t, "%s\t%s\t%.0f\t%s\t%s\t%d\t%d\n", r.Scenario, r.Target, r.Rate, latencyCells(r.Delivery), answerCell(r.Answer), r.Missing, r.Reordered)
	}
	return t.Flush()
}

func latencyCells(l *mqttload.Latency) string {
	if l == nil {
		return "-\t-\t-\t-\t-"
	}
	return fmt.Sprintf("%.2f\t%.2f\t%.2f\t%.2f\t%.2f", l.P50, l.P90, l.P99, l.P999, l.Max)
}

func answerCell(l *mqttload.Latency) string {
	if l == nil {
		return "-"
	}
	return fmt.Sprintf("%.2f", l.P99)
}

func printComparison(w io.Writer, c *mqttload.Comparison) error {
	var all []*mqttload.Result
	for i := range c.A {
		all = append(all, c.A[i], c.B[i])
	}
	if err := printResults(w, all...); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "%s, the first beside the second, median of %d rounds: rate × %.2f", c.Scenario, len(c.A), c.Rate)
	if err == nil && c.P50 > 0 {
		_, err = fmt.Fprintf(w, ", p50 × %.2f, p99 × %.2f", c.P50, c.P99)
	}
	if err == nil {
		_, err = fmt.Fprintln(w)
	}
	return err
}

// progressLine shows the progress of bench, at a terminal only.
type progressLine struct {
	w        io.Writer
	scenario string

	mu    sync.Mutex
	shown bool
	last  mqttload.Progress
}

func newProgressLine(w io.Writer, scenario string) *progressLine {
	p := &progressLine{scenario: scenario}
	if f, ok := w.(*os.File); ok {
		if st, err := f.Stat(); err == nil && st.Mode()&os.ModeCharDevice != 0 {
			p.w = w
		}
	}
	return p
}

func (p *progressLine) round(target string, round int, now mqttload.Progress) {
	p.print(fmt.Sprintf("%s, round %d, %s", p.scenario, round, target), now)
}

func (p *progressLine) show(now mqttload.Progress) { p.print(p.scenario, now) }

func (p *progressLine) print(what string, now mqttload.Progress) {
	if p.w == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Elapsed < p.last.Elapsed {
		p.last = mqttload.Progress{}
	}
	rate := float64(now.Count-p.last.Count) / (now.Elapsed - p.last.Elapsed).Seconds()
	p.last, p.shown = now, true
	fmt.Fprintf(p.w, "\r\x1b[K%s: %s, %.0f/s", what, now.Elapsed.Round(time.Second), rate)
}

// clear erases the line.
func (p *progressLine) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shown {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.shown = false
	}
}
