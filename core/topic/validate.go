package topic

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// MaxLength is the longest topic name or filter that is accepted, in bytes. MQTT allows 65,535 (section 4.7.3); the properties of a
// RocketMQ record, which hold the name and its queues, are limited to 32,767.
const MaxLength = 8 << 10

var (
	// ErrInvalid is wrapped by every error about a topic name or filter that breaks MQTT's rules.
	ErrInvalid = errors.New("invalid topic")
	// ErrTooLong says that a topic name or filter is correct MQTT but longer than MaxLength.
	ErrTooLong = fmt.Errorf("topic longer than %d bytes", MaxLength)
)

// ValidateName returns nil when name can be published to: well-formed UTF-8 without U+0000 (MQTT 5.0, 1.5.4), not empty,
// without wildcards (4.7.1), at most MaxLength bytes. Errors wrap ErrInvalid or ErrTooLong.
func ValidateName(name string) error {
	if err := validateText("topic name", name); err != nil {
		return err
	}
	if strings.ContainsAny(name, "+#") {
		return fmt.Errorf("%w: topic name %q contains a wildcard", ErrInvalid, name)
	}
	return nil
}

// ValidateFilter returns nil when filter can be subscribed to: the text rules of ValidateName, and "#" only as the whole
// last level, "+" only as a whole level (MQTT 5.0, 4.7.1). A shared subscription ("$share/...") is checked as plain text
// here; ParseShared checks its parts. Errors wrap ErrInvalid or ErrTooLong.
func ValidateFilter(filter string) error {
	if err := validateText("topic filter", filter); err != nil {
		return err
	}
	for i := 0; i < len(filter); i++ {
		c := filter[i]
		if c != '+' && c != '#' {
			continue
		}
		if i > 0 && filter[i-1] != '/' {
			return fmt.Errorf("%w: topic filter %q: %q must be a whole level", ErrInvalid, filter, string(c))
		}
		if c == '#' && i != len(filter)-1 {
			return fmt.Errorf("%w: topic filter %q: \"#\" must be the last level", ErrInvalid, filter)
		}
		if c == '+' && i != len(filter)-1 && filter[i+1] != '/' {
			return fmt.Errorf("%w: topic filter %q: \"+\" must be a whole level", ErrInvalid, filter)
		}
	}
	return nil
}

func validateText(what, s string) error {
	switch {
	case s == "":
		return fmt.Errorf("%w: %s is empty", ErrInvalid, what)
	case len(s) > MaxLength:
		return fmt.Errorf("%s %q... has %d bytes: %w", what, head(s), len(s), ErrTooLong)
	case !utf8.ValidString(s):
		return fmt.Errorf("%w: %s %q is not UTF-8", ErrInvalid, what, s)
	case strings.IndexByte(s, 0) >= 0:
		return fmt.Errorf("%w: %s %q contains U+0000", ErrInvalid, what, s)
	}
	return nil
}

// head returns the beginning of a long text, for error messages.
func head(s string) string {
	const n = 64
	if len(s) <= n {
		return s
	}
	return s[:n]
}
