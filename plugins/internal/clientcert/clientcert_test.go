package clientcert_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/plugins/internal/clientcert"
	"github.com/lmqgate/lmqgate/plugins/internal/clientcert/clientcerttest"
	"github.com/lmqgate/lmqgate/plugins/sdk"
)

func TestAPrivateKeyThatEverybodyMayReadIsRefused(t *testing.T) {
	clientcerttest.RefusesAnExposedKey(t, "tls.key_file", func(dir string) []sdk.Problem {
		pair, again, problems := clientcert.Load(sdk.Setup{ConfigDir: dir}, "tls", "cert.pem", "key.pem")
		now, err := again()
		require.NoError(t, err)
		require.Equal(t, pair.Certificate, now.Certificate)
		return problems
	})
}

func TestFilesThatAreNoPairAreToldAtTheCertificate(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "text.pem"), []byte("text"), 0o600))
	for _, file := range []string{"text.pem", "none.pem"} {
		_, again, problems := clientcert.Load(sdk.Setup{ConfigDir: dir}, "tls", "text.pem", file)
		require.Len(t, problems, 1)
		require.Equal(t, "tls.cert_file", problems[0].Key)
		_, err := again()
		require.Error(t, err)
	}
}
