// Package webclient is the HTTP client of plugins that call web services. It has TLS settings, deadlines and bounds on answers. Redirects,
// and plain text over a network, are off unless allowed.
//
// Errors name the host and never the rest of a URL, a header or a body, so that they can be logged.
package webclient

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/lmqgate/lmqgate/internal/regular"
	"github.com/lmqgate/lmqgate/plugins/internal/clientcert"
	"github.com/lmqgate/lmqgate/plugins/sdk"
)

// ErrNotSent marks requests that no server has seen. They can be repeated even if they are not idempotent.
var ErrNotSent = notSent{}

// notSent has an empty text, so that it does not change the message of an error that wraps it.
type notSent struct{}

func (notSent) Error() string { return "" }

// maxRedirects bounds the redirects of a request, if redirects are allowed.
const maxRedirects = 3

// TLS is the configuration block for https connections.
type TLS struct {
	CAFile             string `config:"ca_file" doc:"PEM file of the authorities that are trusted; empty for the system's"`
	CertFile           string `config:"cert_file" doc:"PEM file of the client's certificate; empty for none"`
	KeyFile            string `config:"key_file" doc:"PEM file of its key"`
	InsecureSkipVerify bool   `config:"insecure_skip_verify" default:"false" doc:"do not verify the server's certificate; for tests"`
}

// Options configure New.
type Options struct {
	TLS TLS
	// MaxConnections bounds the connections to one host; further requests wait for a connection within their deadline.
	MaxConnections int
	// MaxAnswer bounds the body of an answer, in bytes.
	MaxAnswer int64
	// Redirects allows redirects that stay on the same host and do not turn a POST into a GET.
	Redirects bool
}

// Client calls web services. Its methods are safe for concurrent use.
type Client struct {
	http      *http.Client
	maxAnswer int64
}

// New makes a client. The returned problems concern the keys of the TLS block, which is named key.
func New(setup sdk.Setup, key string, o Options) (*Client, []sdk.Problem) {
	conf, problems := o.TLS.config(setup, key)
	if len(problems) > 0 {
		return nil, problems
	}
	transport := &http.Transport{
		DialContext:            dial,
		TLSClientConfig:        conf,
		TLSHandshakeTimeout:    5 * time.Second,
		MaxConnsPerHost:        o.MaxConnections,
		MaxIdleConnsPerHost:    o.MaxConnections,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		ForceAttemptHTTP2:      true,
		// Pings detect a connection that died silently.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 10 * time.Second, PingTimeout: 3 * time.Second},
	}
	c := &Client{http: &http.Client{Transport: transport, CheckRedirect: refuseRedirect}, maxAnswer: o.MaxAnswer}
	if o.Redirects {
		c.http.CheckRedirect = checkRedirect
	}
	return c, nil
}

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Answer is a complete answer.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Do sends one request and reads the answer, until ctx ends. An answer with any status is no error, except a redirect that
// is not followed.
func (c *Client) Do(ctx context.Context, method, target string, header http.Header, body []byte) (*Answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return nil, errors.New("the URL cannot be asked")
	}
	for name, values := range header {
		req.Header[name] = values
		if name == "Host" {
			req.Host = values[0]
		}
	}
	if len(body) == 0 {
		req.Body, req.ContentLength = nil, 0
	}
	var connected atomic.Bool
	req = req.WithContext(
		httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }}),
	)
	resp, err := c.http.Do(req)
	if err != nil {
		err = fmt.Errorf("asking %s: %w", req.URL.Host, withoutURL(err))
		if !connected.Load() {
			err = fmt.Errorf("%w%w", err, ErrNotSent)
		}
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 && resp.StatusCode < 400 {
		return nil, fmt.Errorf(
			"%s answered with a redirect (%d), which is not followed; configure the URL that it leads to",
			req.URL.Host,
			resp.StatusCode,
		)
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, c.maxAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading the answer of %s: %w", req.URL.Host, withoutURL(err))
	case int64(len(text)) > c.maxAnswer:
		return nil, fmt.Errorf("the answer of %s is larger than %d bytes", req.URL.Host, c.maxAnswer)
	}
	return &Answer{Status: resp.StatusCode, Header: resp.Header, Body: text}, nil
}

// CheckURL checks a URL from the configuration. Unless plain is true, http is for loopback addresses only.
func CheckURL(text string, plain bool) error {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return errors.New("is no URL")
	case u.Scheme != "https" && u.Scheme != "http":
		return errors.New("must begin with https:// (or http://)")
	case u.Hostname() == "":
		return errors.New("names no host")
	case u.User != nil:
		return errors.New("must not hold a user name or password, because URLs are shown; put them into a header")
	case u.Fragment != "":
		return errors.New("must not have a fragment (#...)")
	case u.Scheme == "http" && !plain && !isLoopback(u.Hostname()):
		return errors.New(
			"is http to another machine, where everybody on the way can read and change what is said; use https, or set allow_plain_http: true",
		)
	}
	return nil
}

func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// dial connects. "localhost" must resolve to loopback, whatever DNS says.
func dial(ctx context.Context, network, addr string) (net.Conn, error) {
	d := net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second}
	if host, _, err := net.SplitHostPort(addr); err == nil && strings.EqualFold(host, "localhost") {
		d.Control = func(_, address string, _ syscall.RawConn) error {
			if ip, _, err := net.SplitHostPort(address); err != nil || !isLoopback(ip) {
				return errors.New("localhost is not a loopback address here")
			}
			return nil
		}
	}
	return d.DialContext(ctx, network, addr)
}

func refuseRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// checkRedirect follows a redirect only to the same host with the same request, because headers may hold secrets.
func checkRedirect(req *http.Request, via []*http.Request) error {
	first := via[0]
	switch {
	case len(via) > maxRedirects:
		return fmt.Errorf("more than %d redirects", maxRedirects)
	case req.URL.Host != first.URL.Host:
		return errors.New("a redirect to another host, which is never followed")
	case req.URL.Scheme != first.URL.Scheme:
		return errors.New("a redirect from one scheme to another, which is never followed")
	case req.Method != first.Method:
		return errors.New("a redirect that drops the request's body; the server must use the status 307 or 308")
	}
	return nil
}

// withoutURL drops the URL that net/http puts into its errors.
func withoutURL(err error) error {
	if u := new(url.Error); errors.As(err, &u) {
		return u.Err
	}
	return err
}

func (t TLS) config(setup sdk.Setup, key string) (*tls.Config, []sdk.Problem) {
	var problems []sdk.Problem
	conf := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: t.InsecureSkipVerify} //nolint:gosec // the operator's choice
	if t.CAFile != "" {
		pem, err := regular.Read(setup.Path(t.CAFile))
		if err != nil {
			problems = append(problems, sdk.Problemf(key+".ca_file", "%v", err))
		} else if conf.RootCAs = x509.NewCertPool(); !conf.RootCAs.AppendCertsFromPEM(pem) {
			problems = append(problems, sdk.Problemf(key+".ca_file", "%s holds no certificate in PEM", t.CAFile))
		}
	}
	if (t.CertFile == "") != (t.KeyFile == "") {
		return nil, append(problems, sdk.Problemf(key+".key_file", "cert_file and key_file go together; set both or none"))
	}
	if t.CertFile != "" {
		_, load, wrong := clientcert.Load(setup, key, t.CertFile, t.KeyFile)
		problems = append(problems, wrong...)
		conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() }
	}
	return conf, problems
}
