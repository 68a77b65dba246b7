package plugintest

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// Outcome is the outcome of a case.
type Outcome string

// Outcomes.
const (
	Passed        Outcome = "passed"
	Failed        Outcome = "failed"
	NotApplicable Outcome = "not applicable"
)

// Result is the result of one case.
type Result struct {
	Group   string  `json:"group"`
	Name    string  `json:"name"`
	Outcome Outcome `json:"outcome"`
	// Problem is one sentence: what is wrong, or why the case does not apply.
	Problem string `json:"problem,omitempty"`
	// Asked and Came are the request and the answer that a failure concerns.
	Asked string `json:"asked,omitempty"`
	Came  string `json:"came,omitempty"`
	// Rule is what a plugin must do; Proto is the place in plugins/proto that says so; Section is an anchor of docs/plugins.md.
	Rule    string `json:"rule"`
	Proto   string `json:"proto"`
	Section string `json:"section"`
	Millis  int64  `json:"milliseconds"`
}

// Report is the result of a run on one plugin.
type Report struct {
	// Path is the executable; empty for an implementation in Go.
	Path string `json:"path,omitempty"`
	// Name, Version, Kind and Contract are what the plugin says of itself; empty if it did not get that far.
	Name     string `json:"name"`
	Version  string `json:"version"`
	Kind     string `json:"kind"`
	Contract int    `json:"contract"`
	// Started reports whether the handshake succeeded.
	Started bool `json:"started"`
	// Secure reports whether the connection uses TLS.
	Secure bool `json:"tls"`
	// Notes are remarks for the author, not faults.
	Notes   []string `json:"notes,omitempty"`
	Results []Result `json:"results"`
}

// Count returns the number of cases with an outcome.
func (r *Report) Count(o Outcome) int {
	n := 0
	for _, res := range r.Results {
		if res.Outcome == o {
			n++
		}
	}
	return n
}

// Head returns one line about the plugin.
func (r *Report) Head() string {
	name := r.Path
	if name == "" {
		name = "the implementation in this process"
	}
	if r.Name == "" {
		return name + ": it did not say what it is"
	}
	text := fmt.Sprintf("%s: %s %s, %s plugin", name, oneLine(r.Name), oneLine(r.Version), r.Kind)
	if r.Path != "" {
		text += fmt.Sprintf(", contract %d", r.Contract)
		if !r.Secure {
			text += ", without TLS"
		}
	}
	return text
}

// Summary returns one line about the cases.
func (r *Report) Summary() string {
	var spent time.Duration
	for _, res := range r.Results {
		spent += time.Duration(res.Millis) * time.Millisecond
	}
	return fmt.Sprintf("%d passed, %d failed, %d not applicable, in %.1f s",
		r.Count(Passed), r.Count(Failed), r.Count(NotApplicable), spent.Seconds())
}

// Explain formats a failure as indented lines: the request, the answer, and the rule that the answer breaks.
func (res Result) Explain() string {
	var b strings.Builder
	line := func(label, text string) {
		if text != "" {
			fmt.Fprintf(&b, "        %-6s %s\n", label, printable(text))
		}
	}
	line("what:", res.Problem)
	line("asked:", res.Asked)
	line("came:", res.Came)
	line("rule:", res.Rule)
	line("see:", res.Where())
	return b.String()
}

// Where returns where the rule is written.
func (res Result) Where() string {
	return "docs/plugins.md#" + res.Section + ", plugins/proto: " + res.Proto
}

// writer prints a report, case by case.
type writer struct {
	out   io.Writer // nil for none
	group string
	err   error
}

func (w *writer) line(text string) {
	if w.out != nil && w.err == nil {
		_, w.err = io.WriteString(w.out, text)
	}
}

func (w *writer) result(res Result) {
	if res.Group != w.group {
		if w.group != "" {
			w.line("\n")
		}
		w.group = res.Group
		w.line(res.Group + "\n")
	}
	w.line(res.Line() + "\n")
	if res.Outcome == Failed {
		w.line(res.Explain())
	}
}

// notes writes what the plugin said about itself at its start.
func (w *writer) notes(r *Report) {
	w.line("\n" + printable(r.Head()) + "\n")
	for _, note := range r.Notes {
		w.line("note: " + printable(note) + "\n")
	}
}

func (w *writer) end(r *Report) { w.line("\n" + r.Summary() + "\n") }

// Line returns the case in one line.
func (res Result) Line() string {
	switch res.Outcome {
	case Failed:
		return "  FAIL  " + res.Name
	case NotApplicable:
		return "  n/a   " + res.Name + ": " + printable(res.Problem)
	}
	text := "  ok    " + res.Name
	if res.Millis >= 1000 {
		text += fmt.Sprintf(" (%.1f s)", float64(res.Millis)/1000)
	}
	return text
}

// printable sanitises a plugin's text, so that it cannot break the line or the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) {
			return ' '
		}
		return r
	}, s)
}
