package performance

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// What lies between these lines of docs/performance.md is written by Write.
const (
	beginMark = "<!-- Written by make bench from docs/performance/results.json. -->"
	endMark   = "<!-- End of what make bench writes. -->"
)

// Write writes results.json, the plots, and the page's part; dir is docs/performance, and the page lies beside it.
func Write(dir string, r *Results) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	files, err := build(dir, r)
	if err != nil {
		return err
	}
	files[filepath.Join(dir, resultsFile)] = string(b) + "\n"
	for name, text := range files {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil { //nolint:gosec // pages to read
			return err
		}
	}
	return nil
}

// build returns the page and the plots, by file name.
func build(dir string, r *Results) (map[string]string, error) {
	page := dir + ".md"
	old, err := os.ReadFile(page)
	if err != nil {
		return nil, err
	}
	out := make(map[string]string)
	drawn := make(map[string]string)
	for _, p := range plots {
		panels := panelsOf(r, p.name)
		if len(panels) == 0 {
			continue
		}
		out[filepath.Join(dir, p.name+".svg")] = drawPlot(panels)
		drawn[p.name] = fmt.Sprintf("![%s](performance/%s.svg)\n", p.alt, p.name)
	}
	out[page], err = replacePart(string(old), pagePart(r, drawn))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", page, err)
	}
	return out, nil
}

// pagePart writes the tables and the links to plots.
func pagePart(r *Results, drawn map[string]string) string {
	peers := func(name string) bool { _, ok := FindKind(name); return ok }
	blocks := []string{
		brokerTable(r), circumstances(r, peers), drawn["throughput"], drawn["latency"], drawn["connections"],
		loadTable(r, RocketMQCase, OnRocketMQ), drawn["rocketmq"], loadTable(r, LocalCase, OnLocal),
		circumstances(r, func(name string) bool { return !peers(name) }),
	}
	if len(r.Cases) > 0 {
		blocks = append(blocks, losses(r))
	}
	var b strings.Builder
	for _, block := range blocks {
		if block != "" {
			b.WriteString("\n" + block)
		}
	}
	return b.String()
}

// replacePart replaces what lies between the marks of a page.
func replacePart(page, part string) (string, error) {
	before, rest, ok := strings.Cut(page, beginMark+"\n")
	_, after, closed := strings.Cut(rest, "\n"+endMark)
	if !ok || !closed {
		return "", fmt.Errorf("it lacks the lines %q and %q", beginMark, endMark)
	}
	return before + beginMark + "\n" + part + "\n" + endMark + after, nil
}
