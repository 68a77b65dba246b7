package main

import (
	"strconv"
	"strings"
)

// parseProperties reads a Java properties file: key=value, key:value or
// key value; # and ! begin comments; a backslash continues a line or escapes a
// letter. The last value of a key counts, as in Java.
func parseProperties(text string) map[string]string {
	out := make(map[string]string)
	for _, line := range logicalLines(text) {
		end := keyEnd(line)
		key, rest := line[:end], strings.TrimLeft(line[end:], " \t\f")
		if rest != "" && (rest[0] == '=' || rest[0] == ':') {
			rest = strings.TrimLeft(rest[1:], " \t\f")
		}
		out[unescapeProperty(key)] = unescapeProperty(rest)
	}
	return out
}

// logicalLines joins continued lines and drops comments and empty lines.
func logicalLines(text string) []string {
	var lines []string
	var joined strings.Builder
	continued := false
	for line := range strings.Lines(text) {
		line = strings.TrimLeft(strings.TrimRight(line, "\r\n"), " \t\f")
		if !continued && (line == "" || line[0] == '#' || line[0] == '!') {
			continue
		}
		backslashes := len(line) - len(strings.TrimRight(line, `\`))
		continued = backslashes%2 == 1
		joined.WriteString(line[:len(line)-backslashes%2])
		if !continued {
			lines = append(lines, joined.String())
			joined.Reset()
		}
	}
	if joined.Len() > 0 {
		lines = append(lines, joined.String())
	}
	return lines
}

func keyEnd(line string) int {
	for i := 0; i < len(line); i++ {
		switch line[i] {
		case '\\':
			i++
		case '=', ':', ' ', '\t', '\f':
			return i
		}
	}
	return len(line)
}

func unescapeProperty(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		switch s[i] {
		case 't':
			b.WriteByte('\t')
		case 'n':
			b.WriteByte('\n')
		case 'r':
			b.WriteByte('\r')
		case 'f':
			b.WriteByte('\f')
		case 'u':
			if n, err := strconv.ParseUint(s[i+1:min(i+5, len(s))], 16, 16); err == nil && i+5 <= len(s) {
				b.WriteRune(rune(n))
				i += 4
			} else {
				b.WriteByte('u')
			}
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String()
}
