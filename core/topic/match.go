package topic

import "strings"

// Match reports whether a topic name matches a filter (MQTT 5.0, 4.7): "+" stands for one level, "#" for any number of
// levels including none (the parent), empty levels are levels, and a name that starts with "$" is not matched by a filter
// that starts with a wildcard. Both must be valid.
func Match(filter, name string) bool {
	if strings.HasPrefix(name, "$") && rootWildcard(filter) {
		return false
	}
	for {
		if filter == "#" {
			return true
		}
		f, filterRest, filterMore := cut(filter)
		n, nameRest, nameMore := cut(name)
		if f != "+" && f != n {
			return false
		}
		switch {
		case !nameMore && !filterMore:
			return true
		case !nameMore:
			return filterRest == "#" // the parent level
		case !filterMore:
			return false
		}
		filter, name = filterRest, nameRest
	}
}

// Overlap reports whether some topic name matches both filters.
func Overlap(a, b string) bool {
	if strings.HasPrefix(a, "$") && rootWildcard(b) || strings.HasPrefix(b, "$") && rootWildcard(a) {
		return false
	}
	for {
		if a == "#" || b == "#" {
			return true
		}
		x, restA, moreA := cut(a)
		y, restB, moreB := cut(b)
		if x != y && x != "+" && y != "+" {
			return false
		}
		switch {
		case !moreA && !moreB:
			return true
		case !moreA:
			return restB == "#" // the parent level
		case !moreB:
			return restA == "#"
		}
		a, b = restA, restB
	}
}

// Covers reports whether a filter matches every topic name that another filter matches. Both must be valid.
func Covers(filter, other string) bool {
	if strings.HasPrefix(other, "$") && rootWildcard(filter) {
		return false
	}
	if filter == "+/#" {
		filter = "#" // every name has a first level
	}
	for {
		if filter == "#" {
			return true
		}
		f, filterRest, filterMore := cut(filter)
		o, otherRest, otherMore := cut(other)
		if o == "#" || f != "+" && f != o {
			return false
		}
		switch {
		case !otherMore && !filterMore:
			return true
		case !otherMore:
			return filterRest == "#" // the parent level
		case !filterMore:
			return false
		}
		filter, other = filterRest, otherRest
	}
}

// First returns the first-level topic of a name or filter: the text before the first "/", where one leading "/" is
// skipped. It can be empty ("//x"), and "+" or "#" for filters whose first level is a wildcard.
func First(nameOrFilter string) string {
	first, _, _ := cut(strings.TrimPrefix(nameOrFilter, "/"))
	return first
}

// sysLevel and ownLevels begin the topics of the gateway's own state, which has mosquitto's names. Other topics below $SYS are ordinary
// topics.
const (
	sysLevel  = "$SYS"
	ownLevels = sysLevel + "/broker"
)

// Events is the first level of the gateway's own events; see package events.
const Events = "$events"

// IsOwn reports whether a name or filter is $SYS/broker or below it, where only the gateway publishes.
func IsOwn(nameOrFilter string) bool {
	rest, ok := strings.CutPrefix(nameOrFilter, ownLevels)
	return ok && (rest == "" || rest[0] == '/')
}

// MatchesOwn reports whether a filter can match names of IsOwn.
func MatchesOwn(filter string) bool {
	rest, ok := strings.CutPrefix(filter, sysLevel+"/")
	second, _, _ := strings.Cut(rest, "/")
	return ok && (second == "#" || second == "+" || IsOwn(filter))
}

// IsWildcard reports whether a filter contains a wildcard.
func IsWildcard(filter string) bool { return strings.ContainsAny(filter, "+#") }

// HasWildcardFirst reports whether the first-level topic of a filter is a wildcard ("#", "+/x", "/+/x", "/#"): such a
// filter belongs to every first-level topic.
func HasWildcardFirst(filter string) bool {
	first := First(filter)
	return first == "+" || first == "#"
}

// rootWildcard reports whether a filter starts with a wildcard character; such a filter does not match "$"-names (MQTT 5.0, 4.7.2).
func rootWildcard(filter string) bool {
	return filter != "" && (filter[0] == '+' || filter[0] == '#')
}

// cut splits s at its first "/": the first level, what follows it, and whether anything does.
func cut(s string) (level, rest string, more bool) {
	return strings.Cut(s, "/")
}
