// Package topicfilter compares MQTT topic names and topic filters (MQTT 5.0, section 4.7) for plugins that decide by
// topic: what a filter matches, whether a rule's filter covers a requested one, and whether two filters overlap.
//
// Everywhere a wildcard in the first level does not match a first level that begins with "$" (MQTT 4.7.2).
package topicfilter

import (
	"errors"
	"strings"
	"unicode/utf8"
)

// maxBytes is the longest UTF-8 string that MQTT can carry.
const maxBytes = 65535

// Validate returns what is wrong with a topic filter (MQTT 4.7.1, 4.7.3), or nil.
func Validate(filter string) error {
	switch {
	case filter == "":
		return errors.New("a topic filter must not be empty")
	case len(filter) > maxBytes:
		return errors.New("a topic filter must not be longer than 65535 bytes")
	case !utf8.ValidString(filter) || strings.ContainsRune(filter, 0):
		return errors.New("a topic filter must be UTF-8 without the NUL character")
	}
	for rest, more := filter, true; more; {
		var level string
		level, rest, more = strings.Cut(rest, "/")
		switch {
		case level == "#" && more:
			return errors.New("# must be the last level of a topic filter")
		case level != "#" && level != "+" && strings.ContainsAny(level, "#+"):
			return errors.New("+ and # must be a whole level of a topic filter")
		}
	}
	return nil
}

// ValidateName returns what is wrong with a topic name (MQTT 4.7.1, 4.7.3), or nil.
func ValidateName(name string) error {
	switch {
	case name == "":
		return errors.New("a topic name must not be empty")
	case len(name) > maxBytes:
		return errors.New("a topic name must not be longer than 65535 bytes")
	case !utf8.ValidString(name) || strings.ContainsRune(name, 0):
		return errors.New("a topic name must be UTF-8 without the NUL character")
	case strings.ContainsAny(name, "+#"):
		return errors.New("a topic name must not contain + or #")
	}
	return nil
}

// Match reports whether filter matches the topic name. A name with wildcard characters is invalid, and nothing matches it.
func Match(filter, name string) bool {
	return !strings.ContainsAny(name, "+#") && Covers(filter, name)
}

// Covers reports whether rule matches every topic name that filter matches.
func Covers(rule, filter string) bool {
	if rule == "+/#" && filter == "#" {
		return true // the same set: every name has a first level
	}
	first := true
	r, f := levels(rule), levels(filter)
	for {
		rl, rok := r.next()
		fl, fok := f.next()
		switch {
		case rl == "#" && rok:
			return !first || !hidden(fl)
		case !rok || !fok:
			return rok == fok
		case fl == "#":
			return false
		case rl == "+":
			if first && hidden(fl) {
				return false
			}
		case rl != fl:
			return false
		}
		first = false
	}
}

// Overlaps reports whether there is a topic name that both filters match.
func Overlaps(a, b string) bool {
	first := true
	as, bs := levels(a), levels(b)
	for {
		al, aok := as.next()
		bl, bok := bs.next()
		switch {
		case aok && al == "#":
			return !first || !hidden(bl)
		case bok && bl == "#":
			return !first || !hidden(al)
		case !aok || !bok:
			return aok == bok
		case al == "+" || bl == "+":
			if first && (hidden(al) || hidden(bl)) {
				return false
			}
		case al != bl:
			return false
		}
		first = false
	}
}

// hidden reports whether wildcards do not match a first level.
func hidden(level string) bool { return strings.HasPrefix(level, "$") }

// cursor walks over the levels of a name or filter without allocating.
type cursor struct {
	rest string
	more bool
}

func levels(s string) *cursor { return &cursor{rest: s, more: true} }

func (c *cursor) next() (level string, ok bool) {
	if !c.more {
		return "", false
	}
	level, c.rest, c.more = strings.Cut(c.rest, "/")
	return level, true
}
