package remoting

import "strings"

// Separators of a message's properties: name 0x01 value 0x02.
const (
	nameSeparator  = 1
	valueSeparator = 2
)

// MaxProperties is the largest size of a message's encoded properties, in bytes, including those that the broker adds.
const MaxProperties = 1<<15 - 1

// AppendProperty appends one property to encoded properties. Neither name nor value may contain the bytes 1 and 2; see
// PlainProperty.
func AppendProperty(dst []byte, name, value string) []byte {
	dst = append(dst, name...)
	dst = append(dst, nameSeparator)
	dst = append(dst, value...)
	return append(dst, valueSeparator)
}

// PropertySize returns how many bytes AppendProperty adds.
func PropertySize(name, value string) int { return len(name) + len(value) + 2 }

// PlainProperty reports whether a value can be stored unencoded: it contains no separator bytes.
func PlainProperty(value string) bool { return !strings.ContainsAny(value, "\x01\x02") }

// EachProperty calls f with the properties of an encoded list, until f returns false. Malformed parts are skipped.
func EachProperty(encoded string, f func(name, value string) bool) {
	for encoded != "" {
		item, rest, _ := strings.Cut(encoded, string(rune(valueSeparator)))
		encoded = rest
		name, value, ok := strings.Cut(item, string(rune(nameSeparator)))
		if ok && name != "" && !f(name, value) {
			return
		}
	}
}
