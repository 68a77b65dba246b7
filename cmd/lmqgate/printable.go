package main

import (
	"fmt"
	"strings"
	"unicode"
)

// visible returns foreign text, such as a client id or a topic, for a terminal: what cannot be seen, or changes how the text around it
// looks, is escaped, for instance as \u202e. So two names that differ look different, and none breaks a line or sends a command to the
// terminal.
func visible(s string) string {
	if strings.IndexFunc(s, unseen) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case !unseen(r):
			b.WriteRune(r)
		case r > 0xffff:
			fmt.Fprintf(&b, `\U%08x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// unseen reports whether a rune is no visible character: controls, marks of direction, blanks other than a space, and what takes no room.
func unseen(r rune) bool {
	return !unicode.IsPrint(r) || unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// oneLine is visible for a message, whose line breaks and tabs become spaces.
func oneLine(s string) string {
	return visible(strings.NewReplacer("\r\n", " ", "\n", " ", "\r", " ", "\t", " ").Replace(strings.TrimSpace(s)))
}
