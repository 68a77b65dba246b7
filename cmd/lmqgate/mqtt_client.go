package main

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/eclipse/paho.golang/packets"
	mqtt "github.com/eclipse/paho.mqtt.golang"
	mqttpackets "github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/spf13/cobra"

	"github.com/lmqgate/lmqgate/core/config"
	"github.com/lmqgate/lmqgate/internal/redact"
)

// clientTimeout bounds each exchange with the gateway: CONNECT, SUBSCRIBE, and
// a publication until it is acknowledged.
const clientTimeout = 30 * time.Second

// clientFlags are the flags of pub and sub for server and credentials.
type clientFlags struct {
	config             configFlags
	url, host          string
	port               int
	clientID           string
	username, password string
	passwordFile       string
	version            protocolVersion
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
	flags.StringVarP(&f.password, "password", "P", "", "password (default: computed from --config); others on this machine can see it in the list of processes")
	flags.StringVar(&f.passwordFile, "password-file", "", "`FILE` with the password, on its first line; so can the environment variable "+passwordVariable)
	flags.StringVar(&f.caFile, "ca-file", "", "PEM `FILE` with the authorities that the gateway's certificate must be signed by")
	flags.StringVar(&f.certFile, "cert-file", "", "PEM `FILE` with a client certificate; with --key-file")
	flags.StringVar(&f.keyFile, "key-file", "", "PEM `FILE` with the private key of the client certificate")
	flags.BoolVar(&f.insecure, "insecure", false, "take any certificate of the gateway")
}

// connectCause returns the error without the words that the MQTT client puts in front of errors of the network.
func connectCause(err error) error {
	if joined, ok := errors.AsType[interface {
		error
		Unwrap() []error
	}](err); ok {
		if parts := joined.Unwrap(); len(parts) == 2 && errors.Is(parts[0], mqttpackets.ErrorNetworkError) {
			return parts[1]
		}
	}
	return err
}

// connectHint returns the remedy for a failed connection attempt.
func connectHint(err error) string {
	if hint := tlsHint(err); hint != "" {
		return hint
	}
	var network *net.OpError
	var answer refused
	switch {
	case errors.As(err, &answer) && (answer.code == packets.ConnackBadUsernameOrPassword || answer.code == packets.ConnackNotAuthorized):
		return "; give --config, or -u and -P (lmqgate credentials prints them for a client id)"
	case notMQTT(err), errors.As(err, &network) && network.Op != "dial":
		return "; is an MQTT listener there, and of this kind? --url names the kind, the address and the path, such as ws://127.0.0.1:8083/mqtt"
	case errors.As(err, &network):
		return "; is the gateway running? --config, --url or --host and --port say where it is"
	case err.Error() == "bad user name or password" || err.Error() == "not Authorized":
		return "; give --config, or -u and -P (lmqgate credentials prints them for a client id)"
	}
	return ""
}

// notMQTT reports whether the answer to a connection attempt is that of a server or listener of another kind.
func notMQTT(err error) bool {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return true
	}
	foreign := []string{"non-CONNACK", "websocket", "WebSocket", "Prop type", "unknown packet type"}
	return slices.ContainsFunc(foreign, func(part string) bool { return strings.Contains(err.Error(), part) })
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
	if err := f.findPassword(); err != nil {
		return nil, "", err
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

// server returns the URL to connect to: --url, or --host and --port, or the first listener of the configuration that a plain client can
// reach.
func (f *clientFlags) server(conf *config.Config) (string, error) {
	if f.url != "" {
		u, err := url.Parse(f.url)
		if err == nil && u.Scheme == "unix" && u.Host == "" && u.Path != "" {
			return f.url, nil
		}
		if err != nil || u.Host == "" {
			return "", usagef("--url wants a URL such as mqtt://127.0.0.1:1883, not %q", redact.Address(f.url))
		}
		switch u.Scheme {
		case "mqtt", "mqtts", "tcp", "ssl", "tls", "ws", "wss":
			return f.url, nil
		}
		return "", usagef("--url wants mqtt, mqtts, ws, wss or unix, not %q", u.Scheme)
	}
	if f.port < 0 || f.port > math.MaxUint16 {
		return "", usagef("--port wants a number from 1 to %d, not %d", math.MaxUint16, f.port)
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

// plainTCP reports whether a client needs only an address to connect to a listener: no PROXY header is required.
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

// passwordVariable is an environment variable that may hold the password.
const passwordVariable = config.EnvPrefix + "PASSWORD"

// registerVersion adds the flag of the protocol's version.
func (f *clientFlags) registerVersion(cmd *cobra.Command) {
	cmd.Flags().StringVarP((*string)(&f.version), "protocol-version", "V", string(version311), "version of MQTT: 5 or 3.1.1")
}

// findPassword takes the password from -P, --password-file or the environment.
func (f *clientFlags) findPassword() error {
	if f.passwordFile != "" && f.passwordGiven {
		return usagef("-P and --password-file: give one of them")
	}
	if f.passwordGiven {
		return nil
	}
	if f.passwordFile != "" {
		text, err := os.ReadFile(filepath.Clean(f.passwordFile))
		if err != nil {
			return fmt.Errorf("--password-file: %w", err)
		}
		line, _, _ := strings.Cut(string(text), "\n")
		f.password, f.passwordGiven = strings.TrimSuffix(line, "\r"), true
		return nil
	}
	for _, entry := range slices.Backward(f.config.app.environ) {
		if value, ok := strings.CutPrefix(entry, passwordVariable+"="); ok && value != "" {
			f.password, f.passwordGiven = value, true
			return nil
		}
	}
	return nil
}

// fillCredentials computes the user name and password that the configured auth plugin expects.
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

// checkQoS validates the -q flag.
func checkQoS(qos int) error {
	if qos < 0 || qos > 2 {
		return usagef("-q wants 0, 1 or 2, not %d", qos)
	}
	return nil
}
