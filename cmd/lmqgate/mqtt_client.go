package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/spf13/cobra"

	"github.com/lmqgate/lmqgate/core/config"
)

// clientTimeout bounds each exchange with the gateway: CONNECT, SUBSCRIBE, and
// a publication until it is acknowledged.
const clientTimeout = 30 * time.Second

// clientFlags are the flags of pub and sub that say where to connect, and as
// whom.
type clientFlags struct {
	config             configFlags
	url, host          string
	port               int
	clientID           string
	username, password string
	caFile             string
	certFile, keyFile  string
	insecure           bool
	passwordGiven      bool
}

func (f *clientFlags) register(cmd *cobra.Command, app *app) {
	f.config.app = app
	f.config.register(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.url, "url", "", "where to connect, a `URL` such as mqtt://127.0.0.1:1883, mqtts://, ws://, wss:// or unix:///run/mqtt.sock")
	flags.StringVar(&f.host, "host", "", "host to connect to (default that of --config, or 127.0.0.1)")
	flags.IntVar(&f.port, "port", 0, "port to connect to (default that of --config, or 1883)")
	flags.StringVarP(&f.clientID, "id", "i", "", "client identifier (default: a generated one)")
	flags.StringVarP(&f.username, "username", "u", "", "user name")
	flags.StringVarP(&f.password, "password", "P", "", "password (default: computed from --config)")
	flags.StringVar(&f.caFile, "ca-file", "", "PEM `FILE` with the authorities that the gateway's certificate must be signed by")
	flags.StringVar(&f.certFile, "cert-file", "", "PEM `FILE` with a client certificate; with --key-file")
	flags.StringVar(&f.keyFile, "key-file", "", "PEM `FILE` with the private key of the client certificate")
	flags.BoolVar(&f.insecure, "insecure", false, "take any certificate of the gateway")
}

// client is a connected MQTT 3.1.1 client that does not reconnect.
type client struct {
	mqtt.Client
	server string
	lost   chan error // receives once, when the connection ends by itself
}

// connect connects with the flags' address and credentials. received, which may
// be nil, is called for each message, one after the other.
func (f *clientFlags) connect(ctx context.Context, role string, cleanSession bool, received mqtt.MessageHandler) (*client, error) {
	opts, server, err := f.options(role)
	if err != nil {
		return nil, err
	}
	c := &client{server: server, lost: make(chan error, 1)}
	opts.SetCleanSession(cleanSession).
		SetAutoAckDisabled(true).
		SetConnectionLostHandler(func(_ mqtt.Client, err error) { c.lost <- err })
	if received != nil {
		opts.SetDefaultPublishHandler(received)
	}
	c.Client = mqtt.NewClient(opts)
	token := c.Connect()
	if err := c.wait(ctx, token); err != nil {
		c.Disconnect(0)
		return nil, fmt.Errorf("connect to %s as %q: %w%s", server, opts.ClientID, err, connectHint(err))
	}
	return c, nil
}

// wait waits for an exchange with the gateway.
func (c *client) wait(ctx context.Context, token mqtt.Token) error {
	timeout := time.NewTimer(clientTimeout)
	defer timeout.Stop()
	select {
	case <-token.Done():
		return token.Error()
	case err := <-c.lost:
		return fmt.Errorf("the gateway closed the connection (%w)", err)
	case <-ctx.Done():
		return errors.New("interrupted")
	case <-timeout.C:
		return fmt.Errorf("no answer within %s", clientTimeout)
	}
}

func connectHint(err error) string {
	var network *net.OpError
	switch {
	case errors.As(err, &network):
		return "; is the gateway running? --config, --url or --host and --port say where it is"
	case err.Error() == "bad user name or password" || err.Error() == "not Authorized":
		return "; give --config, or -u and -P (lmqgate credentials prints them for a client id)"
	}
	return ""
}

