package auth

import "strings"

// Shown returns a user name as logs, session records and the admin API show it. Some clients put a JSON Web Token there (RFC 7519: three
// parts, of which the first begins with an object in Base64url); a token is secret, and is not shown.
func Shown(username string) string {
	if strings.HasPrefix(username, "eyJ") && strings.Count(username, ".") == 2 {
		return "(a token)"
	}
	return username
}
