package credential

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// The vectors were computed with
//
//	printf '%s' "$CLIENT_ID" | openssl dgst -sha1 -hmac "$SECRET_KEY" -binary | base64
//
// and again with Python's hmac module; the last is a widely published example of HMAC-SHA1.
func TestPasswordIsTheBase64OfTheHMACSHA1OfTheClientID(t *testing.T) {
	for _, v := range []struct{ key, client, want string }{
		{"demo-secret", "client-1", "3/sHZi5nxZRYk1NHTxIkPCV6bI8="},
		{"secretKey", "GID_sub@@@device0", "nGFXBJMAhMeh+eIfd5oaUQMS7RA="},
		{"密钥", "设备", "vzgxy3R6Aqhjrdaq6rs/LihefmE="},
		{"demo-secret", "", "+MigvnR0Tvhvf0C9ppeLEJVhA5g="},
		{"demo-secret", "a/b+c#", "GAACr0VzxQpNIgH+SJisHG5HNZI="},
		{"key", "The quick brown fox jumps over the lazy dog", "3nybhbi3iqa8ino29wqQcBydtNk="},
	} {
		require.Equal(t, v.want, Password(v.key, v.client), "client %q", v.client)
	}
}
