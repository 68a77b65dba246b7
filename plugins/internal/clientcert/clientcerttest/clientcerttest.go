// Package clientcerttest is for tests of plugins that show a certificate to a server.
package clientcerttest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/internal/exposed/exposedtest"
	"github.com/lmqgate/lmqgate/plugins/sdk"
)

// RefusesAnExposedKey tests that a plugin whose block holds the files cert.pem and key.pem, in the directory that configure is called with,
// refuses a private key that every user may read, and no other. The problem is to be on key.
func RefusesAnExposedKey(t *testing.T, key string, configure func(dir string) []sdk.Problem) {
	t.Helper()
	dir := exposedtest.OpenDir(t)
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	cert := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, private.Public(), private)
	require.NoError(t, err)
	write(t, filepath.Join(dir, "cert.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	der, err = x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	file := filepath.Join(dir, "key.pem")
	write(t, file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))

	require.NoError(t, os.Chmod(file, 0o644)) //nolint:gosec // what is to be refused
	problems := configure(dir)
	require.Len(t, problems, 1)
	require.Equal(t, key, problems[0].Key)
	require.Equal(t, "every user of this machine may read the private key; run: chmod o-rwx "+file, problems[0].Message)
	require.NoError(t, os.Chmod(file, 0o640)) //nolint:gosec // its group may read it
	require.Empty(t, configure(dir))
}

func write(t *testing.T, path string, text []byte) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, text, 0o600))
}
