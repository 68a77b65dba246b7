// Package clientcert reads the certificate and the private key that a plugin shows to TLS servers.
package clientcert

import (
	"crypto/tls"

	"github.com/lmqgate/lmqgate/internal/exposed"
	"github.com/lmqgate/lmqgate/internal/regular"
	"github.com/lmqgate/lmqgate/plugins/sdk"
)

// Load reads the two files and returns their pair. The problems concern the keys cert_file and key_file of the block that is named block:
// the files cannot be used, or every user of the machine may read the private key. again reads the files once more, for handshakes, because
// certificates are renewed while the gateway runs.
func Load(setup sdk.Setup, block, certFile, keyFile string) (pair tls.Certificate, again func() (*tls.Certificate, error),
	problems []sdk.Problem) {
	certFile, keyFile = setup.Path(certFile), setup.Path(keyFile)
	if err := exposed.PrivateKey(keyFile); err != nil {
		problems = append(problems, sdk.Problemf(block+".key_file", "%v", err))
	}
	pair, err := regular.KeyPair(certFile, keyFile)
	if err != nil {
		problems = append(problems, sdk.Problemf(block+".cert_file", "%v", err))
	}
	return pair, func() (*tls.Certificate, error) {
		pair, err := regular.KeyPair(certFile, keyFile)
		return &pair, err
	}, problems
}
