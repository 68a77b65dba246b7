package redact

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSecretsInAddressesAreHiddenAlsoWhereTheyAreWrong(t *testing.T) {
	for text, want := range map[string]string{
		"http://user:geheim@host:4317":           "http://xxxxx@host:4317",
		"http://user:ge/h@e?im@host":             "http://xxxxx@host",
		"http://geheim@host/path":                "http://xxxxx@host/path",
		"http://user:%zzgeheim@host:port":        "http://xxxxx@host:port",
		"://user:geheim@host":                    "://xxxxx@host",
		"user:geheim@host:2379":                  "xxxxx@host:2379",
		"https://host:4317/?key=geheim":          "https://host:4317/?xxxxx",
		"http://a:geheim@h1,http://b:geheim@h2":  "http://xxxxx@h2",
		"http://user:geheim@host?key=geheim#x@y": "http://xxxxx@y",
		"host:4317/?key=geheim":                  "host:4317/?xxxxx",
		"http://host:4317":                       "http://host:4317",
		"host:2379":                              "host:2379",
		"somebody@example.org":                   "somebody@example.org",
		"what?":                                  "what?",
		"":                                       "",
	} {
		require.Equal(t, want, Address(text))
	}
}
