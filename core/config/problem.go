package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/lmqgate/lmqgate/internal/redact"
)

// Problem is one error in a configuration.
type Problem struct {
	// Where is the source of the value: "FILE:LINE", "--set KEY", the name of an environment variable, or empty for a default.
	Where string
	// Key is the full key, such as "store.rocketmq.namesrv"; empty when the
	// whole file is meant.
	Key string
	// Message says what is wrong and what is expected.
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

// Error is the error of Load and Validate: every problem, in the order of the schema.
type Error struct {
	Problems []Problem
}

// Error returns the problems, one per line.
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

// Problems returns the problems of an *Error, nil for any other error.
func Problems(err error) []Problem {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Problems
	}
	return nil
}

// problems collects problems, at most one per key: a value of the wrong type is not reported again when its default is validated.
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

// quote quotes a value for an error message, cut to a length that fits one line.
func quote(s string) string {
	const most = 80
	s = redact.Address(s)
	if r := []rune(s); len(r) > most {
		s = string(r[:most]) + "…"
	}
	return fmt.Sprintf("%q", s)
}

// oneLine keeps a message on one line, whatever keys a hostile file contains.
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
