package topic

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// maxQueue is the longest queue name, in bytes: RocketMQ creates a directory with that name and the prefix "%LMQ%", and file systems limit
// a name to 255 bytes.
const maxQueue = 255 - len("%LMQ%")

// The last bytes of a name tell its form. A plain name ends in "%" or contains none.
const (
	suffixEscaped = "%e"
	suffixOwn     = "%o"
	suffixBucket  = "%b"
	suffixHashed  = "%h"
	suffixRoot    = "%r"
)

// Queue returns the name of the queue of a topic name or filter: the name of its light message queue without the "%LMQ%" prefix. The name
// is normalised as Apache RocketMQ MQTT does it (a "/" is appended unless it ends in one or contains none) and "/" becomes "%". Names whose
// result would be ambiguous, reserved or too long have other forms (see the package comment). The forms are stable across versions, because
// queues outlive the gateway.
func Queue(nameOrFilter string) string {
	if reserved(nameOrFilter) || !plain(nameOrFilter) {
		return fit(escape(nameOrFilter, suffixEscaped), First(nameOrFilter))
	}
	if strings.IndexByte(nameOrFilter, '/') < 0 {
		return fit(nameOrFilter, nameOrFilter)
	}
	return fit(replaced(nameOrFilter), First(nameOrFilter))
}

// RootQueue returns the queue, for one first-level topic, of a filter whose first level is a wildcard and whose queue is given. It is for
// stores in which several topics must not feed one queue.
func RootQueue(first, queue string) string {
	return fit(queue+"%"+escape(first, "")+suffixRoot, first)
}

// IsRootQueue reports whether a queue belongs to a filter whose first level is a wildcard.
func IsRootQueue(queue string) bool {
	queue = strings.TrimPrefix(queue, "%")
	return strings.HasPrefix(queue, "#") || strings.HasPrefix(queue, "+")
}

// reserved reports whether the plain queue of a topic name or filter would lie among the gateway's own queues: first levels
// "p2p" and "retry" behind a leading "/".
func reserved(s string) bool {
	if s == "" || s[0] != '/' {
		return false
	}
	first := First(s)
	return first == "p2p" || first == "retry"
}

// plain reports whether replacing "/" by "%" is reversible for s, and the result can stand in a comma-separated list.
func plain(s string) bool {
	for i := 0; i < len(s); i++ {
		if special(s[i]) {
			return false
		}
	}
	return true
}

func special(c byte) bool { return c == '%' || c == ',' || c < 0x20 || c == 0x7f }

// replaced returns the plain queue name of a name that contains a "/".
func replaced(s string) string {
	var b strings.Builder
	b.Grow(len(s) + 1)
	for i := 0; i < len(s); i++ {
		if s[i] == '/' {
			b.WriteByte('%')
		} else {
			b.WriteByte(s[i])
		}
	}
	if s[len(s)-1] != '/' {
		b.WriteByte('%')
	}
	return b.String()
}

// escape returns the normalised form of s with "/" as "%", and each special byte and "~" as "~" and two hex digits.
func escape(s, suffix string) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	b.Grow(len(s) + 16)
	slash := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '/':
			slash = true
			b.WriteByte('%')
		case c == '~' || special(c):
			b.WriteByte('~')
			b.WriteByte(digits[c>>4])
			b.WriteByte(digits[c&15])
		default:
			b.WriteByte(c)
		}
	}
	if slash && s[len(s)-1] != '/' {
		b.WriteByte('%')
	}
	b.WriteString(suffix)
	return b.String()
}

// fit returns name, or its hashed form if it is too long. The first-level topic stays readable if there is room.
func fit(name, first string) string {
	if len(name) <= maxQueue {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	hash := "%" + hex.EncodeToString(sum[:]) + suffixHashed
	if head := escape(first, ""); len(head)+len(hash) <= maxQueue {
		return head + hash
	}
	return hash
}
