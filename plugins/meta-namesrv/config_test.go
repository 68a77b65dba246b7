package main

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/plugins/internal/clientcert/clientcerttest"
	"github.com/lmqgate/lmqgate/plugins/sdk"
)

func TestProblemsOfNameServersShowNoPassword(t *testing.T) {
	for _, address := range []string{"http://user:geheim@namesrv:9876", "user:geheim@namesrv:9876"} {
		c := config{Namesrv: []string{address}}
		text := fmt.Sprint(c.Check())
		require.Contains(t, text, "xxxxx@namesrv:9876")
		require.NotContains(t, text, "geheim")
	}
}

func TestAPrivateKeyThatEverybodyMayReadIsRefused(t *testing.T) {
	clientcerttest.RefusesAnExposedKey(t, "tls.key_file", func(dir string) []sdk.Problem {
		block := `{"namesrv": ["n:1"], "tls": {"enabled": true, "cert_file": "cert.pem", "key_file": "key.pem"}}`
		return newNamesrv().Configure(t.Context(), sdk.Setup{Config: []byte(block), ConfigDir: dir})
	})
}
