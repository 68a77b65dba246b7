package config

import (
	"fmt"
	"strings"

	"github.com/lmqgate/lmqgate/internal/spelling"
)

// nearest returns the known key that an unknown key most likely means, or "" if it resembles none. Keys of the same section take
// precedence, unless another section has exactly that key (an option written one level too high or too low).
func nearest(key string, known []string) string {
	section, name := splitLast(key)
	best, bestCost := "", int(^uint(0)>>1)
	for _, k := range known {
		s, n := splitLast(k)
		apart := spelling.Distance(name, n)
		cost := 4 * apart
		if s != section {
			cost += 2 + spelling.Distance(section, s)
		}
		// In another section a name must be nearly the same.
		if cost < bestCost && spelling.Resembles(name, n) && (s == section || 5*apart <= len(n)) {
			best, bestCost = k, cost
		}
	}
	return best
}

// unknown returns the message about an unknown key: it suggests the most likely key, or lists the known ones.
func unknown(key string) string {
	known := Keys()
	if best := nearest(key, known); best != "" {
		return "unknown key; the nearest known key is " + best
	}
	section, _ := splitLast(key)
	var names []string
	for _, k := range known {
		if s, n := splitLast(k); s == section {
			names = append(names, n)
		}
	}
	switch {
	case section == "":
		return "unknown key; the sections are " + strings.Join(names, ", ")
	case len(names) > 0:
		return fmt.Sprintf("unknown key; the keys of %s are %s", section, strings.Join(names, ", "))
	}
	return "unknown key; docs/configuration.md has the keys"
}

func splitLast(key string) (section, name string) {
	if i := strings.LastIndexByte(key, '.'); i >= 0 {
		return key[:i], key[i+1:]
	}
	return "", key
}
