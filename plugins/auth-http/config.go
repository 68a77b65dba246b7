package main

import (
	"time"

	"github.com/lmqgate/lmqgate/plugins/internal/webclient"
	"github.com/lmqgate/lmqgate/plugins/sdk"
	"github.com/lmqgate/lmqgate/plugins/sdk/topicrules"
)

// config is the plugin's configuration block.
type config struct {
	AuthenticateURL string            `config:"authenticate_url,required" doc:"who may connect is asked here; https, or http on loopback"`
	AuthorizeURL    string            `config:"authorize_url" doc:"what clients may do is asked here; empty: rules say it"`
	HealthURL       string            `config:"health_url" doc:"asked now and then whether the webhook is well; empty: by how calls end"`
	HealthInterval  time.Duration     `config:"health_interval" default:"5s" doc:"how often health_url is asked; 1s to 10m"`
	Headers         map[string]string `config:"headers,secret" doc:"HTTP headers of every request, such as a shared secret"`
	Timeout         time.Duration     `config:"timeout" default:"2s" doc:"how long an answer may take, a second try included; 100ms to 10s"`
	MaxConnections  int               `config:"max_connections" default:"32" doc:"connections to the webhook; 1 to 1024"`
	MaxAnswerBytes  int64             `config:"max_answer_bytes" default:"65536" doc:"the largest answer that is read; 1024 to 1048576"`
	Cache           time.Duration     `config:"cache" default:"30s" doc:"how long decisions are kept where the answer has no Cache-Control; 0: not at all"`
	MaxCache        time.Duration     `config:"max_cache" default:"10m" doc:"how long decisions are kept at most, whatever Cache-Control says"`
	TLS             webclient.TLS     `config:"tls"`
	AllowPlainHTTP  bool              `config:"allow_plain_http" default:"false" doc:"send passwords over http to other machines"`
	AllowRedirects  bool              `config:"allow_redirects" default:"false" doc:"follow redirects that stay on the same host"`
	Rules           []topicrules.Rule `config:"rules" doc:"what every client may do where authorize_url is empty; none: everything; %c, %u and %{attribute}"`
}

const maxCache = 24 * time.Hour

// Check implements sdk.Checker: it checks rules that the types cannot express.
func (c *config) Check() []sdk.Problem {
	var problems []sdk.Problem
	add := func(key, format string, args ...any) { problems = append(problems, sdk.Problemf(key, format, args...)) }
	for _, u := range []struct{ key, url string }{
		{"authenticate_url", c.AuthenticateURL}, {"authorize_url", c.AuthorizeURL}, {"health_url", c.HealthURL},
	} {
		if u.url == "" {
			continue
		}
		if err := webclient.CheckURL(u.url, c.AllowPlainHTTP); err != nil {
			add(u.key, "%v", err)
		}
	}
	between := func(key string, have, least, most time.Duration) {
		if have < least || have > most {
			add(key, "must be from %s to %s, not %s", least, most, have)
		}
	}
	between("health_interval", c.HealthInterval, time.Second, 10*time.Minute)
	between("timeout", c.Timeout, 100*time.Millisecond, 10*time.Second)
	between("cache", c.Cache, 0, maxCache)
	between("max_cache", c.MaxCache, 0, maxCache)
	if c.MaxConnections < 1 || c.MaxConnections > 1024 {
		add("max_connections", "must be from 1 to 1024, not %d", c.MaxConnections)
	}
	if c.MaxAnswerBytes < 1024 || c.MaxAnswerBytes > 1<<20 {
		add("max_answer_bytes", "must be from 1024 to 1048576, not %d", c.MaxAnswerBytes)
	}
	if err := webclient.CheckHeaders(c.Headers); err != nil {
		add("headers", "%v", err)
	}
	if c.AuthorizeURL != "" && len(c.Rules) > 0 {
		add("rules", "and authorize_url are both set; one of them decides what clients may do")
	}
	return append(problems, topicrules.Check("rules", c.Rules, true)...)
}
