package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	// Where the value came from: "FILE:LINE", "--set KEY", the name of an
	// environment variable, or empty for a default.
	Where string
	// Key is the full key, such as "store.rocketmq.namesrv"; empty when the
	// whole file is meant.
	Key string
	// Message says what is wrong and what is wanted.
	Message string
}

// String returns the problem as one line.
func (p Problem) String() string {
	parts := make([]string, 0, 3)
	for _, s := range []string{p.Where, p.Key, p.Message} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	return oneLine(strings.Join(parts, ": "))
}

// Error is what Load and Validate return: every problem they found, in the
// order of the schema.
type Error struct {
	Problems []Problem
}

// Error returns the problems, one a line.
func (e *Error) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Summary returns the first problem and how many more there are, on one line.
func (e *Error) Summary() string {
	switch n := len(e.Problems); n {
	case 0:
		return "no problem"
	case 1:
		return e.Problems[0].String()
	default:
		return fmt.Sprintf("%s (and %d more)", e.Problems[0], n-1)
	}
}

// Problems returns what is wrong according to err: the problems of an *Error,
// nil for any other error.
func Problems(err error) []Problem {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Problems
	}
	return nil
}

// problems collects what is wrong, each key once: a value of the wrong type is
// not reported again by the validation of its default.
type problems struct {
	list  []Problem
	where func(key string) string // may be nil
}

func (p *problems) add(key, format string, args ...any) {
	for _, seen := range p.list {
		if key != "" && seen.Key == key {
			return
		}
	}
	where := ""
	if p.where != nil {
		where = p.where(key)
	}
	p.list = append(p.list, Problem{Where: where, Key: key, Message: fmt.Sprintf(format, args...)})
}

func (p *problems) err() error {
	if len(p.list) == 0 {
		return nil
	}
	return &Error{Problems: p.list}
}

// quote quotes a value for an error line, cut to a length that fits one.
func quote(s string) string {
	const most = 80
	if r := []rune(s); len(r) > most {
		s = string(r[:most]) + "…"
	}
	return fmt.Sprintf("%q", s)
}

// oneLine keeps a line one line, whatever keys a hostile file holds.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, s)
}

func sortedKeys[V any](m map[string]V) []string {
	return slices.Sorted(maps.Keys(m))
}
