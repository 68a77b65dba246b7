package main

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/plugins/internal/clientcert/clientcerttest"
	"github.com/lmqgate/lmqgate/plugins/sdk"
)

func TestProblemsOfEndpointsShowNoPassword(t *testing.T) {
	for _, endpoint := range []string{"http://user:geheim@etcd:2379", "user:geheim@etcd:2379"} {
		c := config{Endpoints: []string{endpoint}, RequestTimeout: time.Second}
		problems := c.Check()
		require.Len(t, problems, 1)
		require.Contains(t, fmt.Sprint(problems), "xxxxx@etcd:2379")
		require.NotContains(t, fmt.Sprint(problems), "geheim")
	}
}

func TestAPrivateKeyThatEverybodyMayReadIsRefused(t *testing.T) {
	clientcerttest.RefusesAnExposedKey(t, "tls.key_file", func(dir string) []sdk.Problem {
		block := `{"endpoints": ["e:1"], "tls": {"enabled": true, "cert_file": "cert.pem", "key_file": "key.pem"}}`
		return newEtcd().Configure(t.Context(), sdk.Setup{Config: []byte(block), ConfigDir: dir})
	})
}
