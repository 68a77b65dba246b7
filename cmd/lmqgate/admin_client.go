package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lmqgate/lmqgate/internal/redact"
)

// adminFlags are the flags of commands that talk to a running gateway: --config
// for its address and token, or --admin and --token.
type adminFlags struct {
	config configFlags
	url    string
	token  string
	caFile string
}

func (f *adminFlags) register(cmd *cobra.Command, app *app) {
	f.config.app = app
	f.config.register(cmd)
	cmd.Flags().StringVar(&f.url, "admin", "", "`URL` of the gateway's HTTP side, instead of --config (default http://127.0.0.1:8080)")
	cmd.Flags().StringVar(&f.token, "token", "", "admin `TOKEN` of the gateway (default: that of --config, or of the gateway's data directory)")
	cmd.Flags().StringVar(&f.caFile, "ca-file", "", "PEM `FILE` with the authorities that the certificate of an https URL must be signed by")
}

// client returns a client for the gateway that the flags name. Without --token, it uses the token in the configuration, or the one that the
// gateway keeps in node.data_dir. It does not read that file if only a URL is given.
func (f *adminFlags) client() (*adminClient, error) {
	c := &adminClient{token: f.token}
	conf, err := f.config.load()
	if err != nil {
		return nil, err
	}
	if c.token == "" && (f.url == "" || f.config.given()) {
		if c.token, err = conf.FindAdminToken(); err != nil {
			return nil, err
		}
	}
	if c.token == "" {
		c.token = conf.Admin.Token.Reveal() // from the environment
	}
	certFile := conf.Admin.CertFile
	if f.url != "" {
		u, err := url.Parse(f.url)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
			return nil, usagef("--admin wants a URL such as http://127.0.0.1:8080, not %q", redact.Address(f.url))
		}
		c.base = strings.TrimRight(f.url, "/")
	} else {
		host, port, err := reachable(conf.Admin.Address)
		if err != nil {
			return nil, fmt.Errorf("admin.address: %w; give --admin with the address of the ready line", err)
		}
		c.base = "http://" + net.JoinHostPort(host, port)
		if certFile != "" {
			c.base = "https://" + net.JoinHostPort(host, port)
		}
	}
	settings, err := adminTLS(f.caFile, certFile)
	if err != nil {
		return nil, err
	}
	c.http = &http.Client{Transport: &http.Transport{TLSClientConfig: settings, Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true}}
	return c, nil
}

// call sends one request to the gateway that the flags name; see adminClient.call.
func (f *adminFlags) call(ctx context.Context, method, path string, body, reply any) error {
	c, err := f.client()
	if err != nil {
		return err
	}
	return c.call(ctx, method, path, body, reply)
}

// reachable converts a listen address to one to connect to.
func reachable(address string) (host, port string, err error) {
	host, port, err = net.SplitHostPort(address)
	if err != nil {
		return "", "", err
	}
	if port == "0" {
		return "", "", fmt.Errorf("%s has port 0, so the port is known only to the running gateway", address)
	}
	if ip := net.ParseIP(host); host == "" || (ip != nil && ip.IsUnspecified()) {
		host = "127.0.0.1"
	}
	return host, port, nil
}

// adminClient calls the admin API.
type adminClient struct {
	base, token string
	http        *http.Client
	// timeout bounds a request; 0 means adminTimeout.
	timeout time.Duration
}

const (
	adminTimeout  = 30 * time.Second
	adminMaxReply = 64 << 20 // bytes
)

// shown returns the gateway's URL for messages.
func (c *adminClient) shown() string { return redact.Address(c.base) }

// call sends one request. A body is sent as JSON. The reply is decoded into reply unless that is nil; so is the reply to a failed request,
// if it is JSON.
func (c *adminClient) call(ctx context.Context, method, path string, body, reply any) error {
	data, err := c.exchange(ctx, method, path, body)
	if reply == nil {
		return err
	}
	if err != nil {
		_ = json.Unmarshal(data, reply) // some replies say what was done before the failure
		return err
	}
	if err := json.Unmarshal(data, reply); err != nil {
		return fmt.Errorf("%s answered no JSON (%w): is it an lmqgate admin address?", c.shown(), err)
	}
	return nil
}

// exchange sends one request and returns the whole answer, with an error if the request was refused.
func (c *adminClient) exchange(ctx context.Context, method, path string, body any) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(c.timeout, adminTimeout))
	defer cancel()
	resp, err := c.send(ctx, method, path, body)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, adminMaxReply))
	if err != nil {
		return nil, fmt.Errorf("read the answer of %s: %w", c.shown(), err)
	}
	if resp.StatusCode/100 != 2 {
		return data, c.refused(resp, data)
	}
	return data, nil
}

// send sends one request and returns the answer, whatever its status.
func (c *adminClient) send(ctx context.Context, method, path string, body any) (*http.Response, error) {
	var payload io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		payload = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, payload)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err
		}
		if hint := tlsHint(err); hint != "" {
			return nil, fmt.Errorf("no TLS with %s: %w%s", c.shown(), err, hint)
		}
		return nil, fmt.Errorf("no gateway answers at %s: %w; is it running? --config or --admin says where it is", c.shown(), err)
	}
	return resp, nil
}

func (c *adminClient) refused(resp *http.Response, data []byte) error {
	var e struct {
		Error string `json:"error"`
	}
	if resp.StatusCode == http.StatusUnauthorized {
		return fmt.Errorf("%s refuses the token: give --token, or --config with the gateway's configuration, as the user that it runs as", c.shown())
	}
	if json.Unmarshal(data, &e) == nil && e.Error != "" {
		return errors.New(e.Error)
	}
	if resp.StatusCode == http.StatusBadRequest && strings.Contains(string(data), "HTTPS server") {
		return fmt.Errorf("%s speaks TLS: give --admin https://%s", c.shown(), strings.TrimPrefix(c.shown(), "http://"))
	}
	return fmt.Errorf("%s answered %s: is it an lmqgate admin address?", c.shown(), resp.Status)
}