func (f *clientFlags) options(role string) (*mqtt.ClientOptions, string, error) {
	var conf *config.Config
	if f.config.given() {
		var err error
		if conf, err = f.config.load(); err != nil {
			return nil, "", err
		}
	}
	server, err := f.server(conf)
	if err != nil {
		return nil, "", err
	}
	if f.clientID == "" {
		f.clientID = generatedClientID(role)
	}
	if conf != nil && !f.passwordGiven {
		if err := f.fillCredentials(conf); err != nil {
			return nil, "", err
		}
	}
	tlsConfig, err := f.tlsConfig()
	if err != nil {
		return nil, "", err
	}
	return mqtt.NewClientOptions().
		AddBroker(server).
		SetClientID(f.clientID).
		SetUsername(f.username).
		SetPassword(f.password).
		SetProtocolVersion(4).
		SetConnectTimeout(clientTimeout).
		SetTLSConfig(tlsConfig).
		SetAutoReconnect(false).
		SetConnectRetry(false), server, nil
}

// server returns the URL to connect to: --url, else --host and --port, else the
// first listener of the configuration that a plain client can reach.
func (f *clientFlags) server(conf *config.Config) (string, error) {
	if f.url != "" {
		u, err := url.Parse(f.url)
		if err == nil && u.Scheme == "unix" && u.Host == "" && u.Path != "" {
			return f.url, nil
		}
		if err != nil || u.Host == "" {
			return "", usagef("--url wants a URL such as mqtt://127.0.0.1:1883, not %q", f.url)
		}
		switch u.Scheme {
		case "mqtt", "mqtts", "tcp", "ssl", "tls", "ws", "wss":
			return f.url, nil
		}
		return "", usagef("--url wants mqtt, mqtts, ws, wss or unix, not %q", u.Scheme)
	}
	host, port := "127.0.0.1", "1883"
	if conf != nil && (f.host == "" || f.port == 0) {
		var err error
		if host, port, err = tcpListener(conf); err != nil && f.port == 0 {
			return "", err
		}
	}
	if f.host != "" {
		host = f.host
	}
	if f.port != 0 {
		port = strconv.Itoa(f.port)
	}
	return "mqtt://" + net.JoinHostPort(host, port), nil
}

func tcpListener(conf *config.Config) (host, port string, err error) {
	for _, l := range conf.Listeners {
		if plainTCP(l) {
			if host, port, err = reachable(l.Address); err != nil {
				return "127.0.0.1", "", fmt.Errorf("the tcp listener: %w; give --port as the ready line prints it", err)
			}
			return host, port, nil
		}
	}
	return "127.0.0.1", "", errors.New("the configuration has no tcp listener: give --url")
}

// plainTCP reports whether a client can connect to a listener with nothing but an address: no load balancer's header is asked for.
func plainTCP(l config.Listener) bool {
	return l.Type == config.ListenerTCP && len(l.ProxyProtocol.From) == 0
}

func (f *clientFlags) tlsConfig() (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: f.insecure} //nolint:gosec // the user asked for it
	if f.caFile != "" {
		pem, err := os.ReadFile(filepath.Clean(f.caFile))
		if err != nil {
			return nil, fmt.Errorf("--ca-file: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--ca-file: %s holds no PEM certificate", f.caFile)
		}
	}
	if f.certFile != "" || f.keyFile != "" {
		cert, err := tls.LoadX509KeyPair(f.certFile, f.keyFile)
		if err != nil {
			return nil, fmt.Errorf("--cert-file and --key-file: %w", err)
		}
		conf.Certificates = []tls.Certificate{cert}
	}
	return conf, nil
}

// fillCredentials computes the user name and password as the auth plugin of the
// configuration expects them.
func (f *clientFlags) fillCredentials(conf *config.Config) error {
	if conf.Auth.Anonymous() {
		return nil
	}
	user, password, err := credentials(conf, f.username, f.clientID)
	if err != nil {
		return err
	}
	f.username, f.password = user, password
	return nil
}

func generatedClientID(role string) string {
	random := make([]byte, 6)
	_, _ = rand.Read(random) // crypto/rand.Read never fails
	return "lmqgate-" + role + "-" + hex.EncodeToString(random)
}

// checkQoS is for the -q flag.
func checkQoS(qos int) error {
	if qos < 0 || qos > 2 {
		return usagef("-q wants 0, 1 or 2, not %d", qos)
	}
	return nil
}
