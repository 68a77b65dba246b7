package limits

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"unicode"
)

// longestName bounds the names of bans, in bytes: clients choose them.
const longestName = 256

// BanName returns the name under which someone is banned. It is the given name or, if that is longer than 256 bytes, its beginning and its
// digest. What BanName returns is its own BanName, so a ban can be removed by the name that is shown.
func BanName(name string) string {
	if len(name) <= longestName {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	end := "…" + hex.EncodeToString(sum[:])
	return strings.ToValidUTF8(name[:longestName-len(end)], "") + end
}

// FlappingName returns the Name of a Ban of the kind ByFlapping. Such a ban does not affect other users of the client id, nor the same user
// from another address.
func FlappingName(user, client, address string) string { return BanName(join(user, client, address)) }

// join returns "{user}/{client}@{address}". Different parts have different results: a user name with "/" and a client id with "@" are
// quoted, so the first "/" and the first "@" behind it that are not quoted are those between the parts. The address is not chosen by the
// client.
func join(user, client, address string) string {
	return quoted(user, '/') + "/" + quoted(client, '@') + "@" + address
}

// quoted returns a part of a name as it is or, if it contains the separator, a quote, a backslash, a space or what cannot be seen, as a
// string literal of Go.
func quoted(part string, separator rune) string {
	switch {
	case strings.ContainsFunc(part, unseen):
		return strconv.QuoteToASCII(part)
	case strings.ContainsRune(part, separator) || strings.ContainsAny(part, "\"\\ "):
		return strconv.Quote(part)
	}
	return part
}

// unseen reports whether a rune cannot be seen on a terminal, and so not be copied from one.
func unseen(r rune) bool {
	return !unicode.IsPrint(r) || unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}
