package performance

import (
	"fmt"
	"strings"
)

// perSecond writes a rate with three digits: 23.8k/s, 970/s.
func perSecond(v float64) string {
	switch {
	case v >= 99_950:
		return fmt.Sprintf("%.0fk/s", v/1000)
	case v >= 9_995:
		return fmt.Sprintf("%.1fk/s", v/1000)
	case v >= 1000:
		return fmt.Sprintf("%.2fk/s", v/1000)
	}
	return fmt.Sprintf("%.0f/s", v)
}

// milliseconds writes a latency with two or three digits.
func milliseconds(v float64) string {
	switch {
	case v >= 10:
		return fmt.Sprintf("%.0f ms", v)
	case v >= 1:
		return fmt.Sprintf("%.1f ms", v)
	}
	return fmt.Sprintf("%.2f ms", v)
}

func kibibytes(v float64) string {
	if v >= 10 {
		return fmt.Sprintf("%.0f KiB", v)
	}
	return fmt.Sprintf("%.1f KiB", v)
}

func micros(v float64) string { return fmt.Sprintf("%.0f µs", v) }

// span writes the smallest and the largest of some values.
func span(low, high float64) string {
	if fmt.Sprintf("%.0f", low) == fmt.Sprintf("%.0f", high) {
		return fmt.Sprintf("%.0f", low)
	}
	return fmt.Sprintf("%.0f to %.0f", low, high)
}

// list writes words as "a, b and c".
func list(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}

// plain drops the backquotes of Markdown.
func plain(s string) string { return strings.ReplaceAll(s, "`", "") }
