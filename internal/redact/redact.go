// Package redact hides the secrets in addresses, for messages that show what somebody wrote into a configuration. What is wrong with an
// address may be just what keeps a parser from finding the secret in it, so this package does not parse.
package redact

import "strings"

// Hidden stands for what is hidden, as in net/url.
const Hidden = "xxxxx"

// Address returns an address, such as a URL or host:port, without user name, password and query. Text that is no address stays as it is.
func Address(s string) string {
	scheme, rest, isURL := strings.Cut(s, "://")
	if !isURL {
		scheme, rest = "", s
	} else {
		scheme += "://"
	}
	// A password may hold an @, and a slash.
	if at := strings.LastIndexByte(rest, '@'); at >= 0 && (isURL || strings.Contains(rest[:at], ":")) {
		rest = Hidden + rest[at:]
	}
	if before, query, found := strings.Cut(rest, "?"); found && (isURL || strings.Contains(query, "=")) {
		rest = before + "?" + Hidden
	}
	return scheme + rest
}
