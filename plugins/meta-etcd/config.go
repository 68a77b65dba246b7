package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"strconv"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"github.com/lmqgate/lmqgate/internal/redact"
	"github.com/lmqgate/lmqgate/internal/regular"
	"github.com/lmqgate/lmqgate/plugins/internal/clientcert"
	"github.com/lmqgate/lmqgate/plugins/sdk"
)

// config is the plugin's block of the gateway's configuration.
type config struct {
	Endpoints      []string      `config:"endpoints,required" doc:"host:port of the etcd members"`
	Prefix         string        `config:"prefix" default:"/lmqgate" doc:"What all keys begin with; gateways with the same prefix are one cluster"`
	Username       string        `config:"username" doc:"User of etcd; empty for none"`
	Password       string        `config:"password,secret" doc:"The user's password"`
	TLS            tlsConfig     `config:"tls"`
	RequestTimeout time.Duration `config:"request_timeout" default:"3s" doc:"How long one request may take"`
}

type tlsConfig struct {
	Enabled            bool   `config:"enabled" default:"false" doc:"TLS to etcd"`
	CAFile             string `config:"ca_file" doc:"PEM file of the authorities that are trusted; empty for the system's"`
	CertFile           string `config:"cert_file" doc:"PEM file of the client's certificate; empty for none"`
	KeyFile            string `config:"key_file" doc:"PEM file of its key"`
	InsecureSkipVerify bool   `config:"insecure_skip_verify" default:"false" doc:"Do not verify etcd's certificates; for tests"`
}

// Check implements sdk.Checker: it returns problems that types cannot express.
func (c *config) Check() (problems []sdk.Problem) {
	if len(c.Endpoints) == 0 {
		problems = append(problems, sdk.Problemf("endpoints", "at least one host:port is needed"))
	}
	seen := map[string]bool{}
	for i, addr := range c.Endpoints {
		key := "endpoints[" + strconv.Itoa(i) + "]"
		host, port, err := net.SplitHostPort(addr)
		n, e := strconv.Atoi(port)
		switch {
		case strings.Contains(addr, "://"):
			problems = append(problems, sdk.Problemf(key, "%q is a URL; write host:port, and tls.enabled for TLS", redact.Address(addr)))
		case err != nil || host == "" || e != nil || n < 1 || n > 65535:
			problems = append(problems, sdk.Problemf(key, "%q is not host:port", redact.Address(addr)))
		case seen[addr]:
			problems = append(problems, sdk.Problemf(key, "%q is listed twice", redact.Address(addr)))
		}
		seen[addr] = true
	}
	if (c.Username == "") != (c.Password == "") {
		problems = append(problems, sdk.Problemf("password", "username and password go together; set both or none"))
	}
	if (c.TLS.CertFile == "") != (c.TLS.KeyFile == "") {
		problems = append(problems, sdk.Problemf("tls.key_file", "cert_file and key_file go together; set both or none"))
	}
	if c.RequestTimeout <= 0 {
		problems = append(problems, sdk.Problemf("request_timeout", "%s is not longer than nothing; the default is 3s", c.RequestTimeout))
	}
	return problems
}

// client is the configuration of the etcd client.
func (c *config) client(setup sdk.Setup) (clientv3.Config, []sdk.Problem) {
	cc := clientv3.Config{
		Endpoints: c.Endpoints,
		Username:  c.Username,
		Password:  c.Password,
		// DialTimeout bounds the first authentication.
		DialTimeout: c.RequestTimeout,
		// Keepalives detect a connection that died silently.
		DialKeepAliveTime:    10 * time.Second,
		DialKeepAliveTimeout: 3 * time.Second,
		// etcd decides about sizes; see failure.go.
		MaxCallSendMsgSize: maxSendBytes,
		// Few retries here, so that an error is returned soon and with its reason; the gateway retries.
		MaxUnaryRetries: 5,
		DialOptions: []grpc.DialOption{
			grpc.WithChainUnaryInterceptor(failFast),
			// Reconnect within a few seconds after an outage; gRPC's default back-off grows to two minutes.
			grpc.WithConnectParams(grpc.ConnectParams{
				Backoff: backoff.Config{
					BaseDelay:  100 * time.Millisecond,
					Multiplier: 1.6,
					Jitter:     0.2,
					MaxDelay:   3 * time.Second,
				},
				MinConnectTimeout: 3 * time.Second,
			}),
		},
		// Errors are returned to the caller; the client's own log would repeat them endlessly.
		Logger: zap.NewNop(),
	}
	if !c.TLS.Enabled {
		return cc, nil
	}
	var problems []sdk.Problem
	t := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: c.TLS.InsecureSkipVerify} //nolint:gosec // the operator's choice
	if c.TLS.CAFile != "" {
		pem, err := regular.Read(setup.Path(c.TLS.CAFile))
		if err != nil {
			problems = append(problems, sdk.Problemf("tls.ca_file", "%v", err))
		} else if t.RootCAs = x509.NewCertPool(); !t.RootCAs.AppendCertsFromPEM(pem) {
			problems = append(problems, sdk.Problemf("tls.ca_file", "%s holds no certificate in PEM", c.TLS.CAFile))
		}
	}
	if c.TLS.CertFile != "" {
		_, load, wrong := clientcert.Load(setup, "tls", c.TLS.CertFile, c.TLS.KeyFile)
		problems = append(problems, wrong...)
		t.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() }
	}
	cc.TLS = t
	return cc, problems
}

// failFast fails at once, with the reason, while no member can be reached. Without it the client would wait until the deadline and then
// report only that the deadline has passed.
func failFast(
	ctx context.Context,
	method string,
	req, reply any,
	conn *grpc.ClientConn,
	invoke grpc.UnaryInvoker,
	opts ...grpc.CallOption,
) error {
	return invoke(ctx, method, req, reply, conn, append(opts, grpc.WaitForReady(false))...)
}
