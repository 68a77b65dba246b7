package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// count is what the page says of one text.
type count struct{ all, server, proven, clientProven, client int }

func (t *text) count() (c count) {
	for _, s := range t.statements {
		c.all++
		switch proven := len(s.tests) > 0; {
		case !s.bindsServer():
			c.client++
			if proven {
				c.clientProven++
			}
		default:
			c.server++
			if proven {
				c.proven++
			}
		}
	}
	return c
}

// percent is how many of the statements that bind a server are proven.
func (c count) percent() float64 { return 100 * float64(c.proven) / float64(c.server) }

// render fills the tables, and suites.md, into page.md. What is neither proven nor explained, or both, is an error.
func render(dir string, texts []*text) ([]byte, error) {
	page, err := os.ReadFile(filepath.Join(dir, "page.md"))
	if err != nil {
		return nil, err
	}
	suites, err := os.ReadFile(filepath.Join(dir, "suites.md"))
	if err != nil {
		return nil, err
	}
	var counts, exceptions strings.Builder
	counts.WriteString(
		"| text | statements | bind a server | proven | | bind clients only | held to by a test |\n|---|---|---|---|---|---|---|\n",
	)
	exceptions.WriteString("| text | statement | asks that | why no test proves it |\n|---|---|---|---|\n")
	for _, t := range texts {
		c := t.count()
		fmt.Fprintf(
			&counts,
			"| MQTT %s | %d | %d | %d | %.1f%% | %d | %d |\n",
			t.version,
			c.all,
			c.server,
			c.proven,
			c.percent(),
			c.client,
			c.clientProven,
		)
		for _, s := range t.statements {
			switch {
			case s.exception != "" && len(s.tests) > 0:
				return nil, fmt.Errorf(
					"MQTT %s, %s: %s proves it; take it out of docs/conformance/exceptions.txt",
					t.version,
					s.number,
					s.tests[0],
				)
			case s.exception != "":
				fmt.Fprintf(&exceptions, "| %s | %s | %s | %s |\n", t.version, s.number, cell(s.means), cell(s.exception))
			case s.bindsServer() && len(s.tests) == 0:
				return nil, fmt.Errorf(
					"MQTT %s, %s (%s): no test proves it; write one, or say why there is none in docs/conformance/exceptions.txt",
					t.version,
					s.number,
					s.means,
				)
			}
		}
	}
	for _, fill := range []struct{ mark, with string }{
		{"{{counts}}\n", counts.String()},
		{"{{exceptions}}\n", exceptions.String()},
		{"{{suites}}\n", string(suites)},
		{"{{3.1.1}}\n", table(texts[0])},
		{"{{5.0}}\n", table(texts[1])},
	} {
		if bytes.Count(page, []byte(fill.mark)) != 1 {
			return nil, fmt.Errorf("page.md needs one line %s", strings.TrimSpace(fill.mark))
		}
		page = bytes.Replace(page, []byte(fill.mark), []byte(fill.with), 1)
	}
	return page, nil
}

// table has a row for each statement.
func table(t *text) string {
	var b strings.Builder
	b.WriteString("| statement | binds | asks that | tests |\n|---|---|---|---|\n")
	for _, s := range t.statements {
		tests := "–"
		if len(s.tests) > 0 {
			tests = "`" + strings.Join(s.tests, "`, `") + "`"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", s.number, s.binds, cell(s.means), tests)
	}
	return b.String()
}

// cell makes a text fit into a table.
func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
