// Package credential computes the credentials of auth-hmac, for the plugin and for tools that print them.
package credential

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // fixed by the credentials that deployed devices have; HMAC does not need collision resistance
	"encoding/base64"
)

// Password returns the password of a client: Base64 (standard alphabet, padded) of HMAC-SHA1 over the client identifier with the user's
// secret key. Apache RocketMQ MQTT uses the same password.
func Password(secretKey, clientID string) string {
	mac := hmac.New(sha1.New, []byte(secretKey))
	mac.Write([]byte(clientID))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
