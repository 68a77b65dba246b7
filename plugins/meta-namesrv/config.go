package main

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"strconv"

	"github.com/lmqgate/lmqgate/internal/redact"
	"github.com/lmqgate/lmqgate/internal/regular"
	"github.com/lmqgate/lmqgate/plugins/internal/clientcert"
	"github.com/lmqgate/lmqgate/plugins/sdk"
	"github.com/lmqgate/lmqgate/remoting"
)

// config is the plugin's block of the gateway's configuration.
type config struct {
	Namesrv   []string  `config:"namesrv,required" doc:"host:port of every namesrv. All of them are written; list the same ones on every gateway."`
	AccessKey string    `config:"access_key" doc:"RocketMQ ACL access key; empty for none"`
	SecretKey string    `config:"secret_key,secret" doc:"RocketMQ ACL secret key"`
	TLS       tlsConfig `config:"tls"`
}

type tlsConfig struct {
	Enabled            bool   `config:"enabled" default:"false" doc:"TLS to the namesrvs"`
	CAFile             string `config:"ca_file" doc:"PEM file of the authorities that are trusted; empty for the system's"`
	CertFile           string `config:"cert_file" doc:"PEM file of the client's certificate; empty for none"`
	KeyFile            string `config:"key_file" doc:"PEM file of its key"`
	InsecureSkipVerify bool   `config:"insecure_skip_verify" default:"false" doc:"Do not verify the namesrvs' certificates; for tests"`
}

// Check implements sdk.Checker: it returns problems that types cannot express.
func (c *config) Check() (problems []sdk.Problem) {
	if len(c.Namesrv) == 0 {
		problems = append(problems, sdk.Problemf("namesrv", "at least one host:port is needed"))
	}
	seen := map[string]bool{}
	for i, addr := range c.Namesrv {
		key := "namesrv[" + strconv.Itoa(i) + "]"
		host, port, err := net.SplitHostPort(addr)
		if n, e := strconv.Atoi(port); err != nil || host == "" || e != nil || n < 1 || n > 65535 {
			problems = append(problems, sdk.Problemf(key, "%q is not host:port", redact.Address(addr)))
		}
		if seen[addr] {
			problems = append(problems, sdk.Problemf(key, "%q is listed twice", redact.Address(addr)))
		}
		seen[addr] = true
	}
	if (c.AccessKey == "") != (c.SecretKey == "") {
		problems = append(problems, sdk.Problemf("secret_key", "access_key and secret_key go together; set both or none"))
	}
	if (c.TLS.CertFile == "") != (c.TLS.KeyFile == "") {
		problems = append(problems, sdk.Problemf("tls.key_file", "cert_file and key_file go together; set both or none"))
	}
	return problems
}

// client is the configuration of the connections.
func (c *config) client(setup sdk.Setup) (remoting.Config, []sdk.Problem) {
	rc := remoting.Config{Credentials: remoting.Credentials{AccessKey: c.AccessKey, SecretKey: c.SecretKey},
		DialTimeout: callTimeout, RequestTimeout: callTimeout, Log: setup.Log}
	if !c.TLS.Enabled {
		return rc, nil
	}
	var problems []sdk.Problem
	rc.TLS = &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: c.TLS.InsecureSkipVerify, //nolint:gosec // the operator's own choice
	}
	if c.TLS.CAFile != "" {
		pem, err := regular.Read(setup.Path(c.TLS.CAFile))
		if err != nil {
			problems = append(problems, sdk.Problemf("tls.ca_file", "%v", err))
		} else if rc.TLS.RootCAs = x509.NewCertPool(); !rc.TLS.RootCAs.AppendCertsFromPEM(pem) {
			problems = append(problems, sdk.Problemf("tls.ca_file", "%s holds no certificate in PEM", c.TLS.CAFile))
		}
	}
	if c.TLS.CertFile != "" {
		pair, _, wrong := clientcert.Load(setup, "tls", c.TLS.CertFile, c.TLS.KeyFile)
		problems = append(problems, wrong...)
		rc.TLS.Certificates = []tls.Certificate{pair}
	}
	return rc, problems
}
